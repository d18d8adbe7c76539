"""The cheapest mix of a demand under every rule against all of its mixes."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.problem import Problem, shortfall
from solvers.searches.mixes import MixSearch, Options
from tests.solvers.exact.roots import FEATURES, goals, root_of, served_by_best_fit
from tests.strategies import problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)


def cheapest(options: Options, prices: list[float], unserved_price: float) -> float:
    """The value of the cheapest of all mixes, infinite where there is none."""
    search = MixSearch(options, prices, weight=unserved_price, steps=200_000).run()
    assert not search.exhausted
    return search.found[-1][0] if search.found else math.inf


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("unserved_price", [math.inf, 0.5, 0.0])
@SLOW
@given(problem=problems(gpus=6, demand_count=4, shape_count=14), seed=st.integers(0, 99))
def test_the_value_is_never_above_the_cheapest_mix_and_the_mix_is_legal(
    feature: str, unserved_price: float, problem: Problem, seed: int
) -> None:
    problem = FEATURES[feature](problem)
    *_, goal = goals(problem, served_by_best_fit(problem))
    root = root_of(problem, goal)
    rng = Random(seed)
    for demand, options in enumerate(root.stock.options):
        prices = np.array([rng.choice([0.0, 1.0, rng.uniform(0.1, 5.0)]) for _ in options.capacity_microrps])
        if not len(prices):
            continue
        best = cheapest(options, prices.tolist(), unserved_price)
        # more of a shape than the pools hold may be asked for: the rows of the program say how many there are
        asked = options.demand
        if asked.tolerate_nodes and math.isfinite(unserved_price):
            # beside the loss of a node, what a missing replica counts for is left out
            asked = replace(asked, min_replicas=0)
        ample = cheapest(Options(asked, options.capacity_microrps, (1_000,) * len(prices)), prices.tolist(), unserved_price)
        value, counts = root.pricing.cheapest_mix(demand, prices, unserved_price, steps=200_000)
        assert value <= best * (1 + 1e-9) + 1e-9
        assert value >= ample * (1 - 1e-6) - 1e-9 or math.isinf(ample)
        if counts is None:
            continue
        bought = [(options.capacity_microrps[option], count) for option, count in counts.items()]
        lost = shortfall(options.demand, sum(c * n for c, n in bought), counts.total(), max((c for c, _ in bought), default=0))
        assert not lost or math.isfinite(unserved_price)
        assert counts.total() <= options.demand.max_replicas
