"""One way to run a group, asked at many rates beside many neighbours: what the questions have in common is computed once."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from profiles.latency.capacity import engine_under_load, meets_goals
from profiles.latency.under_load import EngineUnderLoad, SteadyState

if TYPE_CHECKING:
    from planner.sizing.ways_to_run import Variant


class EngineBeside:
    """A variant's engine at any rate, beside any number of active neighbours, at any quantile."""

    def __init__(self, variant: Variant) -> None:
        """Nothing is computed before it is asked for."""
        self.variant = variant
        self._alone: dict[float, EngineUnderLoad] = {}
        self._beside: dict[tuple[float, float], EngineUnderLoad] = {}

    def meets(self, rate_rps: float, neighbours: int, quantile: float) -> bool:
        """Whether the goals are met at the quantile beside so many active neighbours."""
        engine = self._engine(rate_rps, 1 + neighbours, quantile)
        state, slo = engine.state(rate_rps), self.variant.group.slo
        return state is not None and meets_goals(engine, state, slo)

    def state(self, rate_rps: float, neighbours: int) -> SteadyState | None:
        """The steady state beside so many active neighbours, None where there is none."""
        return self._engine(rate_rps, 1 + neighbours, self.variant.quantile).state(rate_rps)

    def only_when_idle(self, rate_rps: float, level: int) -> bool:
        """Whether a replica meets the SLO only as meetings of two requests are rarer than the quantile counts, and one is not enough.

        A fleet of such replicas would be idle nearly all the time and still serve next to nothing.
        """
        state = self.state(rate_rps, level - 1)
        few = state is not None and state.present < 1.0 - self.variant.quantile
        return few and rate_rps < self.variant.group.peak_rps

    def kv_need_bytes(self, rate_rps: float, level: float) -> int | None:
        """As Variant.kv_need_bytes."""
        if self.variant.slower < 1.0:
            return self.variant.kv_need_bytes(rate_rps, level)
        engine = self._engine(rate_rps, level, self.variant.quantile)
        state = engine.state(rate_rps)
        if state is None:
            return None
        kv_tokens, kv_tokens_p99 = engine.kv_tokens(state)
        return self.variant.kv_bytes_of(kv_tokens, kv_tokens_p99, state.present)

    def _engine(self, rate_rps: float, level: float, quantile: float) -> EngineUnderLoad:
        engine = self._beside.get((level, quantile))
        if engine is None:
            engine = self._beside[level, quantile] = (
                self._engine_alone(quantile) if level == 1 else self._engine_alone(quantile).at_share(1.0 / level)
            )
        return self._at_rate(engine, rate_rps)

    def _engine_alone(self, quantile: float) -> EngineUnderLoad:
        engine = self._alone.get(quantile)
        if engine is None:
            variant = self.variant
            engine = engine_under_load(variant.step, variant.group.mix, 1.0, variant.settings, quantile)
            self._alone[quantile] = engine
        return engine

    def _at_rate(self, engine: EngineUnderLoad, rate_rps: float) -> EngineUnderLoad:
        """The engine under the part of the group's bursts that it sees at this rate."""
        group = self.variant.group
        return engine if group.mix.burstiness == 1.0 else engine.with_burstiness(group.burstiness_at(rate_rps))


class MetQuantiles:
    """The largest share of requests, of some that are looked at, whose goals are met: by rate and number of active neighbours.

    More requests and more neighbours never meet more, so what is known of one rate bounds it at others, mostly to a single one.
    """

    def __init__(self, engine: EngineBeside, quantiles: tuple[float, ...]) -> None:
        """quantiles ascend."""
        self._engine = engine
        self._quantiles = quantiles
        # by number of neighbours: ascending rates, and how many of the quantiles are met at each
        self._known: dict[int, tuple[list[float], list[int]]] = {}

    def met(self, rate_rps: float, neighbours: int) -> int:
        """How many of the quantiles are met."""
        rates, met = self._known.setdefault(neighbours, ([], []))
        at = bisect_left(rates, rate_rps)
        if at < len(rates) and rates[at] == rate_rps:
            return met[at]
        low = met[at] if at < len(rates) else 0
        high = met[at - 1] if at else len(self._quantiles)
        found = self._search(rate_rps, neighbours, low, min(high, self._with_one_fewer(rate_rps, neighbours)))
        rates.insert(at, rate_rps)
        met.insert(at, found)
        return found

    def _with_one_fewer(self, rate_rps: float, neighbours: int) -> int:
        """What is known beside one neighbour fewer; all of the quantiles where nothing is."""
        rates, met = self._known.get(neighbours - 1, ([], []))
        at = bisect_left(rates, rate_rps)
        return met[at] if at < len(rates) and rates[at] == rate_rps else len(self._quantiles)

    def _search(self, rate_rps: float, neighbours: int, low: int, high: int) -> int:
        """First whether it is as many as it can be, then by halves."""
        at = high
        while low < high:
            if self._engine.meets(rate_rps, neighbours, self._quantiles[at - 1]):
                low = at
            else:
                high = at - 1
            at = (low + high + 1) // 2
        return high
