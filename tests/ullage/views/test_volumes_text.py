"""When a volume is worked on, in words that people can send by."""

from __future__ import annotations

import pytest

from planner.plan import PlannedVolume
from planner.plan.planned_volume import VolumeWindow
from tests.plans import time_shared_plan
from ullage.views.plan.volumes_text import volume_lines

HOUR_S, DAY_S = 3600.0, 86_400.0


def line(every_s: float, windows: list[tuple[float, float, float]]) -> str:
    """The line of one volume whose work is planned in these hours of a week, with requests/s."""
    desired = time_shared_plan().desired
    found = tuple(VolumeWindow(start_s=start_h * HOUR_S, end_s=end_h * HOUR_S, rate_rps=rate_rps) for start_h, end_h, rate_rps in windows)
    volume = PlannedVolume(
        requests=1000, every_s=every_s, released_s=0.0, deadline_s=8 * HOUR_S, done_s=6 * HOUR_S, cycle_s=7 * DAY_S, windows=found
    )
    row = desired.workloads[0].model_copy(update={"volume": volume})
    return list(volume_lines(desired.model_copy(update={"workloads": (row,)})))[1]


def nights(rate_rps: float = 3.65) -> list[tuple[float, float, float]]:
    return [(24.0 * day, 24.0 * day + 6.5, rate_rps if day else 3.65) for day in range(7)]


@pytest.mark.parametrize(
    ("every_s", "shown"), [(DAY_S, "each day: 00:00-06:30 3.65/s"), (7 * DAY_S, "each week: each day 00:00-06:30 3.65/s")]
)
def test_days_that_are_alike_are_one_line(every_s: float, shown: str) -> None:
    assert shown in line(every_s, nights())


def test_days_that_are_not_are_counted() -> None:
    assert "in 7 windows at 3.65 to 4.5/s" in line(DAY_S, nights(4.5))
    assert "in 6 windows at 3.65/s" in line(DAY_S, nights()[:6])
    assert "Mon 00:00-Mon 06:30 3.65/s, Tue 00:00-Tue 06:30 3.65/s;" in line(DAY_S, nights()[:2])
