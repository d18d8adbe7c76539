"""A fleet of 40 GPUs, with every kind of rule, has the same answer whatever order Python's sets have."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.scale_fleet import KINDS, scale_fleet
from planner.plan import State
from planner.sizing.blueprint import build
from ullage.plugins import SOLVERS, load

NAMES = ("exact", "quick", "first-fit-decreasing", "best-fit", "squishy", "exclusive")


def every_answer() -> str:
    """What the engines say about the fleet."""
    problem = build(scale_fleet(40, 8, 2, KINDS), State()).problem
    return "\n".join(repr(load("solvers", SOLVERS, name)(problem)) for name in NAMES)


def test_forty_gpus_have_one_answer() -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", "from tests.solvers.test_hash_seeds import every_answer; print(every_answer())"],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "4242")
    ]
    first, second = (run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert first == second
    assert first.count("Solution(") == len(NAMES)
