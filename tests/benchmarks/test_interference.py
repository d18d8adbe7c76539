"""What the interference benchmark makes of step times, and what it says where it cannot measure; kernels run in tests/e2e."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import interference
from benchmarks.interference import MPS_VARIABLE, main
from benchmarks.interference_shapes import StepEnds, mean_steps_s, pair_figures, pairs
from profiles.catalogue import builtin
from profiles.latency.interference import GRID
from profiles.latency.interference import factor_of as factor
from profiles.store.store_folder import write
from tests.planner.sizing.test_interference import measured


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_pair_of_models_meets_in_every_pair_of_phases_once(device: str) -> None:
    found = pairs(device)
    assert len(found) == len(set(found)) == 10
    assert {(one.phase, other.phase) for one, other in found if one.model != other.model} == set(GRID)
    assert all((other, one) not in found for one, other in found if one != other)


def test_shapes_on_a_gpu_hold_what_the_models_hold() -> None:
    shapes = {work.model: work.shape for pair in pairs("cuda") for work in pair}
    for name, parameters in (("1B", 0.97e9), ("8B", 6.98e9)):
        # all layers, without embeddings
        shape = shapes[name]
        assert shape.held_weights / shape.held_layers * shape.layers == pytest.approx(parameters, rel=0.01)
    # weights of two bytes that no cache of a GPU keeps from one step to the next (H200: 50 MB)
    assert all(2 * shape.held_weights > 4 * 50e6 for shape in shapes.values())
    assert shapes["8B"].head_size == builtin().model("meta-llama/Llama-3.1-8B").head_dim


def test_only_steps_count_that_lie_in_the_time_of_both() -> None:
    early = StepEnds(0.0, (1.0, 2.0, 4.0, 6.0))
    late = StepEnds(1.5, (2.5, 4.5, 6.5, 9.5))
    # of the first: 2 to 4 and 4 to 6; of the second: 1.5 to 2.5 and 2.5 to 4.5
    assert mean_steps_s((early, late)) == (2.0, 1.5)
    assert mean_steps_s((late,)) == (2.0,)
    with pytest.raises(ValueError, match="no step while all worked"):
        mean_steps_s((early, StepEnds(6.5, (7.0,))))


@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=20), st.floats(0.5, 8.0))
def test_steps_that_are_so_many_times_longer_are_a_slowdown_of_so_many(steps_s: list[float], slowdown: float) -> None:
    pair = pairs("cpu")[0]
    for sharing in ("time_shared", "mps"):
        found = pair_figures(pair, (steps_s, steps_s), ([slowdown * step_s for step_s in steps_s], steps_s), sharing)
        assert found["slowdowns"] == [pytest.approx(slowdown, abs=1e-4), 1.0]
        assert found["factors"] == [pytest.approx(factor(slowdown, sharing), abs=1e-4), 1.0]


def test_kept_pairs_are_printed_with_their_factors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "store", measured(2.4, ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-14B")))
    assert main(["--store", str(tmp_path / "store")]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert len(lines) - 1 == len(found["pairs"]) == len(GRID)
    assert found["median_factor"] == found["largest_factor"] == 1.2
    assert "2.40 times the time alone, factor 1.20" in lines[0]
    assert {tuple(row["phases"]) for row in found["pairs"]} == set(GRID)


@pytest.mark.parametrize(
    ("arguments", "torch", "daemon", "message"),
    [
        (["--device", "cpu"], False, None, "torch is not installed in this Python"),
        (["--device", "cuda", "--mps"], True, None, "names no folder of a running MPS daemon"),
        (["--device", "cuda", "--mps"], True, "nowhere", "names no folder of a running MPS daemon"),
        (["--device", "cuda"], True, "nowhere", "would share the GPU under MPS"),
        (["--device", "cpu", "--mps"], True, None, "--mps needs --device cuda"),
        (["--device", "cpu", "--rounds", "0"], True, None, "--rounds must be at least 1"),
        (["--device", "cpu", "--seconds", "nan"], True, None, "--seconds above 0"),
        (["--store", "nowhere"], True, None, "nowhere"),
    ],
)
def test_where_it_cannot_run_it_says_why(
    arguments: list[str],
    torch: bool,
    daemon: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(MPS_VARIABLE, raising=False)
    if daemon is not None:
        monkeypatch.setenv(MPS_VARIABLE, daemon)
    monkeypatch.setattr(interference, "find_spec", lambda name: name if torch else None)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_empty_store_holds_no_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", str(tmp_path)]) == 2
    assert "holds no measured pair" in capsys.readouterr().err
