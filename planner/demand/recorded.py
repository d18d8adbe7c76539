"""What was asked of each workload, step by step: the file that `ullage demand pull` writes and `ullage demand forecast` reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

Values = NDArray[np.float64]
Tell = Callable[[str], None]

HOUR_S = 3600
WEEK_H = 168

# Of a file that is wrong all over the first faults are enough.
_MOST_FAULTS = 5
# Ten years of hours, or a month and a half of minutes.
MOST_STEPS = 87_600
# More digits than an estimate of a rate has; they also keep the last bits of a sum out of the file.
_DIGITS = 6

_Document = TypeVar("_Document", bound=BaseModel)


class DemandFileError(ValueError):
    """A history or a forecast of demand that cannot be read; the message names file and field."""


def _printable(text: str) -> str:
    if not text or len(text) > 200 or not text.isprintable():
        raise ValueError("must be 1 to 200 printable characters")
    return text


PrintableName = Annotated[str, AfterValidator(_printable)]
NotNegative = Annotated[float, Field(ge=0, le=1e12)]
Series = tuple[NotNegative | None, ...]


class DemandPart(BaseModel):
    """What all parts of such files have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecordedWorkload(DemandPart):
    """One workload, step by step, null where nothing was recorded. selector says of which series."""

    selector: PrintableName
    rate_rps: Series
    input_mean_tokens: Series
    input_p99_tokens: Series
    output_mean_tokens: Series
    output_p99_tokens: Series


LENGTHS = ("input_mean_tokens", "input_p99_tokens", "output_mean_tokens", "output_p99_tokens")


class DemandHistory(DemandPart):
    """Steps of equal length from start, which is a whole hour of UTC; value i is of the time from start + i * step_s for step_s."""

    schema_version: Literal[1] = 1
    kind: Literal["demand history"] = "demand history"
    start: str
    step_s: int = Field(ge=60, le=HOUR_S)
    workloads: dict[PrintableName, RecordedWorkload] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> DemandHistory:
        moment_of(self.start)
        if HOUR_S % self.step_s:
            raise ValueError(f"step_s {self.step_s} does not divide an hour, {HOUR_S} s")
        count = len(next(iter(self.workloads.values())).rate_rps)
        if not 0 < count <= MOST_STEPS:
            raise ValueError(f"has {count} steps; allowed are 1 to {MOST_STEPS}")
        for name, workload in self.workloads.items():
            for field in ("rate_rps", *LENGTHS):
                if len(getattr(workload, field)) != count:
                    raise ValueError(f"workloads.{name}.{field} has {len(getattr(workload, field))} steps, others have {count}")
        return self

    @property
    def span_s(self) -> int:
        """From the start to the end of the last step."""
        return len(next(iter(self.workloads.values())).rate_rps) * self.step_s

    @property
    def first_hour(self) -> int:
        """The hour of the week, from Monday 00:00 UTC, at which it starts."""
        start = moment_of(self.start)
        return start.weekday() * 24 + start.hour


def moment_of(text: str) -> datetime:
    """A time as such files write it, `2026-11-16T00:00:00Z`; ValueError for others, and for what is no whole hour."""
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time; write it in UTC, as 2026-11-16T00:00:00Z") from None
    if moment.minute or moment.second:
        raise ValueError(f"{text} is no whole hour")
    return moment


def written(moment: datetime) -> str:
    """A time in UTC as such files write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rounded(value: float) -> float:
    """The number to six digits, as it stands in such files."""
    return float(f"{value:.{_DIGITS}g}")


def hourly(history: DemandHistory, workload: RecordedWorkload) -> dict[str, Values]:
    """Rate and lengths by hour, not-a-number where nothing was recorded.

    The rate is the mean of an hour's steps, a mean length that of its requests, a p99 the largest.
    """
    per_hour = HOUR_S // history.step_s
    rates = _by_hour(workload.rate_rps, per_hour)
    found = {"rate_rps": _weighted(rates, np.ones_like(rates))}
    for field in LENGTHS:
        steps = _by_hour(getattr(workload, field), per_hour)
        if "p99" in field:
            known = np.where(np.isnan(steps), -np.inf, steps).max(axis=1)
            found[field] = np.where(np.isinf(known), np.nan, known)
        else:
            found[field] = _weighted(steps, np.nan_to_num(rates))
    return found


def _by_hour(series: Series, per_hour: int) -> Values:
    values = np.array([np.nan if value is None else value for value in series], dtype=np.float64)
    return np.concatenate([values, np.full(-len(values) % per_hour, np.nan)]).reshape(-1, per_hour)


def _weighted(steps: Values, weights: Values) -> Values:
    known = np.where(np.isnan(steps), 0.0, weights)
    total = known.sum(axis=1)
    summed = (np.nan_to_num(steps) * known).sum(axis=1)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)


def read_document(kind: type[_Document], raw: bytes, source: str) -> _Document:
    """A history or a forecast from the bytes of a file; DemandFileError names the file and what is wrong in it."""
    wanted = kind.model_fields["kind"].default
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DemandFileError(f"{source}: is no {wanted}: not JSON that can be read") from error
    if not isinstance(found, dict) or found.get("kind") != wanted:
        is_kind = found.get("kind") if isinstance(found, dict) else None
        raise DemandFileError(f"{source}: is no {wanted}: kind is {str(is_kind)[:60]!r}")
    version = found.get("schema_version")
    if version != 1:
        raise DemandFileError(
            f"{source}: schema_version is {str(version)[:20]}, this ullage reads 1; make the file again with this version"
        )
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        lines = [f"{source}: {'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()[:_MOST_FAULTS]]
        raise DemandFileError("\n".join(lines)) from error
