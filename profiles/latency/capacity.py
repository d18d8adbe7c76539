"""Latency at a given load and the largest load that meets an SLO, in closed form (formulas: profiles/latency/under_load.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from profiles.latency.mix import RequestMix
from profiles.latency.steptime import StepTime
from profiles.latency.under_load import EngineUnderLoad, SteadyState
from profiles.settings import EngineSettings

__all__ = ["LoadForecast", "RequestMix", "Slo", "capacity_rps", "engine_under_load", "forecast", "meets_goals"]

# Relative width at which bisection stops.
_RATE_TOLERANCE = 1e-3
# The rate below which an SLO counts as not attainable at any rate.
_SMALLEST_RATE_RPS = 1e-9
# Probes for a rate close to the capacity, and the part of the rate by which they aim beside it.
_PROBES, _PROBE_ASIDE = 3, 2.5e-4
# Bounds of what a probe learns, so that there is always a line through two of them.
_LEAST_SLACK, _MOST_SLACK = 1e-9, 1e3


@dataclass(frozen=True, slots=True)
class Slo:
    """Goals at the quantile that is sized for: time to first token and time per output token after it.

    ttft_by_class_s are the first goal for each priority of a mix that has any; ttft_s is the tightest of them.
    """

    ttft_s: float
    tpot_s: float
    ttft_by_class_s: tuple[float, ...] = ()

    def ttft_used(self, ttft_s: float, ttft_by_class_s: Sequence[float]) -> float:
        """Time to first token over its goal: the largest over all priorities."""
        if not self.ttft_by_class_s:
            return ttft_s / self.ttft_s
        return max(seen_s / goal_s for seen_s, goal_s in zip(ttft_by_class_s, self.ttft_by_class_s, strict=True))


@dataclass(frozen=True, slots=True)
class LoadForecast:
    """What one replica does at a load.

    ttft_s and tpot_s are at the asked quantile; ttft_s is that of the most urgent requests where there are priorities, and ttft_by_class_s
    has all of them. tpot_s is 0 when no answer has a second token. busy_fraction is the share of time with
    work if the engine were alone at full speed. running_requests and kv_tokens are means; kv_tokens_p99 is a pool with which preemption
    is rare: at least one p99 request.
    """

    ttft_s: float
    tpot_s: float
    busy_fraction: float
    running_requests: float
    kv_tokens: float
    kv_tokens_p99: float
    ttft_by_class_s: tuple[float, ...] = ()


def forecast(
    step: StepTime, mix: RequestMix, rate_rps: float, share_fraction: float, settings: EngineSettings, quantile: float = 0.99
) -> LoadForecast | None:
    """Latency, busy time and KV tokens of one replica at a rate and a guaranteed share.

    None when it cannot keep up or runs out of max_num_seqs. Raises ValueError for a negative rate, a share outside (0, 1], a quantile
    outside (0, 1).
    """
    if not (math.isfinite(rate_rps) and rate_rps >= 0):
        raise ValueError(f"rate_rps is {rate_rps}, it must be a finite number that is not negative")
    return _forecast(step, mix, rate_rps, share_fraction, settings, quantile)


# The caches below hold what one model's candidates on all pools of a fleet ask for again: pools of one GPU type ask the same, and so do
# the steps of sizing one replica.
@lru_cache(maxsize=1024)
def _forecast(
    step: StepTime, mix: RequestMix, rate_rps: float, share_fraction: float, settings: EngineSettings, quantile: float
) -> LoadForecast | None:
    load = _load(step, mix, share_fraction, settings, quantile, None)
    state = load.state(rate_rps)
    alone = _load(step, mix, 1.0, settings, quantile, 1.0).state(rate_rps)
    if state is None or alone is None:
        return None
    kv_tokens, kv_tokens_p99 = load.kv_tokens(state)
    return LoadForecast(
        ttft_s=load.ttft_s(state),
        tpot_s=load.tpot_s(state),
        busy_fraction=-math.expm1(-alone.present),
        running_requests=state.present,
        kv_tokens=kv_tokens,
        kv_tokens_p99=kv_tokens_p99,
        ttft_by_class_s=load.ttft_by_class_s(state),
    )


def capacity_rps(
    step: StepTime, mix: RequestMix, slo: Slo, share_fraction: float, settings: EngineSettings, quantile: float = 0.99
) -> float:
    """Largest rate whose forecast meets the SLO, within 0.1 % below it; 0.0 when none does."""
    return _capacity_rps(step, mix, slo, share_fraction, settings, quantile)


@lru_cache(maxsize=1024)
def _capacity_rps(step: StepTime, mix: RequestMix, slo: Slo, share_fraction: float, settings: EngineSettings, quantile: float) -> float:
    load = engine_under_load(step, mix, share_fraction, settings, quantile)
    if not _meets(load, _SMALLEST_RATE_RPS, slo):
        return 0.0
    low_rps, high_rps = _SMALLEST_RATE_RPS, load.rate_limit_rps
    near: _Near | None = None
    while high_rps - low_rps > _RATE_TOLERANCE * low_rps:
        if near is None and high_rps <= 2 * low_rps:
            near = _near_capacity(load, slo, low_rps, high_rps)
        # Far apart the middle is taken of the logarithms: capacity may lie orders of magnitude below the limit.
        middle_rps = math.sqrt(low_rps * high_rps) if high_rps > 4 * low_rps else (low_rps + high_rps) / 2
        known = near.meets(middle_rps) if near else None
        if _meets(load, middle_rps, slo) if known is None else known:
            low_rps = middle_rps
        else:
            high_rps = middle_rps
    return low_rps


@dataclass(frozen=True, slots=True)
class _Near:
    """A rate that meets the SLO and a larger one that does not, close to each other: what saves the bisection most of its questions."""

    good_rps: float
    bad_rps: float

    def meets(self, rate_rps: float) -> bool | None:
        """Whether a rate meets the SLO, None where it lies between: a larger rate never meets what a smaller one does not."""
        return True if rate_rps <= self.good_rps else False if rate_rps >= self.bad_rps else None


def _near_capacity(load: EngineUnderLoad, slo: Slo, good_rps: float, bad_rps: float) -> _Near:
    """Closer to each other than a rate that meets the SLO and one that does not.

    Latency grows about as 1 / (1 - rate / limit), so its inverse is close to a straight line: each probe is where the line through the two
    rates meets the goal, a little to that side on which less is known.
    """
    above, below, aside = _slack(load, good_rps, slo), _slack(load, bad_rps, slo), _PROBE_ASIDE
    for _ in range(_PROBES):
        probe_rps = (good_rps + (bad_rps - good_rps) * above / (above - below)) * (1.0 + aside)
        if not good_rps < probe_rps < bad_rps:
            break
        slack = _slack(load, probe_rps, slo)
        if slack >= 0.0:
            good_rps, above, aside = probe_rps, slack, _PROBE_ASIDE
        else:
            bad_rps, below, aside = probe_rps, slack, -_PROBE_ASIDE
    return _Near(good_rps, bad_rps)


def _slack(load: EngineUnderLoad, rate_rps: float, slo: Slo) -> float:
    """The goal over the latency, minus one, for the tighter of the goals; -1 without steady state, below 0 only where one is missed."""
    state = load.state(rate_rps) if rate_rps < load.rate_limit_rps else None
    if state is None:
        return -1.0
    tpot_s = load.tpot_s(state)
    if tpot_s > slo.tpot_s:
        return min(slo.tpot_s / tpot_s - 1.0, -_LEAST_SLACK)
    ttft_used = _ttft_used(load, state, slo)
    used = max(tpot_s / slo.tpot_s, ttft_used, 1.0 / _MOST_SLACK)
    return max(1.0 / used - 1.0, _LEAST_SLACK) if ttft_used <= 1.0 else min(1.0 / used - 1.0, -_LEAST_SLACK)


def _meets(load: EngineUnderLoad, rate_rps: float, slo: Slo) -> bool:
    state = load.state(rate_rps)
    return state is not None and meets_goals(load, state, slo)


def meets_goals(load: EngineUnderLoad, state: SteadyState, slo: Slo) -> bool:
    """Whether an engine in a steady state meets its goals, for every priority."""
    return load.tpot_s(state) <= slo.tpot_s and _ttft_used(load, state, slo) <= 1.0


def _ttft_used(load: EngineUnderLoad, state: SteadyState, slo: Slo) -> float:
    return slo.ttft_used(load.ttft_s(state), ()) if not slo.ttft_by_class_s else slo.ttft_used(0.0, load.ttft_by_class_s(state))


def engine_under_load(step: StepTime, mix: RequestMix, share_fraction: float, settings: EngineSettings, quantile: float) -> EngineUnderLoad:
    """The engine that a forecast is made with, for questions of which the forecast answers more than is asked."""
    return _load(step, mix, share_fraction, settings, quantile, None)


@lru_cache(maxsize=256)
def _load(
    step: StepTime, mix: RequestMix, share_fraction: float, settings: EngineSettings, quantile: float, slowdown: float | None
) -> EngineUnderLoad:
    return EngineUnderLoad(step, mix, share_fraction, settings, quantile, slowdown)
