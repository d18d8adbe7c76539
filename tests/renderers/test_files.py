from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderers import files as files_module
from renderers.files import WriteReport, write
from renderers.manifest import File, Manifest, RenderError
from renderers.record import RECORD_NAME

FIRST: Manifest = (File("a.yaml", "one\n"), File("scripts/start.sh", "echo\n", executable=True), File("gone/deep/old.txt", "old\n"))
SECOND: Manifest = (File("a.yaml", "two\n"), File("scripts/start.sh", "echo\n", executable=True), File("new.txt", "new\n"))


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(place.relative_to(folder)): place.read_text() for place in folder.rglob("*") if place.is_file() and place.name != RECORD_NAME
    }


def _texts(manifest: Manifest) -> dict[str, str]:
    return {file.path: file.text for file in manifest}


def test_writes_updates_and_removes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    assert write(FIRST, folder).created == ("a.yaml", "gone/deep/old.txt", "scripts/start.sh")
    assert os.access(folder / "scripts/start.sh", os.X_OK)
    assert not os.access(folder / "a.yaml", os.X_OK)
    (folder / "notes.txt").write_text("mine")
    (folder / "gone/notes.txt").write_text("mine")
    assert write(SECOND, folder) == WriteReport(("new.txt",), ("a.yaml",), ("scripts/start.sh",), ("gone/deep/old.txt",))
    assert _tree(folder) == {**_texts(SECOND), "notes.txt": "mine", "gone/notes.txt": "mine"}
    assert not (folder / "gone/deep").exists()


def test_the_same_manifest_again_touches_no_file(tmp_path: Path) -> None:
    write(FIRST, tmp_path)
    before = {place: place.stat().st_mtime_ns for place in tmp_path.rglob("*")}
    assert not write(FIRST, tmp_path).differs
    assert {place: place.stat().st_mtime_ns for place in tmp_path.rglob("*")} == before


def test_check_lists_differences_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    assert write(FIRST, folder, check=True).differs
    assert not folder.exists()
    write(FIRST, folder)
    assert not write(FIRST, folder, check=True).differs
    (folder / "gone/deep/old.txt").write_text("edited")
    report = write(SECOND, folder, check=True)
    assert report == WriteReport(("new.txt",), ("a.yaml",), ("scripts/start.sh",), (), ("gone/deep/old.txt",))
    assert str(report).splitlines() == [
        "+ new.txt",
        "~ a.yaml",
        "! gone/deep/old.txt (not written by ullage, or edited since)",
        "1 unchanged",
    ]
    assert (folder / "a.yaml").read_text() == "one\n"


def test_refuses_every_file_that_is_foreign_or_edited_and_changes_nothing(tmp_path: Path) -> None:
    write(FIRST, tmp_path)
    (tmp_path / "a.yaml").write_text("edited")
    (tmp_path / "gone/deep/old.txt").write_text("edited")
    (tmp_path / "new.txt").write_text("foreign")
    before = _tree(tmp_path)
    with pytest.raises(RenderError) as refused:
        write(SECOND, tmp_path)
    for path in ("a.yaml", "gone/deep/old.txt", "new.txt"):
        assert str(tmp_path / path) in str(refused.value)
    assert "move these away" in str(refused.value)
    assert _tree(tmp_path) == before


def test_a_file_deleted_by_hand_comes_back_and_a_lost_mode_is_mended(tmp_path: Path) -> None:
    write(FIRST, tmp_path)
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "scripts/start.sh").chmod(0o644)
    report = write(FIRST, tmp_path)
    assert (report.created, report.updated) == (("a.yaml",), ("scripts/start.sh",))
    assert os.access(tmp_path / "scripts/start.sh", os.X_OK)


@pytest.mark.parametrize(
    "path", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "", ".", "a//b", "a/", "a\\b", "nul\0", RECORD_NAME, "x.ullage-new"]
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "deploy"
    with pytest.raises(RenderError, match="nothing was written"):
        write((File("good.txt", "good"), File(path, "bad")), folder)
    assert not folder.exists()


def test_a_record_that_points_outside_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    write(FIRST, folder)
    victim = tmp_path / "victim.txt"
    victim.write_text("old\n")
    record = json.loads((folder / RECORD_NAME).read_text())
    record["files"]["../victim.txt"] = record["files"]["gone/deep/old.txt"]
    (folder / RECORD_NAME).write_text(json.dumps(record))
    with pytest.raises(RenderError, match="plain relative path"):
        write(FIRST, folder)
    assert victim.exists()
    for broken in ("", "[]", '{"schema_version": 2, "files": {}}', '{"schema_version": 1, "files": {"a": 1}}'):
        (folder / RECORD_NAME).write_text(broken)
        with pytest.raises(RenderError, match="empty folder"):
            write(FIRST, folder)


def test_links_and_folders_in_the_way_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "scripts").symlink_to(outside)
    (folder / "a.yaml").mkdir()
    with pytest.raises(RenderError, match=r"a\.yaml") as refused:
        write(FIRST, folder)
    assert "start.sh" in str(refused.value)
    assert list(outside.iterdir()) == []


def test_a_folder_belongs_to_one_target(tmp_path: Path) -> None:
    write(FIRST, tmp_path, target="haproxy")
    with pytest.raises(RenderError, match="holds what was rendered for haproxy; nothing was written; give nginx a folder of its own"):
        write(SECOND, tmp_path, target="nginx")
    assert _tree(tmp_path) == _texts(FIRST)
    write(SECOND, tmp_path, target="haproxy")
    assert _tree(tmp_path) == _texts(SECOND)


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RenderError, match=r"is a symbolic link to .*give the folder itself"):
        write(FIRST, tmp_path / "link")
    assert list((tmp_path / "real").iterdir()) == []


def test_folders_that_nobody_may_write_are_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    # Root may write anywhere: the answer of the system is pretended.
    monkeypatch.setattr(os, "access", lambda place, _: place != tmp_path / "sub")
    with pytest.raises(RenderError, match=r"sub: this user may not write into it\nnothing was written"):
        write((File("a.txt", "a\n"), File("sub/deep/b.txt", "b\n")), tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["sub"]


def test_a_folder_that_cannot_be_one_gives_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RenderError, match="check the folder"):
        write(FIRST, tmp_path / "file")


@pytest.mark.parametrize("manifest", [(File("a", "1"), File("a", "2")), (File("a", "1"), File("a/b", "2"))])
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(RenderError, match="fault of the renderer"):
        write(manifest, tmp_path)


def test_a_run_that_dies_anywhere_is_repaired_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files_module._replace
    # Three files and two records: dying before each of these five replacements, or after writing half a file.
    for step in range(5):
        for half in (False, True):
            folder = tmp_path / f"{step}-{half}"
            write(FIRST, folder)
            (folder / "notes.txt").write_text("mine")
            with monkeypatch.context() as patch:
                patch.setattr(files_module, "_replace", _dying(step, half))
                if step < 4:
                    with pytest.raises(KeyboardInterrupt):
                        write(SECOND, folder)
                else:
                    write(SECOND, folder)
            assert files_module._replace is real
            write(SECOND, folder)
            assert _tree(folder) == {**_texts(SECOND), "notes.txt": "mine"}
            assert not write(SECOND, folder, check=True).differs


def _dying(step: int, half: bool) -> object:
    real, done = files_module._replace, iter(range(100))

    def replace(place: Path, text: str, executable: bool) -> None:
        if next(done) == step:
            if half:
                place.with_name(place.name + ".ullage-new").write_text(text[: len(text) // 2])
            raise KeyboardInterrupt
        real(place, text, executable)

    return replace


_paths = st.lists(st.sampled_from(["a", "b", "sub/c", "sub/d", "sub/deep/e"]), unique=True)


@given(st.lists(st.tuples(_paths, st.integers(0, 1)), min_size=1, max_size=5))
def test_after_any_history_the_folder_is_the_last_manifest(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[list[str], int]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    (folder / "foreign").write_text("mine")
    for paths, version in history:
        manifest = tuple(File(path, f"{path} {version}") for path in paths)
        write(manifest, folder)
        assert _tree(folder) == {**_texts(manifest), "foreign": "mine"}
