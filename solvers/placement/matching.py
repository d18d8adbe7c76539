"""Min-cost flow between groups of identical patterns and groups of identical places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from ortools.graph.python import min_cost_flow


def match_groups(
    supplies: Sequence[int], rooms: Sequence[int], gains: Mapping[tuple[int, int], int], room_costs: Sequence[int]
) -> list[tuple[int, int, int]]:
    """How many of each supply group go to each room group so that gains minus room costs are largest: (supply, room, amount).

    gains holds the pairs that are worth something. All other pairs gain nothing and run through one hub, so the network
    stays as small as what is shared. Rooms in total must be at least the supplies.
    """
    if not sum(supplies):
        return []
    flow = min_cost_flow.SimpleMinCostFlow()
    hub, sink = len(supplies) + len(rooms), len(supplies) + len(rooms) + 1

    def room_node(room: int) -> int:
        return len(supplies) + room

    arcs = [(supply, room_node(room), min(supplies[supply], rooms[room]), -gain) for (supply, room), gain in sorted(gains.items())]
    arcs += [(supply, hub, amount, 0) for supply, amount in enumerate(supplies)]
    arcs += [(hub, room_node(room), amount, 0) for room, amount in enumerate(rooms)]
    arcs += [(room_node(room), sink, amount, room_costs[room]) for room, amount in enumerate(rooms)]
    tails, heads, capacities, costs = (np.array(column, dtype=np.int64) for column in zip(*arcs, strict=True))
    ids = flow.add_arcs_with_capacity_and_unit_cost(tails, heads, capacities, costs)
    flow.set_nodes_supplies(np.arange(sink + 1), np.array([*supplies, *[0] * (len(rooms) + 1), -sum(supplies)]))
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise ValueError(f"the patterns do not fit the pool: {sum(supplies)} for {sum(rooms)} places")
    carried = [(tail, head, amount) for (tail, head, _, _), amount in zip(arcs, flow.flows(ids).tolist(), strict=True) if amount]
    direct = [(tail, head - len(supplies), amount) for tail, head, amount in carried if tail < len(supplies) and head != hub]
    into_hub = [(tail, amount) for tail, head, amount in carried if head == hub]
    out_of_hub = [(head - len(supplies), amount) for tail, head, amount in carried if tail == hub]
    return sorted([*direct, *_through_hub(into_hub, out_of_hub)])


def _through_hub(arriving: Sequence[tuple[int, int]], leaving: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Pair what enters the hub with what leaves it, in order."""
    pairs: list[tuple[int, int, int]] = []
    rooms = [room for room, amount in leaving for _ in range(amount)]
    taken = 0
    for supply, amount in arriving:
        for room, together in sorted(Counter(rooms[taken : taken + amount]).items()):
            pairs.append((supply, room, together))
        taken += amount
    return pairs
