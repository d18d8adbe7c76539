"""How changed replicas are let in, in numbers that people set."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Rollout(BaseModel):
    """How changed replicas are let in: with canary_fraction of their model's requests, for window_s seconds; 0 s: at once and unwatched."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    canary_fraction: float = Field(default=0.1, gt=0, le=1)
    window_s: float = Field(default=0.0, ge=0, le=1e9)
