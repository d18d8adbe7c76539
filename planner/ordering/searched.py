"""Orders to try instead of the greedy one: of all that changes where that is little, else of those groups that suffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from planner.ordering.disturbance import Disturbance
from planner.ordering.order_puzzle import MOST_MOVERS, connected, puzzle_of
from planner.ordering.order_search import Wave, best_order
from planner.transitions.transition import Transition

Waves = list[Wave]

# Our choice: groups that are searched one after the other, each for about a second at most.
MOST_GROUPS = 4


def searched_waves(
    world: Transition, least: Mapping[str, int], hurt: frozenset[str], greedy: Callable[[frozenset[str]], Waves], below: Disturbance
) -> Waves | None:
    """Waves that may disturb less than the limit; None where none were found.

    least are the ready replicas that names must have, hurt the names that have fewer so far. greedy says what is done with some alone.
    """
    # nothing that stops or starts keeps these
    world.repartition()
    movers = [*world.going, *world.coming]
    if len(movers) <= MOST_MOVERS:
        order = best_order(puzzle_of(world, least, frozenset(replica.name for replica in movers)), below)
        return None if order is None else _begun(order.waves)
    suffering = {replica.name for replica in movers if hurt & set(replica.args.names)}
    waves: Waves = []
    easy = {replica.name for replica in movers}
    for group in [group for group in connected(world) if group & suffering][:MOST_GROUPS]:
        if sum(replica.name in group for replica in movers) > MOST_MOVERS:
            continue
        order = best_order(puzzle_of(world, least, group))
        if order is not None:
            waves += order.waves
            easy -= group
    return [*greedy(frozenset(easy)), *waves] if waves else None


def _begun(waves: tuple[Wave, ...]) -> Waves:
    """The first wave lets nobody go."""
    return [*waves] if waves and not waves[0].leaving else [Wave((), ()), *waves]
