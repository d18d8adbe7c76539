"""What would spare a dip that stays: a port, memory of one GPU, or free GPUs of a pool, whichever is found first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from planner.ordering.disturbance import Disturbance, in_ms
from planner.ordering.order_puzzle import MOST_MOVERS, OrderSpare, connected, puzzle_of
from planner.ordering.order_search import best_order
from planner.plan import Desired, Outage, Replica, State, may_be_neighbours
from planner.transitions.outages import least_ready
from planner.transitions.repairs import Repairs
from planner.transitions.transition import Transition, layouts_to_change, seats_of

# Our choice: spares that are tried for one served name, and waves that are looked at for each; half a second at most for a name.
MOST_SPARES = 8
MOST_WAVES_OF_A_SPARE = 4_000
# Our choice: names of one plan that are looked into; the first by name.
MOST_NAMES = 6

_MIB_PER_GIB = 1024


def with_spares(state: State, desired: Desired, told: Sequence[Outage], repairs: Repairs) -> tuple[Outage, ...]:
    """The outages, each with the smallest spare by which there would be none; else that this is the least harmful dip found."""
    if not told:
        return ()
    world = Transition(state, desired, layouts_to_change(state, desired), repairs.names)
    world.stop([replica for replica in world.going if replica.name in repairs.useless])
    world.repartition()
    if world.starts_to_sleep():
        return tuple(told)
    least = least_ready(state, desired)
    total = Disturbance(sum(in_ms(item.unavailable_s) for item in told), sum(in_ms(item.short_s) for item in told))
    groups = connected(world)
    named: list[Outage] = []
    for number, outage in enumerate(told):
        rest = Disturbance(total.none_ms - in_ms(outage.unavailable_s), total.short_ms - in_ms(outage.short_s) + 1)
        tried = _spares(world, outage, groups) if number < MOST_NAMES else ()
        words = next(
            (
                text
                for text, spare, group in tried
                if best_order(puzzle_of(world, least, group, spare), rest, unbroken=outage.served_name, most_waves=MOST_WAVES_OF_A_SPARE)
            ),
            None,
        )
        named.append(outage.model_copy(update={"reason": f"{outage.reason}; {words or _dip(outage)}"}))
    return tuple(named)


def _spares(world: Transition, outage: Outage, groups: Sequence[frozenset[str]]) -> Iterator[tuple[str, OrderSpare, frozenset[str]]]:
    """The cheapest first: what it is in words, the spare, and the movers that it is tried with."""
    coming = [replica for replica in world.coming if outage.served_name in replica.args.names]
    group = next((group for group in groups if any(replica.name in group for replica in coming)), frozenset())
    if not coming or not group or sum(replica.name in group for replica in (*world.going, *world.coming)) > MOST_MOVERS:
        return
    for host in sorted({replica.host for replica in coming}):
        yield f"one more port on {host} would avoid it (policy.ports)", OrderSpare(ports=True), group
    for missing_mib, (node, gpu) in sorted(_memory(world, coming))[:MOST_SPARES]:
        words = f"{missing_mib / _MIB_PER_GIB:.1f} GiB more memory on {node} GPU {gpu} would avoid it"
        yield words, OrderSpare(extra_mib={(node, gpu): missing_mib}), group
    tried: set[tuple[int, str]] = set()
    # a sleeper wakes where it is
    for replica in sorted((item for item in coming if not world.wakes(item)), key=lambda item: (len(item.gpus), item.name)):
        kind = (len(replica.gpus), replica.pool)
        if kind not in tried:
            tried.add(kind)
            yield _gpus_in_words(replica), OrderSpare(moved=frozenset([replica.name])), group


def _gpus_in_words(replica: Replica) -> str:
    """A copy on what is free has been tried before."""
    what = "one more free GPU" if len(replica.gpus) == 1 else f"{len(replica.gpus)} more free GPUs of one node"
    return f"{what} of pool {replica.pool} would avoid it"


def _memory(world: Transition, coming: Sequence[Replica]) -> set[tuple[int, tuple[str, int]]]:
    """MiB that GPUs lack for a coming replica beside all, or all but some, of those that go from there."""
    going = {replica.name for replica in world.going}
    found: set[tuple[int, tuple[str, int]]] = set()
    for replica in coming:
        for seat in seats_of(replica):
            here = [item for item in world.running() if seat in seats_of(item)]
            if not may_be_neighbours([replica.mode, *(item.mode for item in here)]):
                continue
            extra_mib = 0 if world.wakes(replica) else replica.ledger.start_extra_mib
            needs_mib = replica.ledger.total_mib + extra_mib + sum(world.held_mib(item) for item in here if item.name != replica.name)
            leavers = [world.held_mib(item) for item in here if item.name in going][:4]
            for count in range(len(leavers) + 1):
                for gone in combinations(leavers, count):
                    missing_mib = needs_mib - sum(gone) - world.room_mib.get(seat, 0)
                    if missing_mib > 0:
                        found.add((missing_mib, seat))
    return found


def _dip(outage: Outage) -> str:
    lasts_s, lacks = (
        (outage.unavailable_s, "without") if outage.unavailable_s else (outage.short_s, f"with {outage.fewest_replicas} ready replicas of")
    )
    lasts = f"{lasts_s / 60:.0f} min" if lasts_s >= 120 else f"{lasts_s:.0f} s"
    return f"the least harmful dip that was found is taken: {lasts} {lacks} {outage.served_name}"
