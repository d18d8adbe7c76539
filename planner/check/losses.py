"""Node by node: what a workload that tolerates the loss of one has left, against what the plan says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from planner.check.machine_names import machine_names
from planner.plan import Desired, NodeLoss, Replica

# Demand and capacities are counted in whole micro-requests/s, forecasts are floats: one part in a million, and a micro-request/s each.
RELATIVE_TOLERANCE = 1e-6
MICRO_RPS = 1e-6


def loss_problems(desired: Desired) -> Iterator[str]:
    """Losses that the plan does not admit."""
    said = {loss.served_name: loss for loss in desired.node_losses}
    asked = {workload.served_name for workload in desired.workloads if workload.tolerate_nodes}
    machines = machine_names(desired)
    for served_name in sorted(asked):
        replicas = [replica for replica in desired.replicas if replica.served_name == served_name]
        yield from _model(served_name, replicas, said.get(served_name), machines)


def _model(served_name: str, replicas: Sequence[Replica], said: NodeLoss | None, machines: Mapping[str, str]) -> Iterator[str]:
    planned_rps = sum(replica.planned_rps for replica in replicas)
    admitted_rps = said.unserved_rps if said else 0.0
    rounding_rps = planned_rps * RELATIVE_TOLERANCE + MICRO_RPS * (1 + len(replicas))
    for node in sorted({replica.node for replica in replicas}):
        lost = machines.get(node, node)
        left_rps = sum(replica.capacity_rps for replica in replicas if machines.get(replica.node, replica.node) != lost)
        if planned_rps - left_rps > admitted_rps + rounding_rps:
            yield (
                f"{served_name}: without node {node} its other replicas carry {left_rps:.4g} of {planned_rps:.4g} requests/s, "
                f"but the plan states a loss of {admitted_rps:.4g}"
            )
