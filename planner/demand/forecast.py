"""The demand of a week to come, by workload and hour: the file that `ullage demand forecast` writes and a fleet file names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from planner.demand.recorded import LENGTHS, WEEK_H, DemandPart, NotNegative, PrintableName, moment_of
from planner.demand.season import DAY_H

# A rate that holds at all times, one of each hour of the day, or one of each hour of the week.
SEASONS_H = (1, DAY_H, WEEK_H)

Chance = Annotated[float, Field(gt=0, lt=1)]
HourlyFigures = tuple[NotNegative, ...]


class BackTest(DemandPart):
    """How well the last days were forecast from those before.

    Errors are the sum of the absolute errors over the sum of what was asked; inside_fraction are the hours that were not above the band
    of the method that was taken, whose own error is the smaller one.
    """

    held_out_s: int = Field(gt=0)
    compared_with: Literal["last week", "yesterday"]
    seasonal_error_fraction: NotNegative
    compared_error_fraction: NotNegative
    inside_fraction: float = Field(ge=0, le=1)


class SeasonalDemand(DemandPart):
    """One workload: of each hour from Monday, 00:00 UTC (of a day, or at all times), what is expected and the upper end of the band.

    Lengths are empty where none was recorded.
    """

    method: Literal["seasonal", "as last week", "flat"]
    rate_rps: HourlyFigures
    upper_rps: HourlyFigures
    input_mean_tokens: HourlyFigures
    input_p99_tokens: HourlyFigures
    output_mean_tokens: HourlyFigures
    output_p99_tokens: HourlyFigures
    back_test: BackTest | None

    @model_validator(mode="after")
    def _whole(self) -> SeasonalDemand:
        hours = len(self.rate_rps)
        if hours not in SEASONS_H:
            raise ValueError(f"rate_rps has {hours} hours, it must be one of {', '.join(map(str, SEASONS_H))}")
        for field in ("upper_rps", *LENGTHS):
            found = len(getattr(self, field))
            if found != hours and (found or field == "upper_rps"):
                raise ValueError(f"{field} has {found} hours, rate_rps has {hours}")
        if any(upper_rps < rate_rps for rate_rps, upper_rps in zip(self.rate_rps, self.upper_rps, strict=True)):
            raise ValueError("upper_rps is below rate_rps in some hour")
        if not max(self.upper_rps):
            raise ValueError("upper_rps is 0 in every hour")
        return self


class DemandForecast(DemandPart):
    """What a history lets expect; band_quantile is the part of the hours that should stay below the band."""

    schema_version: Literal[1] = 1
    kind: Literal["demand forecast"] = "demand forecast"
    history_start: str
    history_s: int = Field(gt=0)
    band_quantile: Chance
    workloads: dict[PrintableName, SeasonalDemand] = Field(min_length=1)

    @model_validator(mode="after")
    def _timed(self) -> DemandForecast:
        moment_of(self.history_start)
        return self
