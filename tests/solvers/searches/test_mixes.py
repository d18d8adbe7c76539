from __future__ import annotations

import math
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from planner.problem import Demand, shortfall
from solvers.searches.mixes import MixSearch, Options


@given(
    peak_microrps=st.integers(1, 30),
    offers=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3), st.integers(0, 9)), max_size=4),
    min_replicas=st.integers(0, 3),
    tolerate_nodes=st.integers(0, 1),
    weight=st.sampled_from([math.inf, 0.0, 0.4, 2.0]),
)
def test_cheapest_mix_is_the_cheapest_of_all(
    peak_microrps: int, offers: list[tuple[int, int, int]], min_replicas: int, tolerate_nodes: int, weight: float
) -> None:
    demand = Demand("d", (peak_microrps,), min_replicas=min_replicas, tolerate_nodes=tolerate_nodes)
    options = Options(demand, tuple(offer[0] for offer in offers), tuple(offer[1] for offer in offers))
    prices = [float(offer[2]) for offer in offers]
    best = math.inf
    for counts in product(*(range(count + 1) for count in options.available)):
        offered = sum(capacity * count for capacity, count in zip(options.capacity_microrps, counts, strict=True))
        largest = max((capacity for capacity, count in zip(options.capacity_microrps, counts, strict=True) if count), default=0)
        missing = shortfall(demand, offered, sum(counts), largest)
        if not missing or math.isfinite(weight):
            value = sum(price * count for price, count in zip(prices, counts, strict=True))
            best = min(best, value + (weight * missing if missing else 0.0))
    search = MixSearch(options, prices, weight=weight).run()
    found = search.found[-1][0] if search.found else math.inf
    assert found == best or abs(found - best) < 1e-6
    assert search.lower_value <= best


def test_a_truncated_search_of_a_huge_demand_still_gives_a_bound() -> None:
    sizes = 1_500
    options = Options(Demand("d", (10**12,)), tuple(10**6 + i for i in range(sizes)), (1,) * sizes)
    search = MixSearch(options, [1.0] * sizes, weight=1.0, steps=500).run()
    assert search.exhausted
    assert search.lower_value <= min(value for value, _ in search.found)
