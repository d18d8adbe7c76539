"""Plans that survive the loss of a node: solve, name places, look at every node's loss, and ask for more where one hurts.

A Solution counts on all replicas but the largest; which of them share a node is known only when places are named. Where the
places cannot be spread well enough, the problem is answered again with more reserve, a few times; what is still missing then
is reported with the plan. A demand that cannot tolerate a loss at all is served as if it did not ask for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from planner.assembly.certificate import Outcome
from planner.problem import DemandLoss, Placed, Problem, cost, node_losses, unserved, with_reserve, without_tolerance
from solvers.placement.physical import place
from solvers.solution import answer, with_bounds
from ullage.planning.separation import AskPortfolio, kept_apart

# times that the problem is answered again with more reserve
MOST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Answered:
    """An outcome with named places; problem is what was answered in the end, losses the worst of each demand that asked.

    cost_microusd_per_h is what tolerance costs: the difference to the answer without it, None where nobody asks for it.
    """

    problem: Problem
    outcome: Outcome
    placed: tuple[Placed, ...]
    losses: tuple[DemandLoss, ...] = ()
    cost_microusd_per_h: int | None = None


def answer_with_places(problem: Problem, ask: AskPortfolio) -> Answered:
    """The best answer of ask with its places: replicas apart that must be, surviving the loss of any one node where that is possible."""
    ask = kept_apart(ask)
    tolerant = [i for i, demand in enumerate(problem.demands) if demand.tolerate_nodes]
    if not tolerant:
        outcome = ask(problem)
        return Answered(problem, outcome, place(problem, outcome.best))
    without = ask(without_tolerance(problem, tolerant))
    first = ask(problem)
    hopeless = [i for i in tolerant if first.best.unserved_microrps[i]]
    if hopeless:
        asked = without_tolerance(problem, hopeless)
        first = without if len(hopeless) == len(tolerant) else ask(asked)
    else:
        asked = problem
    outcome, placed = _with_more_reserve(asked, first, ask)
    return Answered(
        problem=asked,
        outcome=outcome,
        placed=placed,
        losses=node_losses(problem, placed),
        cost_microusd_per_h=outcome.best.cost_microusd_per_h - without.best.cost_microusd_per_h,
    )


def _with_more_reserve(problem: Problem, first: Outcome, ask: AskPortfolio) -> tuple[Outcome, tuple[Placed, ...]]:
    """The first answer, or a later one that loses less with a node and serves as much."""
    best = first, place(problem, first.best)
    larger = problem
    for _ in range(MOST_ROUNDS):
        if not _missing(problem, best[1]):
            break
        larger = with_reserve(larger, node_losses(problem, best[1]))
        found = ask(larger)
        placed = place(larger, found.best)
        again = _of(problem, first, found, placed)
        worse = unserved(problem, again.best.patterns) != first.best.unserved_microrps
        if not worse and _missing(problem, placed) < _missing(problem, best[1]):
            best = again, placed
    return best


def _missing(problem: Problem, placed: tuple[Placed, ...]) -> int:
    return sum(loss.missing_microrps for loss in node_losses(problem, placed))


def _of(problem: Problem, first: Outcome, larger: Outcome, placed: tuple[Placed, ...]) -> Outcome:
    """An answer to the larger problem as one to the problem itself, with the bounds of the first answer.

    Its cost is that of the nodes it is on: where nodes are paid whole, fewer could hold it.
    """
    own = answer(problem, larger.best.engine, larger.best.patterns)
    own = replace(own, cost_microusd_per_h=cost(_with_paid(problem, placed), own.patterns))
    bounded = with_bounds(problem, own, first.best.bound_unserved_microrps, first.best.bound_microusd_per_h)
    return replace(first, best=bounded)


def _with_paid(problem: Problem, placed: tuple[Placed, ...]) -> Problem:
    """The problem in which the nodes with replicas are paid."""
    used = Counter(pool for pool, _ in {(problem.shapes[item.shape].pool, item.node) for item in placed})
    pools = tuple(replace(pool, min_nodes=max(pool.min_nodes, used[index])) for index, pool in enumerate(problem.pools))
    return replace(problem, pools=pools)
