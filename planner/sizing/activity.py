"""How active a replica is, and which neighbours it bears: the mixture over how many of them have work at the same time.

Time-shared engines with work get equal slices, so beside n active neighbours every step takes 1 + n times as long. A replica is active
for the part of time in which it has requests, 1 - exp(-N) with N of them in the mean (as a station without a queue, M/G/infinity). Its
neighbours' activities add up to at most V. The number that is active at once is then spread at worst as of k - 1 neighbours with equal
activities, a binomial (Hoeffding, 1956: equal chances have the heaviest tail above the mean); of any number of them, as a Poisson.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from planner.sizing.engine_beside import EngineBeside, MetQuantiles

if TYPE_CHECKING:
    from planner.sizing.ways_to_run import Variant

# Stands for any number of residents.
ANY = 1000

# Beyond so many active neighbours a request counts as missed.
MOST_NEIGHBOURS = 8

# Shares of requests at which it is looked up whether the goals are met: what is between two of them counts as the worse one.
_QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.9925, 0.996, 0.999)

# Where the number of active neighbours varies, only this part of the requests that may miss their goals is spent, and a replica is sized
# for a twentieth more than it is to carry: what a neighbour's burst costs lasts for longer than one request, which the mixture leaves out.
MISS_PART, RATE_MARGIN = 0.75, 1 / 0.95


@dataclass(frozen=True, slots=True, order=True)
class SharingLimit:
    """Whom a replica bears: at most max_residents on its GPU, itself counted, whose activities add up to at most active_limit."""

    max_residents: int
    active_limit: float

    @property
    def always(self) -> bool:
        """Whether everybody may be active all the time."""
        return self.active_limit >= self.max_residents

    @property
    def rate_margin(self) -> float:
        """How much more than what it carries a replica is sized for."""
        return 1.0 if self.always else RATE_MARGIN


ALONE = SharingLimit(1, 1.0)

# What activities may add up to. Each value makes the solvers' problem larger, and their search longer.
_ACTIVE_LIMITS = (0.6, 1.0, 1.4, 2.0)


def sharing_limits(max_active_residents: int) -> tuple[SharingLimit, ...]:
    """The classes of neighbours that replicas are sized for: where few sit together, more activity of theirs is borne.

    k that are always active are (k, k). Beyond two residents their number makes little difference: any number counts alike.
    """
    always = [SharingLimit(k, float(k)) for k in range(2, max_active_residents + 1)]
    some = [SharingLimit(k, limit) for k in (2, ANY) for limit in _ACTIVE_LIMITS if limit < k and limit <= max_active_residents]
    return tuple(sorted({*always, *some}))


def weights(limit: SharingLimit, neighbours_active: float) -> Iterator[float]:
    """Chance of 0, 1, 2, ... active neighbours whose activities add up to neighbours_active.

    >>> list(weights(SharingLimit(3, 2.0), 1.0))
    [0.25, 0.5, 0.25]
    """
    if limit.max_residents >= ANY:
        chance = math.exp(-neighbours_active)
        for n in range(MOST_NEIGHBOURS + 1):
            yield chance
            chance *= neighbours_active / (n + 1)
        return
    count = limit.max_residents - 1
    each = neighbours_active / count if count else 0.0
    for n in range(count + 1):
        yield math.comb(count, n) * each**n * (1.0 - each) ** (count - n)


class RatesBeside:
    """A variant at any rate beside its neighbours; what is asked for is computed once."""

    def __init__(self, variant: Variant) -> None:
        """Nothing is computed before it is asked for."""
        self.variant = variant
        self.engine = EngineBeside(variant)
        self.met = MetQuantiles(self.engine, _QUANTILES)
        self._rates: dict[float, BesideNeighbours] = {}

    def at(self, rate_rps: float) -> BesideNeighbours:
        """At one rate, which is what the replica takes of its group's requests."""
        if rate_rps not in self._rates:
            self._rates[rate_rps] = BesideNeighbours(self, rate_rps)
        return self._rates[rate_rps]


class BesideNeighbours:
    """A variant at one rate, beside 0, 1, 2, ... active neighbours."""

    def __init__(self, rates: RatesBeside, rate_rps: float) -> None:
        """As RatesBeside.at."""
        self._rates = rates
        self._rate_rps = rate_rps
        self._running: dict[int, float | None] = {}
        self._active: dict[SharingLimit, float] = {}

    def running_requests(self, neighbours: float) -> float | None:
        """Mean number of requests in flight beside so many active neighbours; None where there is no steady state.

        Between whole numbers on a straight line, which is above the truth: the number grows faster and faster.
        """
        below = math.floor(neighbours)
        part = neighbours - below
        low = self._at(below)
        high = self._at(below + 1) if part else low
        return None if low is None or high is None else low + part * (high - low)

    def active_fraction(self, limit: SharingLimit) -> float:
        """The part of time in which it has work, at most, beside neighbours of this limit; 1 where there is no steady state."""
        if limit not in self._active:
            self._active[limit] = self._most_active(limit) if self._rate_rps > 0.0 else 0.0
        return self._active[limit]

    def _most_active(self, limit: SharingLimit) -> float:
        # the more it is active, the less its neighbours may be: between an upper and a lower value lies what agrees with itself
        at_most = self._active_beside(self._others(limit, 0.0))
        at_least = self._active_beside(self._others(limit, at_most))
        return self._active_beside(self._others(limit, at_least))

    def neighbours_active(self, limit: SharingLimit) -> float:
        """What the activities of its neighbours may add up to."""
        return self._others(limit, self.active_fraction(limit))

    def bears(self, limit: SharingLimit) -> bool:
        """Whether enough of its requests meet their goals beside the worst neighbours of this limit."""
        if self.active_fraction(limit) > limit.active_limit:
            return False
        missed, left = 0.0, 1.0
        allowed = (1.0 if limit.always else MISS_PART) * (1.0 - self._rates.variant.quantile) + 1e-12
        for n, chance in enumerate(weights(limit, self.neighbours_active(limit))):
            if chance > 0.0:
                missed += chance * self.missed_fraction(n)
            left -= chance
            if missed > allowed:
                return False
        return missed + max(0.0, left) <= allowed

    def meets_beside(self) -> int | None:
        """The largest number of active neighbours beside which the goals are met at the sizing quantile; None where not even alone."""
        wanted = next((n for n, quantile in enumerate(_QUANTILES, 1) if quantile >= self._rates.variant.quantile - 1e-12), None)
        if wanted is None:
            return None
        meets = takewhile(lambda n: self._rates.met.met(self._rate_rps, n) >= wanted, range(MOST_NEIGHBOURS + 1))
        return max(meets, default=None)

    def missed_fraction(self, neighbours: int) -> float:
        """Share of requests that miss a goal beside so many active neighbours, from above."""
        met = self._rates.met.met(self._rate_rps, neighbours)
        return 1.0 - _QUANTILES[met - 1] if met else 1.0

    def _at(self, neighbours: int) -> float | None:
        if neighbours not in self._running:
            state = self._rates.engine.state(self._rate_rps, neighbours)
            self._running[neighbours] = None if state is None else state.present
        return self._running[neighbours]

    def _active_beside(self, neighbours: float) -> float:
        running = self.running_requests(neighbours)
        return 1.0 if running is None else -math.expm1(-running)

    @staticmethod
    def _others(limit: SharingLimit, own: float) -> float:
        return min(max(limit.active_limit - own, 0.0), float(limit.max_residents - 1))
