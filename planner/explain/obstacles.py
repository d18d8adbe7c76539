"""What keeps one more replica of a model off each GPU that it may use: memory, active residents, share, host, rules."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from planner.explain.machine_limit import full_pools_apart
from planner.explain.obstacle import Obstacle, left_unused
from planner.plan import is_shared
from planner.problem import Pattern, Pool, Problem, Shape, Solution, active_by_window, fits_layout
from planner.sizing.activity import ANY
from planner.sizing.blueprint import Blueprint
from planner.sizing.candidates import Candidate

MIB_PER_GIB = 1024
_WHOLE_PERMILLE = 1000

# Kinds of GPUs that are looked at, the most frequent first: a reason names three constraints at most.
MOST_PATTERNS = 24


@dataclass(frozen=True, slots=True)
class _Try:
    """One more replica of a shape (index `new`) beside the residents of a GPU."""

    blueprint: Blueprint
    pattern: Pattern
    new: int

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


def obstacles(blueprint: Blueprint, solution: Solution, index: int) -> Iterator[tuple[Obstacle, int]]:
    """Constraints that keep one more replica of the group with this index off GPUs that others use, each with their number.

    Of all its shapes the one that the fewest constraints keep out is judged on each GPU. GPUs that hold a replica of its own are left
    out: what that carries is its capacity.
    """
    group, problem = blueprint.groups[index], blueprint.problem
    own: defaultdict[int, list[int]] = defaultdict(list)
    for item, shape in enumerate(problem.shapes):
        if shape.demand == index:
            own[shape.pool].append(item)
    for items in own.values():
        # of equally many constraints those of the shape for the most neighbours are told
        items.sort(key=lambda item: (-problem.shapes[item].active_limit_permille, -problem.shapes[item].max_residents))
    used: Counter[int] = Counter()
    for pattern in solution.patterns:
        used[pattern.pool] += problem.shapes[pattern.residents[0]].gpus * pattern.count
    common = sorted(solution.patterns, key=lambda pattern: (-pattern.count, pattern.pool, pattern.residents))
    held = [pattern for pattern in common if own[pattern.pool] and not _holds(problem, pattern, index)]
    full = full_pools_apart(problem, solution, index)
    for pattern in held[:MOST_PATTERNS]:
        residents = [problem.shapes[item] for item in pattern.residents]
        alike = [item for item in own[pattern.pool] if problem.shapes[item].mode == residents[0].mode != "exclusive"]
        tries = [list(_kept_out(_Try(blueprint, pattern, item))) for item in alike or own[pattern.pool]]
        for obstacle in [full[pattern.pool]] if pattern.pool in full else min(tries, key=len):
            yield obstacle, residents[0].gpus * pattern.count
    for number, pool in enumerate(blueprint.pools):
        free = problem.pools[number].gpus - used[number]
        if free > 0 and group.allows(pool.name):
            yield full.get(number) or left_unused(blueprint, own[number], solution), free


def _holds(problem: Problem, pattern: Pattern, demand: int) -> bool:
    """Whether a GPU holds a replica of a demand, so that no second one may sit there; MIG instances may."""
    return any(problem.shapes[item].demand == demand and problem.shapes[item].mode != "mig" for item in pattern.residents)


def _kept_out(tried: _Try) -> Iterator[Obstacle]:
    """Every constraint that this shape beside these residents would break."""
    yield from _rules(tried)
    yield from _host(tried)
    modes = {tried.residents[0].mode, tried.shape.mode}
    if modes == {"mig"}:
        profiles = [shape.mig_profile or "" for shape in (*tried.residents, tried.shape)]
        if not fits_layout(tried.pool.mig_layouts, profiles):
            yield Obstacle("mig", f"no MIG layout has a free {tried.shape.mig_profile} slice beside those of {tried.names}")
    elif modes == {"time_shared"}:
        yield from _memory(tried)
        yield from _active(tried)
    elif modes == {"mps"}:
        yield from _memory(tried)
        yield from _threads(tried)
    else:
        yield from _alone(tried)


def _rules(tried: _Try) -> Iterator[Obstacle]:
    apart = sorted(
        tried.candidate(index).group.name
        for index in tried.pattern.residents
        if tried.problem.shapes[index].demand in tried.problem.demands[tried.shape.demand].not_with
    )
    if apart:
        yield Obstacle("rules", f"it may not share a GPU with {', '.join(apart)} (not_with)", "drop not_with")
    if {shape.colocation_class for shape in tried.residents} != {tried.shape.colocation_class}:
        if tried.shape.mode == "mps":
            yield Obstacle("rules", f"{tried.names} belong to another team, and a fault of one ends all that share a GPU by MPS")
        else:
            yield Obstacle("rules", f"{tried.names} belong to another team (policy.isolate_teams)", "lift policy.isolate_teams")


def _host(tried: _Try) -> Iterator[Obstacle]:
    blocks = max(shape.gpus for shape in (*tried.residents, tried.shape))
    cores = sum(shape.host_cores for shape in tried.residents)
    has = tried.pool.host_cores_per_gpu * blocks
    if cores + tried.shape.host_cores > has:
        yield Obstacle(
            "host",
            f"host cores are the limit: a replica takes {tried.shape.host_cores}, {has - cores} of {has} are left ({tried.free_gib})",
            "raise host_cores",
        )
    memory_mib = sum(shape.host_memory_mib for shape in tried.residents)
    has_mib = tried.pool.host_memory_mib_per_gpu * blocks
    if memory_mib + tried.shape.host_memory_mib > has_mib:
        yield Obstacle(
            "host",
            f"host memory is the limit: a replica takes {tried.shape.host_memory_mib} MiB, "
            f"{has_mib - memory_mib} of {has_mib} MiB are left",
            "raise host_memory",
        )


def _alone(tried: _Try) -> Iterator[Obstacle]:
    """One of the two has the GPU alone: because no sharing is allowed, one cannot share, or what both could share does not hold them."""
    shared = _shared_shapes(tried, tried.shape.demand)
    others = _shared_shapes(tried, tried.residents[0].demand)
    if tried.pool.max_active_residents == 1 and any(map(is_shared, tried.blueprint.pools[tried.pattern.pool].sharing)):
        yield Obstacle("policy", f"{tried.names} runs alone, because policy.max_active_residents is 1", "raise policy.max_active_residents")
    elif not shared:
        yield _cannot_share(tried, tried.new, f"it cannot share a GPU with {tried.names}")
    elif tried.residents[0].mode == "exclusive" and not others:
        yield _cannot_share(tried, tried.pattern.residents[0], f"{tried.names} runs alone")
    elif tried.residents[0].mode == "exclusive":
        pairs = [
            _Try(
                tried.blueprint,
                replace(tried.pattern, residents=(other,)),
                new,
            )
            for other in others
            for new in shared
            if tried.problem.shapes[other].mode == tried.problem.shapes[new].mode
        ]
        fewest = min((list(_kept_out(pair)) for pair in pairs), key=len, default=[])
        yield from fewest or [_too_small_a_share(tried, others)]


def _shared_shapes(tried: _Try, demand: int) -> list[int]:
    """Shapes of a demand that share GPUs of the pool."""
    shapes = enumerate(tried.problem.shapes)
    return [i for i, shape in shapes if (shape.demand, shape.pool) == (demand, tried.pattern.pool) and is_shared(shape.mode)]


def _cannot_share(tried: _Try, index: int, text: str) -> Obstacle:
    """One of them has no way of sharing a GPU of the pool."""
    candidate = tried.candidate(index)
    if candidate.gpus > 1:
        return Obstacle("alone", f"{text}: a block of {candidate.gpus} GPUs is not shared")
    refusals = tried.blueprint.refusals.get(candidate.group.name, ())
    reason = next((item.reason for item in refusals if is_shared(item.mode) and item.pool == candidate.site.pool), "")
    if not reason:
        return Obstacle("alone", f"{text}: the pool does not share GPUs", "allow time_shared in sharing of the pool")
    lever = f"relax slo of {candidate.group.name}" if "the goal is" in reason else ""
    return Obstacle(
        "alone", f"{text}: beside neighbours it {reason if reason.startswith('needs') else f'would be too slow: {reason}'}", lever
    )


def _too_small_a_share(tried: _Try, others: Sequence[int]) -> Obstacle:
    """Both could share the GPU, so its owner has it alone for the rate: or nobody looked."""
    owner = tried.candidate(tried.pattern.residents[0])
    best = max((tried.candidate(other) for other in others), key=lambda candidate: candidate.capacity_rps)
    needed, alone = (math.ceil(owner.group.peak_rps / candidate.capacity_rps - 1e-9) for candidate in (best, owner))
    name = owner.group.name
    if needed <= alone:
        return Obstacle(
            "search", f"{name} runs alone: the search ended before it found out whether {name} can share", "plan with a longer --time-limit"
        )
    return Obstacle(
        "share",
        f"{name} runs alone, because neighbours' activity is the limit: beside some that are active "
        f"{best.limit.active_limit - max(best.active_permille) / 1000:.1f} at a time, {needed} replicas would be needed "
        f"for its {owner.group.peak_rps:.3g} requests/s, alone {alone}",
        f"relax slo of {name}",
    )


def _memory(tried: _Try) -> Iterator[Obstacle]:
    shapes = [*tried.residents, tried.shape]
    start_mib = max(shape.start_extra_mib for shape in shapes)
    need_mib = sum(shape.memory_mib for shape in shapes) + start_mib
    if need_mib > tried.pool.memory_mib:
        own_mib = need_mib - sum(shape.memory_mib for shape in tried.residents)
        yield Obstacle(
            "memory",
            f"memory is the limit: a replica takes {own_mib / MIB_PER_GIB:.1f} GiB, {tried.free_gib} beside {tried.names}",
            "lower max_model_len, quantise",
        )


def _threads(tried: _Try) -> Iterator[Obstacle]:
    """Under MPS all residents have threads of their own, and draw memory bandwidth while they work."""
    shapes = [*tried.residents, tried.shape]
    most = min(tried.pool.max_active_residents, *(shape.max_residents for shape in shapes))
    if len(shapes) > most:
        yield Obstacle("policy", f"at most {most} replicas share a GPU by MPS, as {tried.names} do", "raise policy.max_active_residents")
    for what, taken_permille, own_permille in (
        ("threads under MPS are", sum(shape.compute_permille for shape in tried.residents), tried.shape.compute_permille),
        ("memory bandwidth under MPS is", sum(shape.bandwidth_permille for shape in tried.residents), tried.shape.bandwidth_permille),
    ):
        if taken_permille + own_permille > _WHOLE_PERMILLE:
            yield Obstacle(
                "share",
                f"{what} the limit: a replica takes {own_permille / 10:g} %, {tried.names} {taken_permille / 10:g} %",
                f"relax slo of {tried.candidate(tried.new).group.name}",
            )


def _active(tried: _Try) -> Iterator[Obstacle]:
    """Residents and the parts of time in which they have work, and their shares of compute."""
    shapes = [*tried.residents, tried.shape]
    most = min(shape.max_residents for shape in shapes)
    limit_permille = min(1000 * tried.pool.max_active_residents, *(shape.active_limit_permille for shape in shapes))
    active_permille = max(active_by_window(shapes))
    if len(shapes) > most or active_permille > limit_permille:
        yield _too_active(tried, most, limit_permille)
        return
    taken_permille = sum(shape.compute_permille for shape in tried.residents) + tried.pool.resident_cost_permille * len(tried.residents)
    if taken_permille + tried.shape.compute_permille > tried.pool.compute_limit_permille:
        yield Obstacle(
            "compute",
            f"compute is the limit: {tried.names} take {taken_permille / 10:.0f} % of the GPU's time, a replica "
            f"{tried.shape.compute_permille / 10:.0f} % ({tried.free_gib})",
        )


def _too_active(tried: _Try, most: int, limit_permille: int) -> Obstacle:
    there_permille = max(active_by_window(tried.residents))
    if limit_permille == 1000 * tried.pool.max_active_residents:
        return Obstacle(
            "active",
            f"activity is the limit: residents active {there_permille / 10:.0f} % of the time together are there, a replica is "
            f"{max(tried.shape.active_permille) / 10:.0f} %, policy.max_active_residents allows {limit_permille / 10:.0f} % "
            f"({tried.free_gib})",
            "raise policy.max_active_residents",
        )
    tight = sorted(
        {
            tried.candidate(index).group.name
            for index in tried.all
            if tried.problem.shapes[index].active_limit_permille <= limit_permille or tried.problem.shapes[index].max_residents <= most
        }
    )
    among = f" of at most {most} residents" if most < ANY else ""
    return Obstacle(
        "active",
        f"the neighbours' activity is the limit: residents active {there_permille / 10:.0f} % of the time together are there, a replica is "
        f"{max(tried.shape.active_permille) / 10:.0f} %, and {', '.join(tight)} would miss the SLO beyond "
        f"{limit_permille / 10:.0f} %{among} ({tried.free_gib})",
        f"relax slo of {', '.join(tight)}",
    )
