"""Demand from a forecast: windows by the clock of UTC, as high as the upper end of the band."""

from __future__ import annotations

from collections.abc import Sequence

from planner.demand.forecast import DemandForecast, SeasonalDemand
from planner.demand.recorded import HOUR_S
from planner.demand.windows import DemandProfile, DemandWindow, TokenLengths, constant_demand, fixed_length, spread_length, windowed_demand
from planner.spec.declared_demand import DeclaredForecast
from planner.spec.errors import RefusedDemandError
from planner.spec.fleet import Model
from planner.spec.nearest import nearest


def demand_from_forecast(
    name: str, declared: DeclaredForecast, model: Model, forecast: DemandForecast, answer: TokenLengths
) -> DemandProfile:
    """The demand of the workload of this name, every hour with its own rate and lengths; answer is that of a model that embeds.

    Raises RefusedDemandError where the forecast has no such workload, or none of its lengths can be served.
    """
    found = _workload(declared.workload or name, declared, forecast)
    windows: list[DemandWindow] = []
    for hour, rate_rps in enumerate(found.upper_rps):
        if rate_rps:
            inputs, outputs = _lengths(found, hour, model, answer)
            start_s = float(hour * HOUR_S)
            windows.append(DemandWindow(start_s=start_s, end_s=start_s + HOUR_S, rate_rps=rate_rps, input=inputs, output=outputs))
    if len(found.upper_rps) == 1:
        (window,) = windows
        return constant_demand(window.rate_rps, window.input, window.output)
    return windowed_demand(windows).model_copy(update={"every_s": float(len(found.upper_rps) * HOUR_S)})


def _workload(name: str, declared: DeclaredForecast, forecast: DemandForecast) -> SeasonalDemand:
    found = forecast.workloads.get(name)
    if found is None:
        close = nearest(name, forecast.workloads)
        hint = f"did you mean {close!r}?" if close else f"it has {', '.join(sorted(forecast.workloads)[:5])}"
        raise RefusedDemandError(
            ("workload" if declared.workload else "forecast",), f"{declared.forecast} has no workload {name!r}; {hint}"
        )
    return found


def _lengths(found: SeasonalDemand, hour: int, model: Model, answer: TokenLengths) -> tuple[TokenLengths, TokenLengths]:
    input_tokens = _mean("input", found.input_mean_tokens, hour)
    output_tokens = 0.0 if model.pooling else _mean("output", found.output_mean_tokens, hour)
    if input_tokens + output_tokens > model.max_model_len:
        raise RefusedDemandError(
            ("forecast",),
            f"requests of {input_tokens:g} input and {output_tokens:g} output tokens (means of hour {hour}) are longer than max_model_len "
            f"{model.max_model_len} of model {model.name} and can never be served; raise max_model_len",
        )
    inputs = _spread(input_tokens, found.input_p99_tokens, hour, model.max_model_len - output_tokens)
    return inputs, answer if model.pooling else _spread(output_tokens, found.output_p99_tokens, hour, model.max_model_len - input_tokens)


def _mean(what: str, tokens: Sequence[float], hour: int) -> float:
    if not tokens:
        raise RefusedDemandError(("forecast",), f"has no {what} lengths: none were recorded; declare this demand as windows")
    return max(1.0, tokens[hour])


def _spread(mean_tokens: float, p99_tokens: Sequence[float], hour: int, most_tokens: float) -> TokenLengths:
    """The p99 comes from buckets of a histogram: it is no longer than what the model takes, and no shorter than the mean."""
    if not p99_tokens:
        return fixed_length(mean_tokens)
    return spread_length(mean_tokens, max(mean_tokens, min(p99_tokens[hour], most_tokens)))
