"""What still runs when rented nodes are lost: the nodes behind them move up by one number each, as they do in the fleet."""

from __future__ import annotations

from collections.abc import Collection

from planner.plan import State


def state_without(state: State, pool: str, lost: Collection[int]) -> State:
    """The state without the replicas on nodes of a pool that are lost, by their numbers, and with new names for the nodes behind them."""

    def renamed(node: str) -> str | None:
        name, _, number = node.rpartition("-")
        if name != pool or not number.isdecimal():
            return node
        index = int(number)
        return None if index in lost else f"{pool}-{index - sum(other < index for other in lost)}"

    nodes = tuple(item.model_copy(update={"name": name}) for item in state.nodes if (name := renamed(item.name)) is not None)
    gpus = tuple(item.model_copy(update={"node": name}) for item in state.gpus if (name := renamed(item.node)) is not None)
    replicas = tuple(item.model_copy(update={"node": name}) for item in state.replicas if (name := renamed(item.node)) is not None)
    left = {item.name for item in replicas}
    routes = tuple(
        route.model_copy(update={"backends": tuple(item for item in route.backends if item.replica in left)}) for route in state.routes
    )
    asleep = tuple(item for item in state.asleep if item.name in left)
    return state.model_copy(update={"nodes": nodes, "gpus": gpus, "replicas": replicas, "routes": routes, "asleep": asleep})
