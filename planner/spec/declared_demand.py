"""The five forms of demand as people write them: a constant rate, windows, a trace, a forecast, a volume."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from planner.demand.traces import MAX_TOKENS
from planner.spec.field_types import Days, Duration, Hours, Moment, Number, Rate, Text, Whole
from planner.spec.part import Declared


class DeclaredLengths(Declared):
    """Lengths of requests in tokens. Only a mean: every request has this length. With p99: log-normal."""

    mean_tokens: Number = Field(alias="mean", ge=1, le=MAX_TOKENS, description="Mean length.")
    p99_tokens: Number | None = Field(None, alias="p99", ge=1, le=MAX_TOKENS, description="99th percentile. Default: the mean.")


def _scalar_is_mean(value: Any) -> Any:  # noqa: ANN401 - whatever stands in the file
    return {"mean": value} if isinstance(value, str) else value


def _zero_is_nothing(value: Any) -> Any:  # noqa: ANN401 - as above
    return None if value == "0" else _scalar_is_mean(value)


_TOKENS_SCHEMA = {"type": "number", "minimum": 1, "maximum": MAX_TOKENS}
_LENGTHS_SCHEMA: list[dict[str, Any]] = [
    _TOKENS_SCHEMA,
    {
        "type": "object",
        "properties": {"mean": _TOKENS_SCHEMA, "p99": _TOKENS_SCHEMA},
        "required": ["mean"],
        "additionalProperties": False,
    },
]
_LENGTHS_EXAMPLES = [500, {"mean": 500, "p99": 2000}]
Lengths = Annotated[
    DeclaredLengths, BeforeValidator(_scalar_is_mean), WithJsonSchema({"anyOf": _LENGTHS_SCHEMA, "examples": _LENGTHS_EXAMPLES})
]
OutputLengths = Annotated[
    DeclaredLengths | None,
    BeforeValidator(_zero_is_nothing),
    WithJsonSchema({"anyOf": [*_LENGTHS_SCHEMA, {"const": 0}], "examples": _LENGTHS_EXAMPLES}),
]
_LENGTHS_MEANING = "tokens per request: a number (all requests have this length), or {mean, p99} (log-normal)."
_OUTPUT_MEANING = f"Output {_LENGTHS_MEANING} Default: none; leave it out for a model with task: embed, give it for all others."


class DeclaredRate(Declared):
    """Demand form 1: the same rate at all times."""

    rate_rps: Rate = Field(alias="rate", description="Requests per time.")
    input_tokens: Lengths = Field(description=f"Input {_LENGTHS_MEANING}")
    output_tokens: OutputLengths = Field(None, description=_OUTPUT_MEANING)


class DeclaredWindow(Declared):
    """One stretch of time with its demand: by the clock (hours, and days), or counted from a start."""

    hours_s: Hours | None = Field(
        None,
        alias="hours",
        description="Hours of the day, of one time zone in the whole file. An end that is not later goes past midnight. "
        "Default: start and end are given.",
        examples=["08:00-20:00", "22:00-06:00"],
    )
    days: Days | None = Field(
        None,
        description="Days of the week on which the hours begin. Default: every day.",
        examples=["mon-fri", "sat,sun"],
    )
    start_s: Moment | None = Field(
        None,
        alias="start",
        description="Instead of hours: start of the window, counted from midnight (Monday's where windows go on for more than a day). "
        "Default: hours are given.",
        examples=["0s"],
    )
    end_s: Duration | None = Field(
        None,
        alias="end",
        description="End, counted like start and later than it. Default: hours are given.",
        examples=["600s"],
    )
    rate_rps: Rate = Field(alias="rate", description="Requests per time.")
    input_tokens: Lengths = Field(description=f"Input {_LENGTHS_MEANING}")
    output_tokens: OutputLengths = Field(None, description=_OUTPUT_MEANING)


class DeclaredWindows(Declared):
    """Demand form 2: a rate for each of several windows; between windows there is no demand."""

    windows: tuple[DeclaredWindow, ...] = Field(
        min_length=1,
        max_length=1440,
        description="Windows without overlap, all by the clock, or all counted from a start and in order. "
        "Windows within a day repeat every day. Workloads whose windows do not meet may share GPUs.",
    )


class DeclaredTrace(Declared):
    """Demand form 3: from a recorded trace."""

    trace: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="File with columns arrival_s, input_tokens, output_tokens and optionally tenant, cached_prefix_tokens; "
        "csv, csv.gz or parquet. The path starts from the folder of the fleet file.",
        examples=["arena27.csv.gz"],
    )
    tenant: Text | None = Field(None, description="Take the requests of this tenant only. Default: all requests.")
    window_s: Duration | None = Field(
        None,
        alias="window",
        examples=["60s", "10min"],
        description="Length of the windows in which demand is measured. The trace is cut into equal windows of about this length. "
        "Default: a sixtieth of the trace, at least 60s.",
    )
    repeat_rate: Whole = Field(
        1, ge=1, le=10_000, description="Multiply the rate: every window gets each of its requests so many times, evenly shifted."
    )


class DeclaredForecast(Declared):
    """Demand form 4: from a forecast."""

    forecast: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="File that `ullage demand forecast` wrote. The path starts from the folder of the fleet file. Every hour of the week "
        "asks for the upper end of the band; hours are of UTC, so hours of windows in the same file must be too.",
        examples=["forecast.json"],
    )
    workload: Text | None = Field(None, description="Its name in the forecast. Default: the name of this workload.")


class DeclaredVolume(Declared):
    """Demand form 5: so many requests by a deadline."""

    requests: Number = Field(
        ge=1,
        le=1e9,
        description="Requests of each day or week, to be done by the deadline of the workload. The plan decides when, so that they fill "
        "what others leave idle.",
    )
    every: Literal["day", "week"] = Field("day", description="How often there are so many requests.")
    input_tokens: Lengths = Field(description=f"Input {_LENGTHS_MEANING}")
    output_tokens: OutputLengths = Field(None, description=_OUTPUT_MEANING)


FORMS = {"rate": "<rate>", "windows": "<windows>", "trace": "<trace>", "forecast": "<forecast>", "requests": "<requests>"}


def _form(value: Any) -> str | None:  # noqa: ANN401 - as above
    found = [tag for key, tag in FORMS.items() if isinstance(value, dict) and key in value]
    return found[0] if len(found) == 1 else None


DeclaredDemand = Annotated[
    Annotated[DeclaredRate, Tag("<rate>")]
    | Annotated[DeclaredWindows, Tag("<windows>")]
    | Annotated[DeclaredTrace, Tag("<trace>")]
    | Annotated[DeclaredForecast, Tag("<forecast>")]
    | Annotated[DeclaredVolume, Tag("<requests>")],
    Discriminator(_form),
]
