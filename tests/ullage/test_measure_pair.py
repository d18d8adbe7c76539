"""`ullage profile measure --pair`: two emulated engines on one GPU get equal slices, and that is what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.measure.load import ClientLoad, MeasureError
from executor.measure.pair import Cell, Side
from profiles.latency.interference import GRID, measured_factor
from profiles.store.store_folder import read_store
from tests.emulator.processes import GIB, make_node, running
from tests.executor.fake_vllm_server import FakeServer, serving
from tests.ullage.commands import Result, ullage
from ullage.profiling.measure_pair import PairAsked, _Pair

ONE, OTHER = "Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B"
OPTIONS = ("--max-model-len", "1024", "--max-num-seqs", "16", "--kv-cache-memory-bytes", str(2 * GIB), "--gpu-memory-utilization", "0.3")


def measure(store: Path, first: str, second: str, *options: object) -> Result:
    return ullage("profile", "measure", "--pair", first, second, "--gpu", "h100", "--store", store, *options)


@pytest.mark.slow
def test_equal_slices_come_back_as_slowdown_two_and_factor_one(tmp_path: Path) -> None:
    store, node = tmp_path / "store", make_node(tmp_path / "node")
    with running(node, ONE, *OPTIONS) as one, running(node, OTHER, *OPTIONS) as other:
        engines = (f"qwen3-8b=http://127.0.0.1:{one.port}", f"llama-3.1-8b=http://127.0.0.1:{other.port}")
        result = measure(store, *engines, "--seconds", "20", "--output-tokens", "32", "--json")
        assert result.code == 0, result.err
        again = measure(store, *engines, "--json")
        assert json.loads(again.out)["known"] == 4
    found = json.loads(result.out)
    assert (found["models"], found["gpu"], found["known"], found["warnings"]) == ([ONE, OTHER], "H100-SXM-80GB", 0, [])
    kept = read_store(store)
    assert {(point.first.phase, point.second.phase) for point in kept.pairs} == set(GRID)
    for point in kept.pairs:
        for side in (point.first, point.second):
            # a machine that is busy otherwise makes it more, never much less
            assert 1.6 < side.slowdown < 4.0
            assert side.slowdown_p90 is not None
            assert side.slowdown_p90 >= side.slowdown
    assert found["factors"][0] == measured_factor(kept, ONE, OTHER, "H100-SXM-80GB", "time_shared")
    shown = ullage("profile", "show", "qwen3-8b", "--store", store)
    assert (shown.code, OTHER in shown.out) == (0, True)


@pytest.mark.slow
def test_engines_apart_are_not_slower_and_that_is_said(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node", gpus=2)
    with running(node, ONE, *OPTIONS, gpus="0") as one, running(node, OTHER, *OPTIONS, gpus="1") as other:
        engines = (f"{ONE}=http://127.0.0.1:{one.port}", f"{OTHER}=http://127.0.0.1:{other.port}")
        result = measure(tmp_path / "store", *engines, "--seconds", "20", "--output-tokens", "32", "--sharing", "mps", "--json")
    assert result.code == 0, result.err
    cells = json.loads(result.out)["cells"]
    assert len(cells) == 4
    # no sharing, no slowdown, unless the machine was busy with other things
    assert min(cell[side]["slowdown"] for cell in cells for side in ("first", "second")) < 1.3


@pytest.mark.parametrize(
    ("first", "second", "options", "says"),
    [
        ("a", "b=http://127.0.0.1:9", (), "--pair a: write MODEL=http://HOST:PORT"),
        ("a=http://127.0.0.1:9", "b=http://127.0.0.1:9", (), "nothing answers"),
        ("a=http://127.0.0.1:9", "b=http://127.0.0.1:9", ("--input-tokens", "1,2"), "--pair takes one --input-tokens"),
    ],
)
def test_pairs_that_are_none(first: str, second: str, options: tuple[str, ...], says: str, tmp_path: Path) -> None:
    result = measure(tmp_path / "store", first, second, *options)
    assert (result.code, says in result.err) == (1, True), result.err
    assert not (tmp_path / "store").exists()


def test_one_server_and_one_model_make_no_pair(tmp_path: Path) -> None:
    with serving(FakeServer()) as one, serving(FakeServer(model="other", root="tiny")) as other:
        twice = measure(tmp_path / "store", f"tiny={one.url}", f"tiny={one.url}")
        alike = measure(tmp_path / "store", f"tiny={one.url}", f"tiny={other.url}")
    assert (twice.code, f"{one.url} is named twice" in twice.err) == (1, True), twice.err
    assert (alike.code, "both serve tiny" in alike.err) == (1, True), alike.err


def test_too_little_time_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    with serving(FakeServer(model="a", root="a")) as one, serving(FakeServer(model="b", root="b")) as other:
        engines = (f"a={one.url}", f"b={other.url}")
        result = measure(tmp_path / "store", *engines, "--seconds", "1", "--output-tokens", "500", "--input-tokens", "8")
    assert result.code == 1
    assert "give more --seconds, or shorter --input-tokens and --output-tokens" in result.err


def test_tokens_that_arrive_together_give_a_cell_by_the_engines_clock_or_none(tmp_path: Path) -> None:
    options = ("--seconds", "4", "--output-tokens", "4", "--input-tokens", "8")
    with (
        serving(FakeServer(model="a", root="a", mode="together")) as one,
        serving(FakeServer(model="b", root="b", mode="together")) as other,
    ):
        engines = (f"a={one.url}", f"b={other.url}")
        refused = measure(tmp_path / "store", *engines, *options)
        assert refused.code == 1
        assert f"{one.url}: 16 + 4 tokens, concurrency 8: the tokens of an answer arrive together" in refused.err
        one.decode_s = other.decode_s = 3 * 1.5
        tries = [measure(tmp_path / "store", *engines, *options)]
        # of the other phase the fakes' times are the machine's: a cell that it spoils is measured again
        while tries[-1].code and len(tries) < 20:
            assert "something else slowed an engine meanwhile" in tries[-1].err or "give more --seconds" in tries[-1].err
            tries.append(measure(tmp_path / "store", *engines, *options))
    assert tries[-1].code == 0, tries[-1].err
    decoding = [side for point in read_store(tmp_path / "store").pairs for side in (point.first, point.second) if side.phase == "decode"]
    assert [(side.slowdown, side.slowdown_p90) for side in decoding] == [(1.0, 1.0)] * 4


def test_faster_together_than_alone_is_no_measurement() -> None:
    asked = PairAsked((("a", "http://h:1"), ("b", "http://h:2")), "h100", "time_shared", "2026-11-24", 60.0, 1)
    load = ClientLoad(16, 8, 8)
    cell = Cell(Side("decode", load, 0.5, 0.6), Side("decode", load, 2.0, 2.1))
    with pytest.raises(MeasureError, match=r"a decode and b decode: slowdown: 0\.5 times the time alone is outside 0.8 to 100"):
        _Pair(asked, "0.32.0").point(cell)
