from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.demand.joint import Stretch, offered
from planner.schedule.horizon import asked_in, during, horizon
from planner.spec import load_fleet
from profiles.catalogue import builtin
from tests.fleets import fleet, fleet_dict, workload

DAY_S = 86_400.0


def windowed(model: str, *windows: tuple[str, str], **changes: Any) -> dict[str, Any]:
    """A standard workload with windows (hours, rate)."""
    listed = [{"hours": hours, "rate": rate, "input_tokens": 300, "output_tokens": 150} for hours, rate in windows]
    return {"model": model, "class": "standard", "demand": {"windows": listed}, **changes}


def test_segments_cover_the_day_without_gaps_also_where_nobody_asks() -> None:
    time = horizon(fleet(workloads={"day": windowed("small", ("08:00-20:00", "1/s")), "noon": windowed("middle", ("11:00-13:00", "2/s"))}))
    assert (time.timeline, time.end_s, time.repeats) == ("clock", DAY_S, True)
    assert [segment.start_s / 3600 for segment in time.segments] == [0, 8, 11, 13, 20]
    assert all(one.end_s == other.start_s for one, other in zip(time.segments, time.segments[1:], strict=False))


def test_days_of_the_week_make_a_week() -> None:
    weekly = windowed("small", ("08:00-20:00", "1/s"))
    weekly["demand"]["windows"][0]["days"] = "mon-fri"
    time = horizon(fleet(workloads={"office": weekly, "daily": windowed("middle", ("22:00-06:00", "1/s"))}))
    assert time.end_s == 7 * DAY_S
    assert len(time.segments) > 20


@pytest.mark.parametrize(
    ("workloads", "message"),
    [
        ({"small": workload("small")}, "all demand is constant"),
        ({"small": windowed("small", ("08:00-20:00", "1/s"), split="prompt_length")}, "small.split: a schedule does not split prompts"),
    ],
)
def test_what_no_schedule_can_be_made_for(workloads: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        horizon(fleet(workloads=workloads))


def test_in_a_part_of_the_time_only_what_is_asked_then_is_left() -> None:
    spec = fleet(
        workloads={
            "always": workload("small"),
            "day": windowed("middle", ("08:00-20:00", "3/s"), ("20:00-22:00", "1/s")),
            "night": windowed("large", ("22:00-06:00", "1/s")),
        }
    )
    time = horizon(spec)
    evening = next(number for number, segment in enumerate(time.segments) if segment.start_s == 20 * 3600)
    left = during(spec, time, [evening])
    assert [(item.name, item.demand.peak_rps) for item in left.workloads] == [("always", 1.0), ("day", 1.0)]
    everything = during(spec, time, range(len(time.segments)))
    for before, after in zip(spec.workloads, everything.workloads, strict=True):
        for segment in time.segments:
            assert offered(before.demand, segment) == offered(after.demand, segment)


def test_a_window_of_a_trace_that_is_quiet_by_chance_stays_one() -> None:
    few = ["arrival_s,input_tokens,output_tokens,tenant", *(f"{at},100,20,few" for at in (10, 700, 750, 1900, 3500))]
    demand = {"trace": "trace.csv", "tenant": "few", "window": "300s"}
    written = {**fleet_dict(), "workloads": {"few": {"model": "small", "class": "standard", "demand": demand}}}
    spec = load_fleet(Path("fleet.yaml"), yaml.safe_dump(written), builtin(), read=lambda _: "\n".join(few).encode())
    time = horizon(spec)
    assert not time.repeats
    (before,), (after,) = spec.workloads, during(spec, time, range(len(time.segments))).workloads
    assert before.demand.steady_fraction > 0
    for segment in time.segments:
        assert offered(before.demand, segment).rate_rps == offered(after.demand, segment).rate_rps > 0
    for number in range(len(time.segments)):
        assert len(during(spec, time, [number]).workloads) == 1


def test_a_window_past_midnight_is_found_on_both_sides() -> None:
    demand = fleet(workloads={"night": windowed("large", ("22:00-06:00", "1/s"))}).workloads[0].demand
    assert asked_in(demand, Stretch("clock", 23 * 3600.0, DAY_S)) is not None
    assert asked_in(demand, Stretch("clock", 0.0, 3600.0)) is not None
    assert asked_in(demand, Stretch("clock", 7 * 3600.0, 8 * 3600.0)) is None


def test_pools_leave_room_for_what_sleeps_then() -> None:
    models = {
        "small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048},
        "large": {"source": "Qwen/Qwen3-14B", "max_model_len": 4096, "sleep": True},
    }
    spec = fleet(models=models, workloads={"always": workload("small"), "night": windowed("large", ("22:00-06:00", "1/s"))})
    time = horizon(spec)
    spared = [during(spec, time, [number]).policy.spared_mib for number in range(len(time.segments))]
    assert spared == [0, 2048, 0]
