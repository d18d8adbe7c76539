"""A fleet that changes step by step: each plan against what the one before left, beside a cold re-solve and a mere repair.

    python -m benchmarks.churn [--steps 50] [--seed 1] [--gpus 8]

Rates walk; workloads and nodes come and go. Three ways are planned in the same run, each from where it has got itself: `planned` as
`ullage plan` does it with a state; `cold` as if nothing ran, and then the actions from what runs; `repair` with churn before cost, so that
what is placed stays and only what demand makes necessary comes and goes. The independent checker follows all actions. The last line of
standard output is one JSON object: for each way the mean and the largest cost above the cold one's (of steps in which both leave as much
unserved), GiB of weights loaded, replicas stopped on nodes that are still there, seconds without a ready replica and with too few (over all
names), what the checker found, mean unserved requests/s, and seconds of processor time. The first plan, from nothing, counts only as time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import process_time
from typing import Any

from benchmarks.churn_walk import GPUS_PER_NODE, loaded, walk
from planner.check import check
from planner.plan import Plan, Start, State, Stop, state_of
from planner.transitions.change import change
from profiles.catalogue import builtin
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

# Requests/s by which two plans may differ in what they leave unserved and still be compared by their cost.
ALIKE_RPS = 1e-3

_MIB_PER_GIB = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk, and print the figures; 1 when the checker found anything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.churn", description="Plans of a fleet that changes step by step.")
    parser.add_argument("--steps", type=int, default=50, help="changes of the fleet; default: 50")
    parser.add_argument("--seed", type=int, default=1, help="of the walk; default: 1")
    parser.add_argument("--gpus", type=int, default=8, help=f"a multiple of {GPUS_PER_NODE}; default: 8")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.gpus < GPUS_PER_NODE or options.gpus % GPUS_PER_NODE:
        wanted = f"at least one step, and a multiple of {GPUS_PER_NODE} GPUs"
        print(f"{parser.prog}: --steps {options.steps} --gpus {options.gpus}: {wanted}", file=sys.stderr)
        return 2
    found = figures(options.gpus, options.steps, options.seed)
    print(json.dumps(found, sort_keys=True))
    return int(any(found[way]["violations"] for way in WAYS))


@dataclass(slots=True)
class PlannedWay:
    """One way to plan, where it has got, and what it cost so far."""

    plan: Callable[[dict[str, Any], State], Plan]
    state: State = field(default_factory=State)
    costs: list[tuple[float, float]] = field(default_factory=list)
    loaded_gib: float = 0.0
    disrupted: int = 0
    unavailable_s: float = 0.0
    short_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def step(self, written: dict[str, Any], *, counts: bool) -> None:
        """Plan for a fleet and go there."""
        started_s = process_time()
        plan = self.plan(written, self.state)
        self.seconds += process_time() - started_s
        self.problems += check(plan, builtin().gpu, architecture_of, self.state)
        if counts:
            self._count(plan)
        self.state = state_of(plan.desired, self.state.serial + 1) if plan.actions else self.state

    def _count(self, plan: Plan) -> None:
        wanted = {replica.name: replica for replica in plan.started}
        nodes = {node.name for node in plan.desired.nodes}
        copies = {replica.name for replica in plan.temporary}
        lost = {replica.name for replica in self.state.replicas if replica.node not in nodes}
        starts = [wanted[action.replica] for action in plan.actions if isinstance(action, Start)]
        self.costs.append((plan.desired.cost_usd_per_h, sum(workload.unserved_rps for workload in plan.desired.workloads)))
        self.loaded_gib += sum(replica.ledger.weights_mib * len(replica.gpus) for replica in starts) / _MIB_PER_GIB
        self.disrupted += sum(isinstance(action, Stop) and action.replica not in lost | copies for action in plan.actions)
        self.unavailable_s += sum(outage.unavailable_s for outage in plan.outages)
        self.short_s += sum(outage.short_s for outage in plan.outages)


def _planned(written: dict[str, Any], state: State) -> Plan:
    return plan_fleet(loaded(written), state).plan


def _cold(written: dict[str, Any], state: State) -> Plan:
    return change(state, plan_fleet(loaded(written), State()).plan.desired)


def _repair(written: dict[str, Any], state: State) -> Plan:
    return plan_fleet(loaded(written, goals=["churn", "cost", "fragmentation"]), state).plan


WAYS = {"planned": _planned, "cold": _cold, "repair": _repair}


def figures(gpus: int, steps: int, seed: int) -> dict[str, Any]:
    """What each way cost over the same walk."""
    ways = {name: PlannedWay(plan) for name, plan in WAYS.items()}
    for number, written in enumerate(walk(gpus, steps, seed)):
        for way in ways.values():
            way.step(written, counts=number > 0)
        if sys.stderr.isatty():
            print(f"step {number} of {steps}", file=sys.stderr)
    for name, way in ways.items():
        for problem in way.problems:
            print(f"{name}: {problem}")
    return {"gpus": gpus, "seed": seed, "steps": steps, **{name: _summary(way, ways["cold"]) for name, way in ways.items()}}


def _summary(way: PlannedWay, cold: PlannedWay) -> dict[str, Any]:
    above = [
        (cost - least) / least
        for (cost, lost_rps), (least, least_lost_rps) in zip(way.costs, cold.costs, strict=True)
        if least and abs(lost_rps - least_lost_rps) <= ALIKE_RPS
    ]
    return {
        "compared_steps": len(above),
        "cost_above_cold_mean_fraction": round(sum(above) / len(above), 4) if above else None,
        "cost_above_cold_max_fraction": round(max(above), 4) if above else None,
        "cost_usd_per_h_mean": round(sum(cost for cost, _ in way.costs) / len(way.costs), 3),
        "loaded_gib": round(way.loaded_gib, 1),
        "disrupted": way.disrupted,
        "unavailable_s": round(way.unavailable_s, 1),
        "short_s": round(way.short_s, 1),
        "violations": len(way.problems),
        "unserved_rps_mean": round(sum(lost_rps for _, lost_rps in way.costs) / len(way.costs), 4),
        "seconds": round(way.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
