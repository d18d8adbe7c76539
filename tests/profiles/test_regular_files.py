"""Files that people name: what would hang, never end or be destroyed is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from profiles.regular_files import read_regular, write_atomic
from profiles.yaml_text import YamlTextError, plain_yaml


def test_regular_files_and_links_to_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    assert (read_regular(tmp_path / "a"), read_regular(tmp_path / "link")) == (b"x", b"x")
    assert read_regular(tmp_path / "a", 1) == b"x"
    with pytest.raises(OSError, match="is larger than the 0 MiB"):
        read_regular(tmp_path / "a", 0)


def test_pipes_devices_folders_and_what_is_not_there_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(OSError, match="a pipe, a socket or a device"):
            read_regular(tmp_path / name)
    with pytest.raises(OSError, match="Is a directory"):
        read_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nowhere")


def test_a_file_is_replaced_behind_its_link_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    write_atomic(tmp_path / "link", "new")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "a").read_text()) == (True, "new")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(OSError, match="is not a regular file"):
            write_atomic(tmp_path / name, "x")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "link", "null", "pipe"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x\n", "line 1: an anchor"),
        ("a: *x\n", "undefined alias|line 1: an alias"),
        ("a: !!python/name:os.system 1\n", "line 1: a tag"),
        ("[" * 40 + "]" * 40, "nested more than 32 levels deep"),
        ("a: [1\n", "not YAML"),
        # 484 bytes that a loader turns into gigabytes
        ("a: &a {k: v}\n" + "".join(f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 9)}]}}\n" for n in range(8)), "anchor"),
    ],
)
def test_yaml_is_plain(text: str, says: str) -> None:
    with pytest.raises(YamlTextError, match=says):
        plain_yaml(text)
    assert plain_yaml("a: [1, 'x & y', {b: 2.5}]\n") == {"a": [1, "x & y", {"b": 2.5}]}
