"""Why demand stays unserved: what binds on the GPUs that it may use, with numbers, and the lever that moves it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from planner.explain.machine_limit import why_no_more_machines
from planner.explain.obstacle import Obstacle
from planner.explain.obstacles import obstacles
from planner.plan import Refusal
from planner.problem import MICRO, Demand, Solution, shortfall
from planner.sizing.blueprint import Blueprint
from planner.sizing.groups import ServiceGroup

# Names in a sentence before the rest is only counted.
MOST_NAMES = 4

# Constraints in a sentence, those of most GPUs first.
MOST_OBSTACLES = 3


def why_unserved(blueprint: Blueprint, solution: Solution, index: int) -> str:
    """The binding constraint of the group with this index, which is not fully served."""
    group, problem = blueprint.groups[index], blueprint.problem
    shapes = [candidate for candidate in blueprint.candidates if candidate.group.name == group.name]
    if not shapes:
        return _impossible(blueprint.refusals.get(group.name, ()), group)
    own = [problem.shapes[item] for pattern in solution.patterns for item in pattern.residents * pattern.count]
    own = [shape for shape in own if shape.demand == index]
    capacity_microrps = sum(shape.capacity_microrps for shape in own)
    if group.max_replicas is not None and len(own) >= group.max_replicas:
        return f"max_replicas allows {len(own)}, which carry {capacity_microrps / MICRO:.3g} of {group.peak_rps:.3g} requests/s; raise it"
    apart = why_no_more_machines(problem, group, index, len(own), capacity_microrps)
    if apart is not None:
        return apart
    most = max(shapes, key=lambda candidate: candidate.capacity_rps / candidate.gpus)
    around = f"it may use {_where(blueprint, index)}{_also_served(blueprint, solution, index)}"
    limits, levers = _limits(blueprint, solution, index)
    if _by_count(problem.demands[index], len(own), capacity_microrps):
        return (
            f"min_replicas asks for {group.min_replicas} replicas and there is room for {len(own)}, each on its own GPUs or MIG slice: "
            f"{around}{limits}; the part of a missing replica counts as unserved; {_or([*levers, 'add nodes', 'lower min_replicas'])}"
        )
    more = ["add nodes"] if levers else ["add nodes", "relax slo", "lower the demand"]
    head = "" if limits else "the GPUs are used up: "
    return (
        f"{head}one replica on {_gpus(most.gpus)} of pool {most.site.pool} carries at most {most.capacity_rps:.3g} requests/s "
        f"within the SLO; the demand is {group.peak_rps:.3g} requests/s, and {around}{limits}; {_or(levers + more)}"
    )


def _by_count(demand: Demand, replicas: int, capacity_microrps: int) -> bool:
    """Whether missing replicas, not missing capacity, make the demand count as unserved."""
    return shortfall(demand, demand.peak_microrps, replicas, 0) > demand.peak_microrps - capacity_microrps


def _limits(blueprint: Blueprint, solution: Solution, index: int) -> tuple[str, list[str]]:
    """What keeps one more replica off each GPU, as the end of a sentence, and what to change, the most useful first."""
    found: defaultdict[str, Counter[Obstacle]] = defaultdict(Counter)
    for obstacle, gpus in obstacles(blueprint, solution, index):
        found[obstacle.kind][obstacle] += gpus
    kinds = sorted(found.values(), key=lambda kind: -kind.total())[:MOST_OBSTACLES]
    ordered = [(kind.most_common(1)[0][0], kind.total(), len(kind) > 1) for kind in kinds]
    text = "".join(f"; on {_gpus(gpus)} {'(for one) ' if several else ''}{obstacle.text}" for obstacle, gpus, several in ordered)
    elsewhere, pin = _pinned_away(blueprint, solution, index)
    levers = [obstacle.lever for obstacle, _, _ in ordered if obstacle.lever]
    return text + elsewhere, list(dict.fromkeys([*pin, *levers]))


def _pinned_away(blueprint: Blueprint, solution: Solution, index: int) -> tuple[str, list[str]]:
    """Free GPUs in pools that pin leaves out."""
    group, problem = blueprint.groups[index], blueprint.problem
    free: defaultdict[str, int] = defaultdict(int)
    for number, pool in enumerate(blueprint.pools):
        if not group.allows(pool.name):
            used = sum(problem.shapes[pattern.residents[0]].gpus * pattern.count for pattern in solution.patterns if pattern.pool == number)
            free[pool.name] += problem.pools[number].gpus - used
    open_pools = {name: count for name, count in free.items() if count > 0}
    if not open_pools:
        return "", []
    listed = ", ".join(f"{_gpus(count)} of pool {name}" for name, count in sorted(open_pools.items()))
    return f"; pin excludes {listed}, which {'is' if sum(open_pools.values()) == 1 else 'are'} free", ["widen pin"]


def _where(blueprint: Blueprint, index: int) -> str:
    group = blueprint.groups[index]
    allowed = [number for number, pool in enumerate(blueprint.pools) if group.allows(pool.name)]
    return _gpus(sum(blueprint.pools[number].max_nodes * blueprint.pools[number].gpus_per_node for number in allowed))


def _also_served(blueprint: Blueprint, solution: Solution, index: int) -> str:
    """Who else runs in the pools of a group."""
    allowed = {i for i, pool in enumerate(blueprint.pools) if blueprint.groups[index].allows(pool.name)}
    residents = [item for pattern in solution.patterns if pattern.pool in allowed for item in pattern.residents]
    others = sorted({blueprint.candidates[item].group.name for item in residents} - {blueprint.groups[index].name})
    return f", where {_few(others)} also {'runs' if len(others) == 1 else 'run'}" if others else ""


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _impossible(refusals: Sequence[Refusal], group: ServiceGroup) -> str:
    if not refusals:
        return (
            f"no pool that {group.name} may use allows a sharing mode and block size for it; change pin, sharing, tensor_parallel, or "
            "policy.max_active_residents (for pools that only share)"
        )
    ways: defaultdict[str, set[str]] = defaultdict(set)
    for item in refusals:
        ways[item.reason].add(f"{item.pool}, {item.mode.replace('_', '-')} on {_gpus(item.gpus)}")
    listed = sorted(f"{'; '.join(sorted(places))}: {reason}" for reason, places in ways.items())
    return f"no replica of it is possible: {'; '.join([*listed, *_possible_with(tuple(ways))])}"


def _possible_with(reasons: Sequence[str]) -> list[str]:
    """What would make a replica possible where the reasons do not say so themselves."""
    levers = []
    if any("the goal is" in reason for reason in reasons):
        levers.append("relax slo")
    if any(reason.startswith("needs ") for reason in reasons):
        levers += [
            "quantise it",
            "lower max_model_len",
            "allow a larger tensor_parallel",
            "use larger GPUs (`ullage fit` shows what would fit)",
        ]
    return [_or(levers)] if levers else []
