"""KV pools grow into memory that nobody in the plan uses: a pure step after the places are known.

The solvers count every engine that starts anew with its floor, the KV cache that the plan needs. Here engines that run keep the pool that
they have wherever it fits, and the others on their GPU share what is free: first what a burst can use, then what all their sequences can.
Room stays for the headroom, for any resident to start again beside its neighbours, and, where there was room at the floors, for the
successor of any resident to start beside it: a pool must not turn a change that nobody notices into an outage. Only time-shared GPUs are
looked at; engines that have a GPU, a block or a MIG slice to themselves have all its memory anyway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.choice.beside import patterns_of
from planner.plan import NodePlan, Replica, State, is_shared
from planner.problem import Pattern, Placed, holdings_now
from planner.sizing.blueprint import Blueprint, start_extra_mib
from planner.sizing.candidates import MIB, Candidate, sized
from planner.sizing.kv_steps import steps_below
from planner.sizing.kv_targets import burst_bytes, sequences_bytes
from planner.sizing.running import with_its_pool
from planner.sizing.together import identity
from planner.spec import Policy
from profiles.memory.kv import has_cache
from profiles.settings import UnsupportedError


@dataclass(frozen=True, slots=True)
class Grown:
    """A blueprint with the engines as they will run, their places in it, and the patterns that these are.

    settled are the same places for the count of what must be loaded: with the shapes of today where an engine stays.
    """

    blueprint: Blueprint
    placed: tuple[Placed, ...]
    settled: tuple[Placed, ...]
    patterns: tuple[Pattern, ...]


def grow(blueprint: Blueprint, placed: Sequence[Placed], nodes: Mapping[str, tuple[NodePlan, ...]], state: State, policy: Policy) -> Grown:
    """What was placed, with KV pools grown by the rules of the policy; nodes are the machines of each declared pool."""
    found = [blueprint.candidates[item.shape] for item in placed]
    settled = list(placed)
    running = _running(state)
    by_gpu: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for index, (item, candidate) in enumerate(zip(blueprint.real(placed), found, strict=True)):
        if is_shared(candidate.mode):
            by_gpu[nodes[candidate.site.pool][item.node].name, item.gpus[0]].append(index)
    sizes = _Sizes(policy.burst_factor)
    for key, indexes in by_gpu.items():
        here = running.get(key, {})
        residents, stays = _grown_on_gpu([found[index] for index in indexes], here, sizes, policy.spared_mib)
        for index, candidate, staying in zip(indexes, residents, stays, strict=True):
            found[index] = candidate
            settled[index] = _today(blueprint, placed[index]) if staying else placed[index]
    return _as_run(blueprint, placed, found, settled)


def _grown_on_gpu(
    residents: Sequence[Candidate], here: Mapping[str, Replica], sizes: _Sizes, spared_mib: int
) -> tuple[list[Candidate], list[bool]]:
    """The residents of a GPU with the pools that they get, and which of them run already; here is what runs, by served name."""
    kept = _kept(residents, here)
    world = [stays or own for own, stays in zip(residents, kept, strict=True)]
    staying = {stays.group.name for stays in kept if stays is not None}
    going_mib = sum(replica.ledger.total_mib for name, replica in here.items() if name not in staying)
    anew = [index for index, stays in enumerate(kept) if stays is None]
    larger = sizes.shared_out([world[index] for index in anew], _free_mib(world, going_mib) - spared_mib)
    for index, candidate in zip(anew, larger, strict=True):
        world[index] = candidate
    return world, [stays is not None for stays in kept]


def _as_run(blueprint: Blueprint, placed: Sequence[Placed], found: Sequence[Candidate], settled: Sequence[Placed]) -> Grown:
    """The blueprint with a shape for every candidate that was found; those that are known keep theirs."""
    candidates, shapes = list(blueprint.candidates), list(blueprint.problem.shapes)
    # the first of those that are alike
    known = {_key(candidates[index], shapes[index].pool): index for index in reversed(range(len(shapes)))}
    grown: list[Placed] = []
    for item, candidate in zip(placed, found, strict=True):
        own = shapes[item.shape]
        index = item.shape if candidate is candidates[item.shape] else known.setdefault(_key(candidate, own.pool), len(shapes))
        if index == len(shapes):
            candidates.append(candidate)
            shapes.append(replace(own, memory_mib=candidate.ledger.total_mib, start_extra_mib=start_extra_mib(candidate)))
        grown.append(replace(item, shape=index))
    problem = replace(blueprint.problem, shapes=tuple(shapes))
    holdings = holdings_now(replace(problem, current=tuple(grown)))
    return Grown(replace(blueprint, problem=problem, candidates=tuple(candidates)), tuple(grown), tuple(settled), patterns_of(holdings))


def _key(candidate: Candidate, pool: int) -> tuple[object, ...]:
    return pool, candidate.limit, identity(candidate)


def _running(state: State) -> dict[tuple[str, int], dict[str, Replica]]:
    """What runs on each GPU that is not cut into slices, by served name; nothing serves one name twice on a GPU."""
    running: defaultdict[tuple[str, int], dict[str, Replica]] = defaultdict(dict)
    for replica in state.replicas:
        for gpu in replica.gpus:
            if replica.mig is None:
                running[replica.node, gpu][replica.served_name] = replica
    return running


def _kept(residents: Sequence[Candidate], here: Mapping[str, Replica]) -> list[Candidate | None]:
    """For each resident the engine that runs already, with its own pool, None where one must start; as many stay as have room."""
    kept: list[Candidate | None] = [None] * len(residents)
    known = [(index, with_its_pool(own, here[own.group.name])) for index, own in enumerate(residents) if own.group.name in here]
    alike = [(index, stays) for index, stays in known if stays is not None]
    world = list(residents)
    for index, stays in sorted(alike, key=lambda pair: pair[1].kv_bytes - residents[pair[0]].kv_bytes):
        tried = [*world[:index], stays, *world[index + 1 :]]
        if _needed_mib(tried) <= stays.site.memory_mib(None):
            world, kept[index] = tried, stays
    return kept


def _today(blueprint: Blueprint, item: Placed) -> Placed:
    """The place of an engine that stays as the Problem knows it."""
    shapes = blueprint.problem.shapes
    own = shapes[item.shape]
    same = (
        now
        for now in blueprint.problem.current
        if (now.node, now.gpus, now.mig_start) == (item.node, item.gpus, item.mig_start)
        and (shapes[now.shape].pool, shapes[now.shape].demand) == (own.pool, own.demand)
    )
    return next(same, item)


def _needed_mib(residents: Sequence[Candidate]) -> int:
    return sum(own.ledger.total_mib for own in residents) + max(_extra_mib(own) for own in residents)


def _extra_mib(candidate: Candidate) -> int:
    return candidate.ledger.start_peak_mib - candidate.ledger.total_mib


def _free_mib(residents: Sequence[Candidate], going_mib: int) -> int:
    """What pools may grow by on a GPU, beside what must stay free for starts, and for what runs there until its successor is ready."""
    left_mib = residents[0].site.memory_mib(None) - sum(own.ledger.total_mib for own in residents)
    extra_mib = max(_extra_mib(own) for own in residents)
    wishes = (extra_mib, going_mib + extra_mib, *(own.ledger.start_peak_mib for own in residents))
    return left_mib - max((wish_mib for wish_mib in wishes if wish_mib <= left_mib), default=left_mib)


class _Sizes:
    """Sizes of candidates; what is asked for again, on alike GPUs, is computed once."""

    def __init__(self, burst_factor: float) -> None:
        self._burst_factor = burst_factor
        self._targets: dict[int, tuple[int, int]] = {}
        self._made: dict[tuple[int, int], Candidate] = {}

    def shared_out(self, residents: Sequence[Candidate], free_mib: int) -> list[Candidate]:
        """The residents with pools that take at most free_mib more, together."""
        targets = [self._target_bytes(own) for own in residents]
        bursts = [burst for burst, _ in targets]
        more = [0] * len(residents)
        for level in (bursts, [most for _, most in targets]):
            wanted = [max(0, to - own.kv_bytes) // MIB - got for to, own, got in zip(level, residents, more, strict=True)]
            given = shares(free_mib - sum(more), wanted, bursts)
            more = [got + add for got, add in zip(more, given, strict=True)]
        return [self._larger(own, mib) for own, mib in zip(residents, more, strict=True)]

    def _target_bytes(self, candidate: Candidate) -> tuple[int, int]:
        if id(candidate) not in self._targets:
            cached = has_cache(candidate.group.model.architecture)
            found = (burst_bytes(candidate, self._burst_factor), sequences_bytes(candidate)) if cached else (0, 0)
            self._targets[id(candidate)] = found
        return self._targets[id(candidate)]

    def _larger(self, candidate: Candidate, more_mib: int) -> Candidate:
        """With the largest pool, in steps, that takes at most so much more; more sequences may take memory too."""
        for kv_bytes in steps_below(candidate.kv_bytes + more_mib * MIB):
            if kv_bytes <= candidate.kv_bytes:
                break
            made = self._sized(candidate, kv_bytes)
            if made is not None and made.ledger.total_mib <= candidate.ledger.total_mib + more_mib:
                return made
        return candidate

    def _sized(self, candidate: Candidate, kv_bytes: int) -> Candidate | None:
        key = (id(candidate), kv_bytes)
        if key not in self._made:
            try:
                self._made[key] = sized(candidate.whole, candidate.limit, kv_bytes, candidate.capacity_rps)
            except UnsupportedError:
                return None
        return self._made[key]


def shares(total: int, wanted: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Parts of a total in proportion to weights, each at most what is wanted; what one leaves the others get, rounded down.

    >>> shares(10, [2, 100], [1, 1]), shares(10, [2, 3], [1, 1]), shares(9, [9, 9], [1, 2])
    ([2, 8], [2, 3], [3, 6])
    """
    given = [0] * len(wanted)
    open_ = {index for index, want in enumerate(wanted) if want > 0 and weights[index] > 0}
    while open_ and total > 0:
        weight = sum(weights[index] for index in open_)
        full = {index for index in open_ if total * weights[index] >= wanted[index] * weight}
        for index in full or open_:
            given[index] = wanted[index] if full else total * weights[index] // weight
        if not full:
            break
        total -= sum(wanted[index] for index in full)
        open_ -= full
    return given
