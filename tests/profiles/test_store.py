"""The store: same points, same bytes; all or nothing; every fault with file and key."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings

from profiles.catalogue import builtin
from profiles.store.canonical import canonical, unknown_names
from profiles.store.measurements import Measurements
from profiles.store.point_text import encoded
from profiles.store.store_folder import StoreError, hashes, parse_file, read_store, store_files, write
from tests.profiles.points import measured, measurements, pair, point, side, start


def same(one: Measurements, other: Measurements) -> bool:
    return all(set(getattr(one, name)) == set(getattr(other, name)) for name in ("latency", "starts", "pairs"))


@given(measurements)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read(found: Measurements) -> None:
    texts = encoded(found)
    back = Measurements()
    for name, text in texts.items():
        assert len(Path(name).parts) == 2
        assert not name.startswith((".", "/"))
        back += parse_file(name, text.encode())
    assert same(back, found)
    assert encoded(back) == texts
    assert len({name.casefold() for name in texts}) == len(texts)


@given(measurements)
@settings(max_examples=50, deadline=None)
def test_the_order_of_points_has_no_meaning(found: Measurements) -> None:
    turned = Measurements(found.latency[::-1], found.starts[::-1], found.pairs[::-1])
    assert encoded(turned) == encoded(found)


def test_a_file_is_one_line_per_point() -> None:
    found = Measurements(latency=(point(concurrency=16), point(rate_rps=6.5)), starts=(start(),))
    assert encoded(found) == {
        "meta-llama--llama-3.1-8b/h100-sxm-80gb--vllm-unknown.yaml": """\
schema_version: 1
model: "meta-llama/Llama-3.1-8B"
gpu: "H100-SXM-80GB"
engine: "vllm"
latency:
- {input_tokens: 1024, output_tokens: 128, concurrency: 8, rate_rps: 6.5, ttft_s: 0.09, tpot_s: 0.0095, kind: "measured", source: "a test"}
- {input_tokens: 1024, output_tokens: 128, concurrency: 16, ttft_s: 0.09, tpot_s: 0.0095, kind: "measured", source: "a test"}
starts:
- {weights_mib: 15317.0, kind: "measured", source: "a test"}
"""
    }


def test_engine_versions_and_names_of_equal_spelling_have_files_of_their_own() -> None:
    points = (point(), point(provenance=measured(engine_version="0.19.0")), point(model="a/b"), point(model="A/B"))
    names = sorted(encoded(Measurements(latency=points)))
    assert names[0].startswith("a--b/h100-sxm-80gb--vllm-unknown-")
    assert names[1].startswith("a--b/h100-sxm-80gb--vllm-unknown-")
    assert names[2:] == [
        "meta-llama--llama-3.1-8b/h100-sxm-80gb--vllm-0.19.0.yaml",
        "meta-llama--llama-3.1-8b/h100-sxm-80gb--vllm-unknown.yaml",
    ]


def test_write_makes_the_folder_hold_exactly_the_points(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "store"
    both = Measurements(latency=(point(), point(gpu="x")), pairs=(pair(),))
    assert len(write(store, both)) == 3
    assert write(store, both) == ()
    assert same(read_store(store), both)
    (store / "README.md").write_text("about this folder\n")
    assert write(store, Measurements(latency=(point(),))) == (
        "meta-llama--llama-3.1-8b/x--vllm-unknown.yaml",
        "pairs/h100-sxm-80gb--vllm-unknown.yaml",
    )
    assert [path.name for path in store_files(store)] == ["h100-sxm-80gb--vllm-unknown.yaml"]
    assert (store / "README.md").exists()
    assert list(hashes(store)) == ["meta-llama--llama-3.1-8b/h100-sxm-80gb--vllm-unknown.yaml"]


@pytest.mark.parametrize("fault", ["write_text", "replace"])
def test_a_disk_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    before = Measurements(latency=(point(), point(model="b")))
    write(tmp_path, before)
    seen = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    calls = itertools.count()
    real = getattr(Path, fault)

    def second_fails(self: Path, *rest: object, **options: object) -> object:
        if next(calls) == 1:
            raise OSError(28, "No space left on device")
        return real(self, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, fault, second_fails)
        with pytest.raises(StoreError, match="cannot be written: No space left on device; nothing was changed"):
            write(tmp_path, Measurements(latency=(point(tpot_s=0.01), point(model="b", tpot_s=0.01), point(model="c"))))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == seen


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("schema_version: 1\npools: {}\n")
    with pytest.raises(StoreError, match=r"fleet.yaml: has none of latency, starts, pairs"):
        write(tmp_path, Measurements(latency=(point(),)))
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.yaml"]


HEADING = "schema_version: 1\nmodel: m\ngpu: g\nengine: vllm\n"
ROW = "input_tokens: 8, output_tokens: 8, tpot_s: 0.01, kind: measured, source: s"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a mapping"),
        ("- 1\n", "must be a mapping"),
        ("a: [\n", "not YAML"),
        ("\x00", "not YAML"),
        ("a: !!python/object/apply:os.system [true]\n", "line 1: a tag"),
        ("model: m\n", "schema_version: must be 1, is None"),
        ("schema_version: 2\n", "schema_version: must be 1, is 2"),
        (HEADING, "has none of latency, starts, pairs"),
        (f"{HEADING}latency: 3\n", "latency: must be a list"),
        (f"{HEADING}latency:\n- 3\n", r"latency\[0\]: must be a mapping, is 3"),
        (f"{HEADING}latency:\n- {{{ROW}}}\n- {{{ROW}, gpu: h}}\n", r"latency\[1\]: gpu: stands in the heading already"),
        (f"{HEADING}latency:\n- {{{ROW}, colour: red}}\n", r"latency\[0\]: colour: unknown key"),
        (f"{HEADING}latency:\n- {{{ROW.replace('input_tokens: 8, ', '')}}}\n", r"latency\[0\]: input_tokens: missing"),
        (f"{HEADING}latency:\n- {{{ROW.replace('0.01', '13.1')}}}\n", r"latency\[0\]: tpot_s: 13.1 s is outside 0.0001 to 2"),
        (f"{HEADING}latency:\n- {{{ROW.replace('0.01', '.nan')}}}\n", r"latency\[0\]: tpot_s: nan s is outside"),
        (f"{HEADING}latency:\n- {{{ROW.replace('0.01', 'fast')}}}\n", r"latency\[0\]: tpot_s: 'fast' is not a number"),
        (f"{HEADING}latency:\n- {{{ROW.replace('tokens: 8', 'tokens: 8.5')}}}\n", r"latency\[0\]: input_tokens: 8.5 is not a whole number"),
        (
            f"{HEADING}latency:\n- {{{ROW.replace('tokens: 8', 'tokens: true')}}}\n",
            r"input_tokens: True is not a whole number",
        ),
        (f"{HEADING}latency:\n- {{{ROW.replace('measured', 'guessed')}}}\n", r"latency\[0\]: kind: 'guessed' is not one of measured"),
        (f"{HEADING}starts:\n- {{kind: measured, source: s}}\n", r"starts\[0\]: weights_mib: the start has none of"),
        (f"{HEADING}pairs:\n- {{first: 1, second: 2, sharing: mps, kind: measured, source: s}}\n", r"pairs\[0\]: first: must be a mapping"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(StoreError, match=says) as caught:
        read_store(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "one.yaml"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such folder of measurements"):
        read_store(tmp_path / "none")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="not UTF-8"):
        read_store(tmp_path)


def test_canonical_names_and_digits() -> None:
    raw = Measurements(
        latency=(
            point(model="Llama-3.1-8B-Instruct", gpu="h100_sxm", ttft_s=0.0912345678),
            point(ttft_s=0.091234571),
            point(model="nvidia/Llama-3.1-8B-Instruct-FP8", quantization="fp8"),
            point(model="mine", gpu="abacus", quantization="fp8"),
        ),
        pairs=(pair(first=side(model="Meta-Llama-3.1-8B-Instruct", slowdown=1.23456789)),),
    )
    found = canonical(raw, builtin())
    assert [(one.model, one.gpu, one.quantization, one.ttft_s) for one in found.latency] == [
        ("meta-llama/Llama-3.1-8B", "H100-SXM-80GB", None, 0.0912346),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "H100-SXM-80GB", None, 0.09),
        ("mine", "abacus", "fp8", 0.09),
    ]
    assert (found.pairs[0].first.model, found.pairs[0].first.slowdown) == ("meta-llama/Llama-3.1-8B", 1.23457)
    assert canonical(found, builtin()) == found
    assert unknown_names(found, builtin()) == ("model b", "model mine", "GPU type abacus")
