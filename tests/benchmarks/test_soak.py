"""The parts of the soak that need no process: its plans, and how it counts. `make bench` runs the rest of it."""

from __future__ import annotations

from benchmarks.soak import _by_kind, _quantile
from benchmarks.soak_faults import Fault
from benchmarks.soak_fleet import plans, quiet_replicas
from benchmarks.soak_loop import LoopLife


def test_the_plans_differ_but_not_in_what_is_never_touched() -> None:
    first, *others = plans()
    assert first.desired.nodes[0].gpu_count * len(first.desired.nodes) == 24
    assert len(others) >= 2
    for plan in others:
        assert plan.desired.replicas != first.desired.replicas
        assert quiet_replicas(plan) == quiet_replicas(first)
    assert len(quiet_replicas(first)) == 8


def test_times_to_repair_are_of_what_was_repaired() -> None:
    async def mended() -> bool:
        return True

    faults = [Fault("kill", "a", 10.0, mended, 12.0), Fault("kill", "b", 10.0, mended, 14.0), Fault("hang", "c", 10.0, mended)]
    assert _by_kind(faults) == {
        "hang": {"faults": 1, "repairs": 0, "mean_s": None, "longest_s": None},
        "kill": {"faults": 2, "repairs": 2, "mean_s": 3.0, "longest_s": 4.0},
    }
    assert [_quantile([1.0, 2.0, 3.0], fraction) for fraction in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_growth_is_between_the_first_and_the_last_looks() -> None:
    life = LoopLife(0.0)
    assert LoopLife(0.0).growth == (0.0, 0.0)
    life.descriptors += [8, 40, 8, 8, 9, 30, 9, 9, 10, 10, 10, 50]
    life.resident_mib += [70.0] * 6 + [71.5] * 6
    assert life.growth == (2.0, 1.5)
