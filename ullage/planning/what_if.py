"""What only solving again tells about a plan: who keeps whom out, what one more GPU would buy, the cost with other step times.

Each question is one run of the exact engine within its usual limits. Their number is bounded: nothing is asked when all demand is served,
unless explanations are wanted; a time limit holds for all of it together.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.assembly.assemble import Resolved
from planner.explain import conflicts, full_pools, one_more
from planner.plan import CostBand, OneMore, State
from planner.problem import MICRO, Resolve, Solution
from planner.sizing.blueprint import Blueprint, build
from planner.spec import Fleet
from ullage.planning.ask import SolveLimits, answer_exactly, left

# Pools that one more GPU is tried of: fleets rarely have more that are full.
MOST_POOLS = 8
# Models whose conflict is looked for when explanations are wanted, and questions for each.
MOST_MODELS, MOST_SOLVES = 3, 40


def resolve(fleet: Fleet, blueprint: Blueprint, best: Solution, limits: SolveLimits, started_s: float, *, explain: bool) -> Resolved:
    """Answers to the questions that apply: of unserved demand what one more GPU would buy; with explain everything."""
    unserved = any(best.unserved_microrps)
    if limits.stopped or not (unserved or explain):
        return Resolved()
    pools = _pools(blueprint, best)

    def answer_of(questions: int) -> Resolve:
        return lambda problem: answer_exactly(problem, left(limits, started_s, questions))

    bought = one_more(blueprint, best, pools, answer_of(len(pools)))
    if not explain:
        return Resolved(one_more=_worth(best, bought))
    return Resolved(
        conflicts=conflicts(blueprint, best, answer_of(MOST_SOLVES), MOST_MODELS, MOST_SOLVES) if unserved else (),
        one_more=_worth(best, bought),
        cost_band=_cost_band(fleet, answer_of(2)),
    )


def _pools(blueprint: Blueprint, best: Solution) -> tuple[int, ...]:
    """Full pools that some model may use: those first that unserved models may."""
    shapes = blueprint.problem.shapes
    wanted = {shape.pool for shape in shapes if best.unserved_microrps[shape.demand]}
    usable = {shape.pool for shape in shapes}
    full = [pool for pool in full_pools(blueprint.problem, best) if pool in usable]
    return tuple(sorted(full, key=lambda pool: (pool not in wanted, pool))[:MOST_POOLS])


def _worth(best: Solution, bought: Sequence[OneMore]) -> tuple[OneMore, ...]:
    """All of them where demand is unserved, the useless ones too: that is an answer; otherwise those that save money."""
    if any(best.unserved_microrps):
        return tuple(bought)
    return tuple(item for item in bought if item.cost_usd_per_h * MICRO < best.cost_microusd_per_h - 0.5)


def _cost_band(fleet: Fleet, answer: Resolve) -> CostBand:
    """Cost of the fleet with step times at both ends of the band of what is known of them."""
    low, high = (answer(build(fleet, State(), quantile).problem) for quantile in (0.1, 0.9))
    return CostBand(
        p10_usd_per_h=low.cost_microusd_per_h / MICRO,
        p90_usd_per_h=high.cost_microusd_per_h / MICRO,
        p10_unserved_rps=sum(low.unserved_microrps) / MICRO,
        p90_unserved_rps=sum(high.unserved_microrps) / MICRO,
    )
