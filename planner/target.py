"""A part of a plan: what concerns some models or replicas, with everything else left as it runs."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan import GpuPlan, Plan, Replica, State
from planner.routes import routes_for
from planner.spec.nearest import nearest
from planner.transitions.change import change


def targeted(plan: Plan, state: State, targets: Sequence[str]) -> Plan:
    """The plan's changes of the replicas that targets name, by themselves or by their model; the rest as the state has it.

    Raises ValueError for a name that neither plan nor state knows.
    """
    everybody = (*state.replicas, *plan.desired.replicas)
    known = {name for replica in everybody for name in (replica.name, replica.served_name)}
    for target in targets:
        if target not in known:
            close = nearest(target, known)
            raise ValueError(f"--target {target}: no such model or replica in plan and state{f'; did you mean {close}?' if close else ''}")

    def chosen(replica: Replica) -> bool:
        return replica.name in targets or replica.served_name in targets

    replicas = [replica for replica in plan.desired.replicas if chosen(replica)]
    names = {replica.name for replica in replicas}
    replicas += [replica for replica in state.replicas if not chosen(replica) and replica.name not in names]
    replicas.sort(key=lambda replica: replica.name)
    served = {replica.served_name for replica in replicas}
    known_routes = [route.served_name for route in (*state.routes, *plan.desired.routes) if route.served_name in served | set(targets)]
    desired = plan.desired.model_copy(
        update={
            "replicas": tuple(replicas),
            "gpus": _gpus(plan, state, [replica for replica in replicas if chosen(replica)]),
            "routes": routes_for(replicas, _in_plan(plan, known_routes)),
            "asleep": tuple(item for item in state.asleep if item.name in {replica.name for replica in replicas}),
        }
    )
    # a plan that was made against another state stays one
    return change(state, desired).model_copy(update={"prior": plan.prior})


def _in_plan(plan: Plan, names: Sequence[str]) -> list[str]:
    """A model that the plan does not serve any more loses its route with its last replica."""
    wanted = {route.served_name for route in plan.desired.routes}
    return [name for name in names if name in wanted]


def _gpus(plan: Plan, state: State, replicas: Sequence[Replica]) -> tuple[GpuPlan, ...]:
    """GPUs of the chosen replicas as planned, the others as they are now."""
    places = {(replica.node, gpu) for replica in replicas for gpu in replica.gpus}
    now = {(gpu.node, gpu.index): gpu for gpu in state.gpus}

    def layout_of(gpu: GpuPlan) -> GpuPlan:
        if (gpu.node, gpu.index) in places:
            return gpu
        return now.get((gpu.node, gpu.index), gpu.model_copy(update={"mig_layout": ()}))

    return tuple(layout_of(gpu) for gpu in plan.desired.gpus)
