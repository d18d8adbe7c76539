"""A change into a phase says what of it the disruption budget keeps from happening in time."""

from __future__ import annotations

from typing import Any

import pytest

from planner.disruption_budget import DisruptionBudget, whole_week
from planner.schedule.held_up import waits
from planner.transitions.change import change
from tests.planner.transitions.test_order import placed, worlds_of

DAY_S = 86_400.0


def told(starts_s: list[float], every_s: float | None, *, same: bool = False, **budget: Any) -> list[str]:
    """a is replaced where it is, or nothing changes."""
    old, new = placed("a-0", 0, 40_000), placed("a-0", 0, 40_000, length=8192 if same else 4096)
    state, desired = worlds_of([old], [new], 1)
    rules = desired.rules.model_copy(update={"disruption_budget": DisruptionBudget(**budget)})
    desired = desired.model_copy(update={"rules": rules})
    before = desired.model_copy(update={"replicas": state.replicas, "routes": state.routes})
    return list(waits(before, change(state, desired), starts_s, every_s))


def test_phases_that_begin_outside_the_windows_wait() -> None:
    night = whole_week([(7_200.0, 14_400.0)], daily=True)
    assert told([10_000.0], DAY_S, windows_s=night) == []
    [text] = told([10_000.0, 57_600.0], DAY_S, windows_s=night)
    assert text == "no window of policy.disruption_budget is open at Mon 16:00 UTC: who is to leave stays until Tue 02:00 UTC"
    # open on Mondays only: the phase begins each day
    [text] = told([10_000.0], DAY_S, windows_s=((7_200.0, 14_400.0),))
    assert "open at Tue 02:46 UTC: who is to leave stays until Mon 02:00 UTC" in text
    assert told([10_000.0], 7 * DAY_S, windows_s=((7_200.0, 14_400.0),)) == []


def test_who_is_protected_stays() -> None:
    assert told([0.0], DAY_S) == []
    [text] = told([0.0], DAY_S, protected=("a",))
    assert text.startswith("replicas of a would leave, which policy.disruption_budget protects")


@pytest.mark.parametrize("budget", [{"protected": ("a",)}, {"windows_s": ((0.0, 1.0),)}])
def test_where_nobody_leaves_nothing_waits(budget: dict[str, Any]) -> None:
    assert told([60.0], DAY_S, same=True, **budget) == []
