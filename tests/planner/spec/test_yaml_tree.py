"""What YAML can do to a loader, and what plain words do not do."""

from __future__ import annotations

import pytest
import yaml

from planner.spec import yaml_tree
from planner.spec.errors import SpecError
from planner.spec.yaml_tree import MAX_DEPTH, Node, decode, parse
from tests.planner.spec.fleet_files import FLEET, changed, load, problems
from tests.tools import missing


@pytest.fixture(autouse=True, params=["SafeLoader", "CSafeLoader"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of PyYAML; builds without libyaml have the first only."""
    if not hasattr(yaml, request.param):
        missing("this PyYAML is built without libyaml")
    monkeypatch.setattr(yaml_tree, "_LOADER", getattr(yaml, request.param))


def plain(text: str) -> object:
    return parse("f.yaml", text)[0].plain()


def test_every_scalar_stays_text() -> None:
    text = "{a: off, b: no, c: 1:30, d: 0.30, e: 010, f: 1_000, g: 2024-01-01, h: 0x1F, i: '', j: null, k: ~, l: 'null', m: .inf, n: }"
    assert plain(text) == {
        "a": "off", "b": "no", "c": "1:30", "d": "0.30", "e": "010", "f": "1_000", "g": "2024-01-01", "h": "0x1F",
        "i": "", "j": None, "k": None, "l": "null", "m": ".inf", "n": None,
    }  # fmt: skip


def test_places() -> None:
    root, _ = parse("f.yaml", "a:\n  b: [x, y]\n")
    assert isinstance(root.value, dict)
    inner = root.value["a"]
    assert isinstance(inner, Node)
    assert inner.key_places == {"b": (2, 3)}
    assert isinstance(inner.value, dict)
    items = inner.value["b"].value
    assert isinstance(items, tuple)
    assert (items[1].line, items[1].column) == (2, 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "fleet.yaml:1:1: the file is empty; `ullage init` writes a starter to edit"),
        ("# only\n# comments\n", "fleet.yaml:1:1: the file is empty"),
        ("---\n...\n", "fleet.yaml:1:1: the file is empty"),
        ("~", "fleet.yaml:1:1: the file is empty"),
        ("[a, b]", "fleet.yaml:1:1: a fleet file is a mapping with schema_version"),
        ("just text", "fleet.yaml:1:1: a fleet file is a mapping"),
        (FLEET + "---\na: 1\n", "fleet.yaml:15:1: a second document begins here"),
        ("a:\n\t- b\n", "fleet.yaml:2:1: a tab is used for indentation; use spaces"),
        ("a: b: c", "fleet.yaml:1:5: not YAML: a second ': ' in one line"),
        ("a: [1, 2", "not YAML:"),
        ("a: 'x", "fleet.yaml:1:6: not YAML:"),
        ("? [a, b]\n: 1\n", "fleet.yaml:1:3: a key must be plain text"),
        ("a: *nothing", "fleet.yaml:1:4: alias *nothing refers to nothing above it"),
        ("a: &x [*x]", "fleet.yaml:1:8: alias *x refers to nothing above it"),
        ("a: \x01", "fleet.yaml:1:4: character '\\x01' is not allowed in YAML"),
        ('a: "\\UFFFFFFFF"', ": not "),
        ("%YAML 1." + "9" * 5000 + "\n---\na: b", ": not "),
        ("[" * 50_000, f"fleet.yaml:1:{MAX_DEPTH + 1}: nested more than {MAX_DEPTH} levels deep"),
        ("- " * 1000, f"nested more than {MAX_DEPTH} levels deep"),
        ("a: {" * 1000, f"nested more than {MAX_DEPTH} levels deep"),
    ],
)
def test_what_is_no_fleet_file(text: str, expected: str) -> None:
    (message,) = problems(text)
    assert expected in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "Qwen/Qwen2.5-1.5B",
            "!!python/object/apply:os.system [ls]",
            "fleet.yaml:9:13: tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("Qwen/Qwen2.5-1.5B", "!foo Qwen/Qwen2.5-1.5B", "fleet.yaml:9:13: tag '!foo' is not allowed; write plain values"),
        ("nodes: 1", "nodes: !!int 1", "fleet.yaml:5:12: tag 'tag:yaml.org,2002:int'"),
        ("  chat:", "  !!str chat:", "fleet.yaml:11:3: tag"),
        ("nodes: 1", "nodes: 1\n    nodes: 2", "fleet.yaml:6:5: 'nodes' stands here twice, first on line 5; keep one"),
        ("pools:", "models: {}\npools:", "fleet.yaml:8:1: 'models' stands here twice, first on line 2"),
        ("Qwen/Qwen2.5-1.5B", '"\\0"', "fleet.yaml:9:13: the text holds a character that cannot be written as UTF-8 or is NUL"),
        ("Qwen/Qwen2.5-1.5B", '"\\uD800"', "fleet.yaml:9:1"),
        ("Qwen/Qwen2.5-1.5B", "x" * 5000, "fleet.yaml:9:13: a text of 5000 characters; at most 4096 are read"),
        ("models:", "<<: {}\nmodels:", "<<: unknown field"),
    ],
)
def test_readable_but_refused(old: str, new: str, expected: str) -> None:
    assert any(expected in message for message in problems(changed(old, new)))


def test_refused_tags_do_not_hide_other_problems() -> None:
    found = problems(changed("nodes: 1", "nodes: !!int 0").replace("2/s", "2"))
    assert [message.split(": ")[0] for message in found] == ["fleet.yaml:5:12", "fleet.yaml:5:12", "fleet.yaml:14:20"]


def test_aliases_are_expanded() -> None:
    text = (
        FLEET
        + "  second:\n    model: small\n    slo: &goals {ttft_p95: 1s}\n    demand: &load {rate: 1/s, input_tokens: 5, output_tokens: 5}\n"
    )
    text += "  third: {model: small, slo: *goals, demand: *load}\n"
    fleet = load(text)
    assert fleet.workloads[2].demand == fleet.workloads[1].demand
    assert fleet.workloads[2].ttft_p95_s == 1.0


def test_an_alias_bomb_stops_at_the_limit() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (message,) = problems("\n".join(lines))
    assert "aliases expand to more than" in message


def test_text_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(b"\xef\xbb\xbf" + FLEET.encode()).pools == load(FLEET).pools
    assert load(FLEET.replace("\n", "\r\n")).pools == load(FLEET).pools
    assert problems(b"a: b\n\nc: \xff\n") == ("fleet.yaml:3:4: not UTF-8: byte 0xff; save the file as UTF-8",)
    assert "not UTF-8" in problems(FLEET.encode("utf-16"))[0]
    monkeypatch.setattr(yaml_tree, "MAX_BYTES", 100)
    assert "at most 100 are read" in problems(FLEET)[0]
    with pytest.raises(SpecError, match="at most 100 are read"):
        decode("f.yaml", FLEET.encode())
