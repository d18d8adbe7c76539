"""The margin of a plan in numbers that people set: what is promised, and under which stress."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Risk(BaseModel):
    """How sure a plan is to be.

    attainment_fraction of each model's requests meet both goals: when all steps take as long as at step_quantile of their predicted
    spread, and when neighbours on a time-shared GPU cost interference_factor times their equal share (or as much as was measured). A plan
    that relies on a simulation instead of the closed formulas keeps this with spare_load_factor times the load.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attainment_fraction: float = Field(default=0.99, ge=0.5, lt=1)
    step_quantile: float = Field(default=0.9, ge=0.5, le=1)
    interference_factor: float = Field(default=1.3, ge=1, le=10)
    spare_load_factor: float = Field(default=1.1, ge=1, le=10)
