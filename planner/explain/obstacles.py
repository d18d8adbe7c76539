"""What keeps one more replica of a model off each GPU that it may use: memory, active residents, share, host, rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from planner.problem import Pattern, Pool, Problem, Shape, Solution, fits_layout
from planner.sizing.blueprint import Blueprint
from planner.sizing.candidates import Candidate
from planner.sizing.ways_to_run import TRICKLE_RPS

MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One constraint that is used up on some GPUs, in words, and what to change; no lever where only more GPUs help."""

    text: str
    lever: str = ""


@dataclass(frozen=True, slots=True)
class _Try:
    """One more replica of a shape (index `new`) beside the residents of a GPU."""

    blueprint: Blueprint
    pattern: Pattern
    new: int
    quantile: float

    @property
    def problem(self) -> Problem:
        return self.blueprint.problem

    @property
    def shape(self) -> Shape:
        return self.problem.shapes[self.new]

    @property
    def pool(self) -> Pool:
        return self.problem.pools[self.pattern.pool]

    @property
    def residents(self) -> list[Shape]:
        return [self.problem.shapes[index] for index in self.pattern.residents]

    @property
    def all(self) -> list[int]:
        return [*self.pattern.residents, self.new]

    def candidate(self, index: int) -> Candidate:
        return self.blueprint.candidates[index]

    @property
    def names(self) -> str:
        return ", ".join(sorted(self.candidate(index).group.name for index in self.pattern.residents))

    @property
    def free_gib(self) -> str:
        used_mib = sum(shape.memory_mib for shape in self.residents)
        return f"{max(0, self.pool.memory_mib - used_mib) / MIB_PER_GIB:.1f} GiB free"


def obstacles(blueprint: Blueprint, solution: Solution, index: int, quantile: float) -> Iterator[tuple[Obstacle, int]]:
    """Constraints that keep one more replica of the group with this index off GPUs that others use, each with their number.

    Of all its shapes the one that the fewest constraints keep out is judged on each GPU. GPUs that hold a replica of its own are left
    out: what that carries is its capacity.
    """
    group = blueprint.groups[index]
    for number, pool in enumerate(blueprint.pools):
        if not group.allows(pool.name):
            continue
        own = [i for i, shape in enumerate(blueprint.problem.shapes) if shape.demand == index and shape.pool == number]
        patterns = [pattern for pattern in solution.patterns if pattern.pool == number]
        for pattern in patterns:
            residents = [blueprint.problem.shapes[item] for item in pattern.residents]
            if own and all(shape.demand != index or shape.mode == "mig" for shape in residents):
                alike = [item for item in own if blueprint.problem.shapes[item].mode == residents[0].mode != "exclusive"]
                tries = [list(_kept_out(_Try(blueprint, pattern, item, quantile))) for item in alike or own]
                for obstacle in min(tries, key=len):
                    yield obstacle, residents[0].gpus * pattern.count
        used = sum(blueprint.problem.shapes[pattern.residents[0]].gpus * pattern.count for pattern in patterns)
        free = blueprint.problem.pools[number].gpus - used
        if free > 0:
            yield _unused(blueprint, own, solution), free


def _unused(blueprint: Blueprint, own: Sequence[int], solution: Solution) -> Obstacle:
    if not own:
        return Obstacle("no replica of it is possible (ullage explain tells why)")
    smallest = min(blueprint.problem.shapes[item].gpus for item in own)
    if smallest > 1:
        return Obstacle(
            f"nothing runs, but a replica takes an aligned block of {smallest} GPUs of one node", "allow a smaller tensor_parallel"
        )
    if solution.status != "optimal":
        return Obstacle("nothing runs: the search ended before it found a use for them", "plan with a longer --time-limit")
    return Obstacle("nothing runs, and one more replica would not lessen what is unserved")


def _kept_out(tried: _Try) -> Iterator[Obstacle]:
    """Every constraint that this shape beside these residents would break."""
    yield from _rules(tried)
    yield from _host(tried)
    modes = {tried.residents[0].mode, tried.shape.mode}
    if modes == {"mig"}:
        profiles = [shape.mig_profile or "" for shape in (*tried.residents, tried.shape)]
        if not fits_layout(tried.pool.mig_layouts, profiles):
            yield Obstacle(f"no MIG layout has a free {tried.shape.mig_profile} slice beside those of {tried.names}")
    elif modes == {"time_shared"}:
        yield from _memory(tried)
        yield from _active(tried)
    else:
        yield from _alone(tried)


def _rules(tried: _Try) -> Iterator[Obstacle]:
    apart = sorted(
        tried.candidate(index).group.name
        for index in tried.pattern.residents
        if tried.problem.shapes[index].demand in tried.problem.demands[tried.shape.demand].not_with
    )
    if apart:
        yield Obstacle(f"it may not sit with {', '.join(apart)} (not_with)", "drop not_with")
    if {shape.colocation_class for shape in tried.residents} != {tried.shape.colocation_class}:
        yield Obstacle(f"{tried.names} belong to another team (policy.isolate_teams)", "lift policy.isolate_teams")


def _host(tried: _Try) -> Iterator[Obstacle]:
    blocks = max(shape.gpus for shape in (*tried.residents, tried.shape))
    cores = sum(shape.host_cores for shape in tried.residents)
    has = tried.pool.host_cores_per_gpu * blocks
    if cores + tried.shape.host_cores > has:
        yield Obstacle(
            f"host cores are the limit: a replica takes {tried.shape.host_cores}, {has - cores} of {has} are left ({tried.free_gib})",
            "raise host_cores",
        )
    memory_mib = sum(shape.host_memory_mib for shape in tried.residents)
    has_mib = tried.pool.host_memory_mib_per_gpu * blocks
    if memory_mib + tried.shape.host_memory_mib > has_mib:
        yield Obstacle(
            f"host memory is the limit: a replica takes {tried.shape.host_memory_mib} MiB, "
            f"{has_mib - memory_mib} of {has_mib} MiB are left",
            "raise host_memory",
        )


def _alone(tried: _Try) -> Iterator[Obstacle]:
    """One of the two has the GPU alone: because no sharing is allowed, one cannot share, or what both could share does not hold them."""
    shared = _shared_shapes(tried, tried.shape.demand)
    others = _shared_shapes(tried, tried.residents[0].demand)
    if tried.pool.max_active_residents == 1 and "time_shared" in tried.blueprint.pools[tried.pattern.pool].sharing:
        yield Obstacle(f"{tried.names} runs alone, as policy.max_active_residents is 1", "raise policy.max_active_residents")
    elif not shared:
        yield _cannot_share(tried, tried.new, f"it cannot sit beside {tried.names}")
    elif tried.residents[0].mode == "exclusive" and not others:
        yield _cannot_share(tried, tried.pattern.residents[0], f"{tried.names} runs alone")
    elif tried.residents[0].mode == "exclusive":
        pairs = [
            _Try(tried.blueprint, replace(tried.pattern, residents=(other,)), new, tried.quantile) for other in others for new in shared
        ]
        fewest = min((list(_kept_out(pair)) for pair in pairs), key=len)
        yield from fewest or [_too_small_a_share(tried, others)]


def _shared_shapes(tried: _Try, demand: int) -> list[int]:
    """Shapes of a demand that share GPUs of the pool."""
    shapes = enumerate(tried.problem.shapes)
    return [i for i, shape in shapes if (shape.demand, shape.pool, shape.mode) == (demand, tried.pattern.pool, "time_shared")]


def _cannot_share(tried: _Try, index: int, text: str) -> Obstacle:
    """One of them has no way of sharing a GPU of the pool."""
    candidate = tried.candidate(index)
    if candidate.gpus > 1:
        return Obstacle(f"{text}: a block of {candidate.gpus} GPUs is not shared")
    refusals = tried.blueprint.refusals.get(candidate.group.name, ())
    reason = next((item.reason for item in refusals if (item.mode, item.pool) == ("time_shared", candidate.site.pool)), "")
    if not reason:
        return Obstacle(f"{text}: the pool does not share GPUs", "allow time_shared in sharing of the pool")
    lever = f"relax slo of {candidate.group.name}" if "the goal is" in reason else ""
    return Obstacle(f"{text}: beside neighbours it {reason if reason.startswith('needs') else f'would be too slow: {reason}'}", lever)


def _too_small_a_share(tried: _Try, others: Sequence[int]) -> Obstacle:
    owner = tried.candidate(tried.pattern.residents[0])
    best = max((tried.candidate(other) for other in others), key=lambda candidate: candidate.capacity_rps)
    return Obstacle(
        f"{owner.group.name} runs alone, as its guaranteed share is the limit: at 1/{best.max_active} of a GPU it carries at most "
        f"{best.capacity_rps:.3g} requests/s, alone {owner.capacity_rps:.3g}",
        f"relax slo of {owner.group.name}",
    )


def _memory(tried: _Try) -> Iterator[Obstacle]:
    shapes = [*tried.residents, tried.shape]
    start_mib = max(shape.start_extra_mib for shape in shapes)
    need_mib = sum(shape.memory_mib for shape in shapes) + start_mib
    if need_mib > tried.pool.memory_mib:
        own_mib = need_mib - sum(shape.memory_mib for shape in tried.residents)
        yield Obstacle(
            f"memory is the limit: a replica takes {own_mib / MIB_PER_GIB:.1f} GiB, {tried.free_gib} beside {tried.names}",
            "lower max_model_len, quantise",
        )


def _active(tried: _Try) -> Iterator[Obstacle]:
    """Residents that may be active together, and their shares of compute."""
    shapes = [*tried.residents, tried.shape]
    allowed = min(tried.pool.max_active_residents, *(shape.max_active for shape in shapes))
    active = sum(shape.active_permille for shape in shapes) / 1000
    if active > allowed:
        yield _too_many(tried, allowed, active)
        return
    taken_permille = sum(shape.compute_permille for shape in tried.residents) + tried.pool.resident_cost_permille * len(tried.residents)
    if taken_permille + tried.shape.compute_permille > tried.pool.compute_limit_permille:
        yield Obstacle(
            f"compute is the limit: {tried.names} take {taken_permille / 10:.0f} % of the GPU's time, a replica "
            f"{tried.shape.compute_permille / 10:.0f} % ({tried.free_gib})"
        )


def _too_many(tried: _Try, allowed: int, active: float) -> Obstacle:
    each = tried.shape.active_permille / 1000
    taken = f"{active - each:.3g} of {allowed} active residents are there, a replica counts for {each:.3g} ({tried.free_gib})"
    tight = _tight(tried, allowed + 1)
    if tight:
        return Obstacle(
            f"the guaranteed share is the limit: {taken}, and at 1/{allowed + 1} of the GPU the SLO of {tight} would be missed",
            f"relax slo of {tight}",
        )
    if allowed < tried.pool.max_active_residents:
        return Obstacle(f"the guaranteed share is the limit: {taken}, each sized for 1/{allowed} of the GPU")
    return Obstacle(f"active residents are the limit: {taken}", "raise policy.max_active_residents")


def _tight(tried: _Try, level: int) -> str:
    """Who misses the SLO with that many active residents: those there at their rate, the newcomer even with a trickle of requests."""
    rates = {index: tried.candidate(index).capacity_rps for index in tried.pattern.residents}
    rates[tried.new] = TRICKLE_RPS
    return ", ".join(
        sorted({tried.candidate(index).group.name for index, rate_rps in rates.items() if not _meets(tried, index, rate_rps, level)})
    )


def _meets(tried: _Try, index: int, rate_rps: float, level: int) -> bool:
    candidate = replace(tried.candidate(index), max_active=level)
    load, slo = candidate.forecast(rate_rps, tried.quantile), candidate.group.slo
    return load is not None and load.ttft_s <= slo.ttft_s and load.tpot_s <= slo.tpot_s
