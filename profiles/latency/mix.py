"""What requests look like: lengths, burstiness, and the moments of lengths that queueing formulas need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

# Standard normal 99 % quantile, to read a spread out of a mean and a p99.
Z_P99 = 2.3263478740408408


@dataclass(frozen=True, slots=True)
class QueueClass:
    """Requests of one priority in a queue: the parts of its prefill work that go before them, and before less urgent ones."""

    before_fraction: float
    up_to_fraction: float


@dataclass(frozen=True, slots=True)
class RequestMix:
    """Lengths of the requests that one replica receives and how they arrive.

    Lengths are in tokens; input_tokens and output_tokens are means. burstiness is the index of dispersion of the number
    of arrivals (variance over mean): 1 is Poisson. prefix_hit_fraction of every prompt's tokens are found in the prefix cache: they hold KV
    cache and are attended to, but not computed. classes are its priorities, the most urgent first, where the engine looks at them.
    Raises ValueError when a length is below one, burstiness is negative or the fraction is
    outside [0, 1].
    """

    input_tokens: float
    output_tokens: float
    input_p99_tokens: float
    output_p99_tokens: float
    burstiness: float = 1.0
    prefix_hit_fraction: float = 0.0
    classes: tuple[QueueClass, ...] = ()

    def __post_init__(self) -> None:
        """Refuse lengths that no request can have."""
        for name in ("input_tokens", "output_tokens", "input_p99_tokens", "output_p99_tokens"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 1):
                raise ValueError(f"{name} is {value}, it must be at least 1 token")
        if not (math.isfinite(self.burstiness) and self.burstiness >= 0):
            raise ValueError(f"burstiness is {self.burstiness}, it must be a finite number that is not negative")
        if not 0 <= self.prefix_hit_fraction <= 1:
            raise ValueError(f"prefix_hit_fraction is {self.prefix_hit_fraction}, it must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Length:
    """A length in tokens as a log-normal distribution; spread 0 is a constant.

    Log-normal because lengths in production are right-skewed with heavy tails (ServeGen, arXiv 2505.09999) and because a mean
    and a p99 determine it.
    """

    mean: float
    spread: float

    @classmethod
    def fitted(cls, mean: float, p99: float) -> Length:
        """The log-normal with this mean and p99: p99 / mean = exp(z s - s^2 / 2); a p99 at or below the mean gives a constant.

        A p99 beyond exp(z^2 / 2) = 15 means cannot be reached by a log-normal; the widest one is taken.
        """
        if p99 <= mean:
            return cls(mean, 0.0)
        return cls(mean, Z_P99 - math.sqrt(max(0.0, Z_P99 * Z_P99 - 2.0 * math.log(p99 / mean))))

    def moment(self, order: int) -> float:
        """E[X ** order], in tokens ** order."""
        return math.pow(self.mean, order) * math.exp(0.5 * order * (order - 1) * self.spread * self.spread)

    def quantile(self, z: float) -> float:
        """The length in tokens whose standard normal score is z."""
        return self.mean * math.exp(z * self.spread - 0.5 * self.spread * self.spread)


def normal_score(quantile: float) -> float:
    """Standard normal score of a quantile in (0, 1); raises ValueError outside."""
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile is {quantile}, it must lie between 0 and 1")
    return NormalDist().inv_cdf(quantile)
