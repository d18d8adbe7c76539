"""Volumes with a deadline in plans: what others leave idle is enough, or the plan says how much is missed and why."""

from __future__ import annotations

from typing import Any

import pytest

import ullage
from planner.check import check
from planner.plan import Plan, State, WorkloadForecast, plan_from_json, to_json
from profiles.catalogue import builtin
from tests.fleets import fleet, fleet_dict, workload
from tests.plans import time_shared_plan
from ullage.planning.plan import plan_fleet
from ullage.traffic.requests import declared_requests
from ullage.views.html.plan.report_page import report_page
from ullage.views.plan.plan_markdown import plan_markdown
from ullage.views.plan.plan_text import plan_text

LENGTHS = {"input_tokens": 500, "output_tokens": 200}
CHAT = {
    "model": "middle",
    "class": "interactive",
    "demand": {"windows": [{"hours": "08:00-20:00", "rate": "24/s", **LENGTHS}, {"hours": "20:00-08:00", "rate": "2/s", **LENGTHS}]},
}
DAY_CHAT = {**CHAT, "demand": {"windows": [{"hours": "08:00-20:00", "rate": "24/s", **LENGTHS}]}}


def _nightly(model: str = "large", requests: int = 200_000, **changes: Any) -> dict[str, Any]:
    demand = {"requests": requests, "input_tokens": 800, "output_tokens": 100}
    return {"model": model, "class": "background", "deadline": "06:00", "demand": demand, **changes}


def _plan(gpus: int = 2, **workloads: Any) -> Plan:
    pools = {"h100": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": gpus, "price": "3 USD/h"}}
    return plan_fleet(fleet(pools=pools, workloads=workloads), State(), verify=False).plan


def _row(plan: Plan, name: str = "nightly") -> WorkloadForecast:
    return next(row for row in plan.desired.workloads if row.name == name)


@pytest.mark.parametrize(("chat", "model", "requests"), [(CHAT, "middle", 700_000), (DAY_CHAT, "large", 200_000)])
def test_a_volume_needs_no_more_gpus_where_others_leave_enough_idle(chat: dict[str, Any], model: str, requests: int) -> None:
    plan = _plan(chat=chat, nightly=_nightly(model, requests))
    assert check(plan, builtin().gpu, builtin().model) == ()
    assert plan.desired.gpus_used == _plan(chat=chat).desired.gpus_used == 1
    assert all(row.unserved_rps == 0 for row in plan.desired.workloads)
    # as many requests at one rate, day and night, need another GPU
    steady = workload(model, f"{requests / 86_400:.6f}/s", **{"class": "background"})
    assert _plan(chat=chat, nightly=steady).desired.gpus_used == 2


def test_a_plan_says_when_a_volume_is_worked_on() -> None:
    plan = _plan(chat=CHAT, nightly=_nightly(released="20:00"))
    volume = _row(plan).volume
    assert volume is not None
    assert (volume.requests, volume.every_s, volume.released_s, volume.deadline_s) == (200_000, 86_400, 72_000, 108_000)
    assert (volume.done_s, volume.missed_requests) == (106_200, 0)
    assert sum((item.end_s - item.start_s) * item.rate_rps for item in volume.windows) == pytest.approx(200_000)
    assert "\n  nightly: 200,000 requests by 06:00 each day: 20:00-05:30 5.85/s; done by 05:30\n" in plan_text(plan)
    assert "200,000 requests by 06:00 each day" in report_page(plan)
    assert "nightly" in plan_markdown(plan)
    assert plan_from_json(to_json(plan), "plan.json") == plan
    assert _row(plan, "chat").volume is None
    assert to_json(plan).count('"volume":') == 1
    assert '"volume"' not in to_json(time_shared_plan())


def test_what_cannot_be_done_by_the_deadline_is_counted_with_its_reason() -> None:
    plan = _plan(1, nightly=_nightly("middle", 5_000_000, released="22:00"))
    row = _row(plan)
    assert row.volume is not None
    served_fraction = 1 - row.unserved_rps / row.rate_rps
    assert 0 < served_fraction < 1
    assert row.volume.missed_requests == pytest.approx(5_000_000 * (1 - served_fraction), rel=1e-6)
    assert row.unserved_reason
    line = next(line for line in plan_text(plan).splitlines() if line.startswith("  nightly: 5,000,000 requests by 06:00"))
    assert f"; planned to be done by 05:36; {row.volume.missed_requests:,.0f} of them MISS the deadline: {row.unserved_reason}" in line


def test_a_volume_yields_to_others_of_its_model() -> None:
    busy = {**CHAT, "demand": {"rate": "24/s", **LENGTHS}}
    plan = _plan(1, chat=busy, nightly=_nightly("middle", 5_000_000))
    row = _row(plan)
    assert row.volume is not None
    # what the replicas can carry beside the chat, which comes first, is less than their part of the load
    assert row.volume.missed_requests > 5_000_000 * row.unserved_rps / row.rate_rps > 0
    assert row.volume.missed_requests <= 5_000_000


def test_a_weekly_volume_is_done_at_the_weekend() -> None:
    nightly = _nightly(deadline="mon 06:00", released="sat 00:00")
    plan = _plan(chat=CHAT, nightly={**nightly, "demand": {**nightly["demand"], "every": "week"}})
    line = next(line for line in plan_text(plan).splitlines() if line.startswith("  nightly: "))
    assert line.startswith("  nightly: 200,000 requests by Mon 06:00 each week: ")
    assert line.endswith("; done by Mon 03:18")


def test_the_same_fleet_gives_the_same_bytes() -> None:
    assert to_json(_plan(chat=CHAT, nightly=_nightly())) == to_json(_plan(nightly=_nightly(), chat=CHAT))


def test_requests_are_drawn_from_the_windows_of_a_volume() -> None:
    plan = _plan(chat=CHAT, nightly=_nightly())
    requests = declared_requests(plan, 60.0, 1, 0)
    assert {request.workload for request in requests} == {"chat", "nightly"}


def test_a_volume_can_be_multiplied() -> None:
    spec = ullage.fleet(fleet_dict(workloads={"chat": CHAT, "nightly": _nightly()}))
    for path in ("workloads.nightly.demand.requests", "workloads.nightly.demand.rate", "workloads.nightly.requests"):
        assert spec.set(path, "x2").get("workloads.nightly.demand.requests") == "400000"
    later = spec.set("workloads.nightly.deadline", "04:00").resolved()
    volume = next(item.volume for item in later.workloads if item.name == "nightly")
    assert volume is not None
    assert volume.deadline_s == 28 * 3600.0
