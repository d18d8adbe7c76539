"""The closed-form forecast against the step-level simulation: rarely too optimistic, never absurdly cautious.

The simulation knows nothing of the forecast: it schedules every step, draws its time from the residual quantiles and, for neighbours, hands
out equal slices. A share below one is simulated as a constant slowdown (the guarantee), half a GPU also beside a busy neighbour.
"""

from functools import cache
from statistics import median

import pytest

from benchmarks.queueing import ratios

judged = cache(ratios)


@pytest.mark.parametrize("measure", ["TTFT p95", "TTFT p99", "TPOT p95", "TPOT p99"])
def test_the_forecast_is_safe_and_not_absurdly_cautious(measure: str) -> None:
    values = judged()[measure]
    assert len(values) >= 80
    assert sum(value >= 1 for value in values) >= 0.95 * len(values)
    # the p99 of step times is far out (1.5 times the median on measured H100): the forecast counts every step as that slow
    assert median(values) <= (2.3 if measure.endswith("p99") else 2.0)
