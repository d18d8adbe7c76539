"""What every part of a plan has in common, and the bounds of its numbers.

The bounds are far beyond any machine there is: they keep out what is no number of its kind, so that nobody who reads a plan has to.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class PlanPart(BaseModel):
    """A part of a document: fixed, without fields that nobody knows, without NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# 16 TiB: a hundred of today's largest GPUs.
Mib = Annotated[int, Field(ge=0, le=1 << 24)]
KvBytes = Annotated[int, Field(ge=0, le=1 << 44)]
# below 1024 only the system's own services may listen
Port = Annotated[int, Field(ge=1024, le=65535)]
WholeNumber = Annotated[int, Field(ge=0, le=1_000_000)]
Some = Annotated[int, Field(ge=1, le=1_000_000)]
Tokens = Annotated[int, Field(ge=1, le=100_000_000)]
PerSecond = Annotated[float, Field(ge=0, le=1e9)]
Seconds = Annotated[float, Field(ge=0, le=1e7)]
Money = Annotated[float, Field(ge=0, le=1e9)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# whole per cent, as NVIDIA's MPS takes them
Percentage = Annotated[int, Field(ge=1, le=100)]
# of the memory of a device that an engine asks for: nothing starts with nothing
Utilization = Annotated[float, Field(gt=0, le=1)]
# a change every second for 3,000 years
Serial = Annotated[int, Field(ge=0, le=10**11)]
