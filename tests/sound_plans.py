"""Plans that the checker passes, for tests of what reads them."""

from __future__ import annotations

from functools import cache

from planner.plan import Plan, State
from tests.fleets import fleet, workload
from ullage.planning.plan import plan_fleet


@cache
def shared() -> Plan:
    """Three models on two H100, some of them side by side."""
    return plan_fleet(fleet(), State()).plan


@cache
def sliced() -> Plan:
    """One model in a MIG slice."""
    pools = {"mig": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "mig": "repartition"}}
    return plan_fleet(fleet(pools=pools, workloads={"small": workload("small", "0.5/s")}), State()).plan
