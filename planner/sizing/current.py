"""What runs and may stay: replicas that satisfy the fleet as they are, as places of the Problem."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.plan import EngineArgs, Replica, State
from planner.problem import Placed
from planner.sizing.candidates import Candidate
from planner.sizing.groups import ServiceGroup
from planner.sizing.host_room import too_much_for_host
from planner.sizing.neighbours import Neighbours
from planner.sizing.parts import Part, node_index
from planner.sizing.running import as_it_runs, as_planned
from planner.sizing.sites import Site
from planner.sizing.together import bear_each_other, identity, together
from planner.sizing.ways_to_run import Sizing


@dataclass(frozen=True, slots=True)
class Grounds:
    """What decides whether an engine that runs still satisfies the fleet."""

    groups: Sequence[ServiceGroup]
    sites: Sequence[Site]
    neighbours: Neighbours
    sizing: Sizing

    def candidates(self, replica: Replica, index: int, part: Part, count: int) -> tuple[Candidate, ...]:
        """What a replica on part `index` may count as, which is one of so many of its model: one candidate per class of neighbours."""
        group = next((group for group in self.groups if group.name == replica.served_name), None)
        if group is None or not group.allows(part.pool.name):
            return ()
        site = replace(self.sites[index], interference_factors=self.neighbours.interference_factors(group, part.pool))
        found = as_it_runs(replica, group, site, self.sizing, count)
        return tuple(item for item in found if too_much_for_host(item, part.pool) is None and item.gpus <= part.gpus_per_node)


def current(found: list[tuple[Candidate, int]], own: Sequence[Part], grounds: Grounds, state: State) -> tuple[Placed, ...]:
    """Running replicas that satisfy the fleet as they are: the physical step keeps them where they are.

    Those that are no candidate of today's sizes are added to what was found. The engines of a GPU count as what they were planned as where
    they still bear each other so: what is reached is left alone.
    """
    if not state.replicas:
        return ()
    shapes = {(_identity(candidate), part): shape for shape, (candidate, part) in reversed(list(enumerate(found)))}
    known: dict[tuple[object, ...], tuple[Candidate, ...]] = {}
    counts = Counter(replica.served_name for replica in state.replicas)
    seats: defaultdict[tuple[int, int, tuple[int, ...], int | None], list[_Seated]] = defaultdict(list)
    for replica in state.replicas:
        seat = _seat(replica, own)
        if seat is None:
            continue
        index, place = seat
        sized_for = (replica.max_residents, replica.active_limit, replica.capacity_rps)
        key = (index, replica.mode, *sized_for, replica.mig and replica.mig.profile, _anywhere(replica))
        if key not in known:
            known[key] = grounds.candidates(replica, index, own[index], counts[replica.served_name])
        # of classes those that replicas have that are planned anew: what runs is then found among them
        alike = tuple(candidate for candidate in known[key] if (_identity(candidate), index) in shapes) or known[key]
        if alike:
            planned = next((candidate for candidate in known[key] if as_planned(candidate, replica)), None)
            seats[index, place.node, place.gpus, place.mig_start].append(_Seated(place, planned, alike))
    placed: list[Placed] = []
    for (index, *_), here in seats.items():
        for seated, candidate in zip(here, _chosen(here), strict=True):
            shape = shapes.setdefault((_identity(candidate), index), len(found))
            if shape == len(found):
                found.append((candidate, index))
            placed.append(replace(seated.place, shape=shape))
    return tuple(sorted(placed, key=lambda item: (item.shape, item.node, item.gpus, item.mig_start or 0)))


@dataclass(frozen=True, slots=True)
class _Seated:
    """The place of an engine, what it was planned as if it still may be that, and what else it may count as, best first."""

    place: Placed
    planned: Candidate | None
    options: tuple[Candidate, ...]


def _chosen(here: Sequence[_Seated]) -> list[Candidate]:
    """One candidate for each engine of a GPU: as planned, else of one class that all bear, else each as it would be first.

    Classes in which every engine carries as much as in its first one come before looser ones in which some carry less.
    """
    planned = [seated.planned for seated in here if seated.planned is not None]
    if len(planned) == len(here) and bear_each_other(planned):
        return planned
    options = [seated.options for seated in here]
    as_much = [[item for item in own if item.capacity_rps >= own[0].capacity_rps] for own in options]
    return together(as_much) or together(options) or [own[0] for own in options]


def _seat(replica: Replica, own: Sequence[Part]) -> tuple[int, Placed] | None:
    """The part of a pool that a replica lies in, and where in it (of shape 0); None when it lies in none."""
    start = replica.mig.start if replica.mig else None
    for index, part in enumerate(own):
        node = node_index(replica.node, part.pool) if part.pool.name == replica.pool else None
        place = None if node is None else part.inside(0, node, replica.gpus, start)
        if place is not None:
            return index, place
    return None


def _identity(candidate: Candidate) -> tuple[object, ...]:
    """What tells candidates of one part of a pool apart."""
    return (candidate.limit, identity(candidate))


def _anywhere(replica: Replica) -> EngineArgs:
    """The arguments of a replica, wherever it listens."""
    return replica.args.model_copy(update={"host": "", "port": 1024})
