"""The walk is the same for the same seed, and every way goes where it says."""

from __future__ import annotations

import json

import pytest

from benchmarks.churn import WAYS, main
from benchmarks.churn_walk import FIRST, LEAST, MOST, loaded, walk


def test_a_walk_is_the_same_for_the_same_seed_and_its_fleets_load() -> None:
    fleets = list(walk(8, 20, 3))
    assert fleets == list(walk(8, 20, 3))
    assert fleets != list(walk(8, 20, 4))
    assert len(fleets[0]["workloads"]) == FIRST
    assert {LEAST <= len(written["workloads"]) <= MOST for written in fleets} == {True}
    assert {written["pools"]["h100"]["nodes"] for written in fleets} <= {1, 2}
    assert loaded(fleets[-1]).workloads


def test_figures_of_two_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "2", "--gpus", "4", "--seed", "2"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["gpus"], found["steps"], found["seed"]) == (4, 2, 2)
    for way in WAYS:
        assert found[way]["violations"] == 0
        assert found[way]["unavailable_s"] <= found[way]["short_s"]
    assert found["cold"]["cost_above_cold_max_fraction"] in {0.0, None}
    assert found["planned"]["loaded_gib"] >= 0


def test_a_walk_without_steps_or_nodes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "0"]) == 2
    assert main(["--gpus", "6"]) == 2
    assert "a multiple of 4 GPUs" in capsys.readouterr().err
