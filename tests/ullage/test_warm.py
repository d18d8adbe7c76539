"""Plans made one after another: what is kept changes no cost, and an answer before is never lost."""

from __future__ import annotations

import pytest

from planner.plan import State
from planner.sizing.candidates import candidates
from planner.sizing.groups import ServiceGroup
from planner.sizing.sites import Site
from planner.sizing.ways_to_run import Sizing
from tests.fleets import fleet_dict
from ullage.fleet_spec import fleet
from ullage.planning.plan import plan_fleet
from ullage.planning.warm import Sized, Warmth

CHANGES = (
    ("pools.h100.nodes", "2"),
    ("workloads.small.rate", "x4"),
    ("pools.h100.gpus_per_node", "1"),
    ("workloads.large.ttft_p95", "300ms"),
    ("pools.h100.price", "x2"),
    ("policy.headroom", "20GiB"),
    ("policy.max_active_residents", "1"),
)


def test_warm_plans_cost_what_cold_ones_cost() -> None:
    warm, spec = Warmth(), fleet(fleet_dict())
    for path, value in CHANGES:
        changed = spec.set(path, value).resolved()
        before = plan_fleet(changed, State(), warm=warm).plan.desired
        cold = plan_fleet(changed, State(), warm=Warmth()).plan.desired
        assert before.cost_usd_per_h == pytest.approx(cold.cost_usd_per_h), path
        assert [row.unserved_rps for row in before.workloads] == [row.unserved_rps for row in cold.workloads], path


def test_sizes_are_looked_up_and_asked_anew_where_something_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(group: ServiceGroup, site: Site, sizing: Sizing) -> Sized:
        asked.append(group.name)
        return candidates(group, site, sizing)

    monkeypatch.setattr("ullage.planning.warm.candidates", counted)
    warm, spec = Warmth(), fleet(fleet_dict())
    plan_fleet(spec.resolved(), State(), warm=warm)
    assert sorted(asked) == ["large", "middle", "small"]
    plan_fleet(spec.set("pools.h100.nodes", 4).resolved(), State(), warm=warm)
    assert len(asked) == 3
    plan_fleet(spec.set("workloads.small.rate", "x2").resolved(), State(), warm=warm)
    assert asked[3:] == ["small"]
