"""Every legal way to serve a demand meets every cut that the relaxation finds."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings

from planner.problem import Problem
from solvers.exact.relaxation.cover_cuts import CutRounds, first_cuts, precise
from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.searches.mixes import Mix, MixSearch
from tests.solvers.exact.roots import FEATURES, goals, never, root_of, served_by_best_fit
from tests.strategies import problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)


def mixes(root: CoverRoot, demand: int) -> list[Mix]:
    """All ways to serve a demand in which every replica counts, with what they leave where something may be left."""
    options = root.stock.options[demand]
    must = math.isinf(root.master.unserved_price(demand))
    prices = [0.0] * len(options.capacity_microrps)
    search = MixSearch(options, prices, weight=math.inf if must else 0.0, keep_all=True, steps=200_000).run()
    assert not search.exhausted
    return [mix for _, mix in search.found]


@pytest.mark.parametrize("feature", FEATURES)
@SLOW
@given(problem=problems())
def test_every_mix_meets_every_cut(feature: str, problem: Problem) -> None:
    problem = FEATURES[feature](problem)
    for goal in goals(problem, served_by_best_fit(problem)):
        root = root_of(problem, goal)
        first = len(root.program.cuts)
        assert first == len(first_cuts(problem, root.offers))
        root.run(60, never, CutRounds(quick=False, precise_rounds=20))
        found = {demand: mixes(root, demand) for demand in {cut.demand for cut in root.program.cuts}}
        for cut in root.program.cuts:
            peak_microrps = problem.demands[cut.demand].peak_microrps
            for mix in found[cut.demand]:
                have = sum(float(cut.weights[option]) * count for option, count in mix.counts)
                assert have + cut.loss * mix.unserved_microrps / max(1, peak_microrps) >= cut.least - 1e-6, (goal, cut, mix)


@SLOW
@given(problem=problems())
def test_precise_cuts_end_when_somebody_says_so(problem: Problem) -> None:
    *_, goal = goals(problem, served_by_best_fit(problem))
    root = root_of(problem, goal)
    root.run(10, never)
    answer = root.program.solver.solve()
    if answer is None:
        return
    look = root.look(answer.duals, full=True)
    asked: list[int] = []

    def cuts(most: int) -> list[tuple[int, list[float]]]:
        asked.clear()

        def stop() -> bool:
            asked.append(1)
            return len(asked) > most

        lacking = root.market(look, 1.0) - look.worth
        found = precise(root.program, root.ways, answer.columns, lacking, look.at.unserved_prices, stop)
        return [(cut.demand, cut.weights.tolist()) for cut in found]

    everything = cuts(1_000)
    assert cuts(0) == []
    assert cuts(1) == everything[: len(cuts(1))]
    assert len(asked) <= 2
