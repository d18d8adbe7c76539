"""From a blueprint and what the engines said to a Plan: the last pure step before the plan is checked and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.assembly.certificate import Outcome, certificate, gpus_used
from planner.assembly.forecasts import planned_windows, workload_forecasts
from planner.assembly.gpus import build_gpus
from planner.assembly.growth import grow
from planner.assembly.measured_memory import measured_memory
from planner.assembly.replicas import Hosts, build_replicas
from planner.assembly.rules import rules
from planner.assembly.saving import sharing_saving
from planner.choice.tiers import churn_tier, fragmentation_tier
from planner.explain import explanation
from planner.explain.breaking import breaking_points
from planner.plan import (
    Certificate,
    Conflict,
    CostBand,
    Desired,
    Explanation,
    NodeLoss,
    NodePlan,
    OneMore,
    Plan,
    Replica,
    RouterPlan,
    State,
    WorkloadForecast,
    gpu_facts,
)
from planner.problem import MICRO, DemandLoss, Placed, Solution
from planner.routes import routes_for
from planner.sizing.blueprint import Blueprint
from planner.sizing.parts import node_name
from planner.spec import Fleet
from planner.transitions.change import change
from profiles.store.digest import digest


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What the loss of one node leaves of each demand that asks to survive it, and what surviving costs (None: nobody asks)."""

    losses: tuple[DemandLoss, ...] = ()
    cost_microusd_per_h: int | None = None


NO_TOLERANCE = Tolerance()


@dataclass(frozen=True, slots=True)
class Resolved:
    """What only solving again tells: conflicts of what is unserved, what more GPUs would buy, cost with other step times."""

    conflicts: tuple[Conflict, ...] = ()
    one_more: tuple[OneMore, ...] = ()
    cost_band: CostBand | None = None


NOTHING_RESOLVED = Resolved()


def assemble(
    fleet: Fleet,
    blueprint: Blueprint,
    outcome: Outcome,
    placed: Sequence[Placed],
    state: State,
    tolerance: Tolerance = NO_TOLERANCE,
    resolved: Resolved = NOTHING_RESOLVED,
) -> Plan:
    """The Plan for a fleet: names, ports, routes, forecasts, certificate, and the actions from the state to it."""
    hosts = hosts_of(fleet)
    pools = {pool.name: pool for pool in sorted(fleet.pools, key=lambda pool: pool.name)}
    nodes = tuple(node for name in pools for node in hosts.nodes[name])
    quantile = fleet.policy.risk.attainment_fraction
    grown = grow(blueprint, placed, hosts.nodes, state, fleet.policy)
    blueprint, placed = grown.blueprint, grown.placed
    outcome = replace(outcome, best=replace(outcome.best, patterns=grown.patterns))
    built = build_replicas([blueprint.candidates[item.shape] for item in placed], blueprint.real(placed), hosts, state, quantile)
    replicas, memory = measured_memory(built, {name: pool.gpu for name, pool in pools.items()}, fleet.measurements)
    gpus = build_gpus(nodes, pools, replicas, fleet.policy.headroom_mib, state, fleet.measurements)
    asked = rules(fleet, blueprint.groups)
    desired = Desired(
        nodes=nodes,
        gpus=gpus,
        replicas=replicas,
        routes=routes_for(replicas, [name for group in blueprint.groups for name in group.names]),
        router=hosts.router,
        workloads=_workloads(blueprint, outcome.best, placed, replicas),
        cost_usd_per_h=outcome.best.cost_microusd_per_h / MICRO,
        gpus_used=gpus_used(blueprint.problem, outcome.best),
        risk=fleet.policy.risk,
        certificate=_certificate(blueprint, outcome, resolved),
        explanation=_explanation(blueprint, placed, quantile, resolved),
        input_hashes=dict(sorted(fleet.hashes.items())),
        node_losses=tuple(_loss(blueprint, loss) for loss in tolerance.losses),
        rules=asked,
        measured_memory=memory,
        measurements_sha256=digest(fleet.measurements),
        sharing_saving=sharing_saving(gpus, asked),
        tolerance_cost_usd_per_h=None if tolerance.cost_microusd_per_h is None else tolerance.cost_microusd_per_h / MICRO,
        warnings=fleet.warnings,
        gpu_types=tuple(gpu_facts(gpu) for gpu in fleet.own_gpu_types),
        windows=planned_windows(blueprint),
    )
    return change(state, desired, churn_tier(blueprint.problem, grown.settled, outcome.least_load_mib, searched=outcome.searched))


def _certificate(blueprint: Blueprint, outcome: Outcome, resolved: Resolved) -> Certificate:
    further = (fragmentation_tier(blueprint.problem, outcome.best),)
    return certificate(blueprint.problem, outcome, further).model_copy(update={"cost_band": resolved.cost_band})


def _explanation(blueprint: Blueprint, placed: Sequence[Placed], quantile: float, resolved: Resolved) -> Explanation:
    told = {"conflicts": resolved.conflicts, "one_more": resolved.one_more}
    return explanation(blueprint, placed, quantile).model_copy(update=told)


def _workloads(
    blueprint: Blueprint, solution: Solution, placed: Sequence[Placed], replicas: Sequence[Replica]
) -> tuple[WorkloadForecast, ...]:
    points = breaking_points(blueprint, solution, placed)
    rows = workload_forecasts(blueprint, solution, replicas)
    return tuple(row.model_copy(update={"breaking": points.get(row.name)}) for row in rows)


def _loss(blueprint: Blueprint, loss: DemandLoss) -> NodeLoss:
    return NodeLoss(
        served_name=blueprint.groups[loss.demand].name,
        node=blueprint.node_name(loss.pool, loss.node),
        unserved_rps=loss.missing_microrps / MICRO,
    )


def hosts_of(fleet: Fleet) -> Hosts:
    """The nodes of every pool, the ports for engines and the router."""
    router = fleet.policy.router
    return Hosts(
        nodes={
            pool.name: tuple(
                NodePlan(
                    name=node_name(pool, index),
                    pool=pool.name,
                    host=host,
                    gpu_type=pool.gpu.name,
                    gpu_count=pool.gpus_per_node,
                    host_cores=pool.host_cores,
                    host_memory_mib=pool.host_memory_mib,
                    numa_nodes=pool.numa_nodes,
                )
                for index, host in enumerate(pool.hosts)
            )
            for pool in fleet.pools
        },
        ports=range(fleet.policy.ports.start, fleet.policy.ports.end + 1),
        router=RouterPlan(host=router.host, port=router.port, admin_port=router.admin_port),
    )
