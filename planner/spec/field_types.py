"""Types of single fields: how a text becomes a number with a unit, a name that exists, or one of a few words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, ValidationInfo, WithJsonSchema

from planner.demand.traces import MAX_TOKENS
from planner.plan.local_paths import is_local
from planner.spec.clock import CLOCK_TIME_PATTERN, DAYS_PATTERN, HOURS_PATTERN, ClockTime, read_days, read_hours, read_time
from planner.spec.nearest import nearest
from planner.spec.units import AMOUNT, BYTES, NUMBER_PATTERN, PRICE, RATE, SECONDS, Dimension, UnitError
from profiles.catalogue import Catalogue, UnknownNameError

MIB = 1024 * 1024

# Letters that are safe in file names, URLs, router clusters and vLLM's --served-model-name; 63 as in DNS labels (RFC 1035).
NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
# A DNS name, an IPv4 or an IPv6 address (RFC 1123, RFC 4291), without a port.
HOST_PATTERN = r"^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})$"


@dataclass(frozen=True, slots=True)
class Names:
    """What references may refer to: the catalogue and the names declared in the file."""

    catalogue: Catalogue
    pools: tuple[str, ...]
    models: tuple[str, ...]
    workloads: tuple[str, ...]


def _between(dimension: Dimension, high: str, *, zero: bool = False) -> Callable[[object], float]:
    def read(text: object) -> float:
        value = dimension.read(text)
        if value == 0 and not zero:
            raise UnitError("must be more than 0")
        if value > dimension.read(high):
            raise UnitError(f"is too large; at most {high} is allowed")
        return float(value)

    return read


def _mib(rounded: Callable[[float], int], high: str, *, zero: bool = False) -> Callable[[object], int]:
    read = _between(BYTES, high, zero=zero)
    return lambda text: rounded(read(text) / MIB)


def _schema(dimension: Dimension) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": dimension.pattern, "examples": list(dimension.examples)})


def _whole(text: object) -> object:
    """Refuse what pydantic would take for a whole number although it is not written as one ("8.0", "1_000", True)."""
    if isinstance(text, str) and not text.strip().removeprefix("-").isdecimal():
        raise ValueError(f"{text[:60]!r} is not a whole number")
    return text


def _known(kind: str, text: str, allowed: tuple[str, ...]) -> str:
    if text in allowed:
        return text
    close = nearest(text, allowed)
    hint = f"did you mean {close!r}? " if close else ""
    shown = ", ".join(sorted(allowed)[:20]) + (", ..." if len(allowed) > 20 else "")
    raise ValueError(f"no {kind} is called {text[:60]!r}; {hint}declared: {shown or 'none'}")


def _gpu(text: str, info: ValidationInfo) -> str:
    if info.context is not None and not is_local(text):
        try:
            info.context.catalogue.gpu(text)
        except UnknownNameError as error:
            raise ValueError(f"{error} (a file with its facts is written ./like/this.yaml)") from error
    return text


def _source(text: str, info: ValidationInfo) -> str:
    if info.context is not None and not is_local(text):
        try:
            info.context.catalogue.model(text)
        except UnknownNameError as error:
            raise ValueError(f"{error} (a local folder or config.json is written ./like/this)") from error
    return text


def _pool(text: str, info: ValidationInfo) -> str:
    return text if info.context is None else _known("pool", text, info.context.pools)


def _model(text: str, info: ValidationInfo) -> str:
    return text if info.context is None else _known("model", text, info.context.models)


def _neighbour(text: str, info: ValidationInfo) -> str:
    return text if info.context is None else _known("workload or model", text, info.context.workloads + info.context.models)


def _mig_word(value: Any) -> Any:  # noqa: ANN401 - whatever stands in the file
    if value in ("false", "False", "no"):
        return "off"
    if value in ("on", "true", "True", "yes"):
        raise ValueError(f"{value!r} does not say how; write repartition (layouts are chosen) or fixed (with mig_layout)")
    if value == "toggle":
        raise ValueError("'toggle' is not supported yet; write off, repartition or fixed")
    return value


def _version(value: object) -> object:
    if value != "1":
        raise ValueError(f"{str(value)[:20]!r} is not a version this ullage reads; write 1")
    return 1


def _decimal(text: object) -> object:
    if isinstance(text, str) and not re.fullmatch(rf"\s*-?{NUMBER_PATTERN}\s*", text):
        raise ValueError(f"{text[:60]!r} is not a number; write digits, with a point if need be")
    return text


Text = Annotated[str, Field(min_length=1, max_length=253)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Host = Annotated[str, Field(pattern=HOST_PATTERN)]
# The limits stand inside the type where a field may be left out: outside, pydantic writes them into the JSON Schema wrongly.
Whole = Annotated[int, BeforeValidator(_whole)]
Size = Annotated[int, Field(ge=1, le=64), BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=1, le=100_000), BeforeValidator(_whole)]
CountOrNone = Annotated[int, Field(ge=0, le=100_000), BeforeValidator(_whole)]
Sequences = Annotated[int, Field(ge=1, le=65_536), BeforeValidator(_whole)]
Priority = Annotated[int, Field(ge=0, le=1000), BeforeValidator(_whole)]
TokenCount = Annotated[int, Field(ge=1, le=MAX_TOKENS), BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_decimal)]
# a load that is hardly more is no burst; the end is that of planner.plan.Burst
BurstTimes = Annotated[float, Field(ge=1.01, le=100), BeforeValidator(_decimal)]
# From four tokens a byte, which no tokenizer has, to emoji in escapes.
BytesPerToken = Annotated[float, Field(ge=0.25, le=64), BeforeValidator(_decimal)]
# GB/s, TFLOP/s and USD/h of a GPU: far beyond those of any.
DeclaredSpeed = Annotated[float, Field(ge=0.01, le=1_000_000), BeforeValidator(_decimal)]
# 16 TiB are a hundred of today's largest GPUs.
DeviceMib = Annotated[int, Field(ge=1, le=1 << 24), BeforeValidator(_whole)]
DeviceMemory = Annotated[int, BeforeValidator(_mib(math.floor, "16TiB")), _schema(BYTES)]
# NVIDIA's GPUs have eight memory slices and seven compute slices (MIG user guide).
MigSlices = Annotated[int, Field(ge=1, le=8), BeforeValidator(_whole)]
MigStart = Annotated[int, Field(ge=0, le=7), BeforeValidator(_whole)]
# Ten years: longer than any plan holds.
Duration = Annotated[float, BeforeValidator(_between(SECONDS, "3650d")), _schema(SECONDS)]
Hours = Annotated[tuple[float, float], BeforeValidator(read_hours), WithJsonSchema({"type": "string", "pattern": HOURS_PATTERN})]
Days = Annotated[tuple[int, ...], BeforeValidator(read_days), WithJsonSchema({"type": "string", "pattern": DAYS_PATTERN})]
TimeOfDay = Annotated[InstanceOf[ClockTime], BeforeValidator(read_time), WithJsonSchema({"type": "string", "pattern": CLOCK_TIME_PATTERN})]
Moment = Annotated[float, BeforeValidator(_between(SECONDS, "3650d", zero=True)), _schema(SECONDS)]
# A million requests per second are beyond every fleet of inference servers.
Rate = Annotated[float, BeforeValidator(_between(RATE, "1000000/s")), _schema(RATE)]
# A hundred thousand dollars per GPU-hour: beyond every price list.
DeclaredAmount = Annotated[float, BeforeValidator(_between(AMOUNT, "1000000 USD")), _schema(AMOUNT)]
DeclaredPrice = Annotated[float, BeforeValidator(_between(PRICE, "100000 USD/h")), _schema(PRICE)]
# What must stay free is rounded up, what offers room is rounded down. 1024 TiB is beyond every node.
Reserve = Annotated[int, BeforeValidator(_mib(math.ceil, "1024TiB", zero=True)), _schema(BYTES)]
Room = Annotated[int, BeforeValidator(_mib(math.floor, "1024TiB")), _schema(BYTES)]
GpuName = Annotated[Text, AfterValidator(_gpu)]
DeclaredSource = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_source)]
PoolName = Annotated[str, AfterValidator(_pool)]
ModelName = Annotated[str, AfterValidator(_model)]
Neighbour = Annotated[str, AfterValidator(_neighbour)]
mig_word = BeforeValidator(_mig_word)
version = BeforeValidator(_version)
