"""What of a plan rests on measurements, and what on assumptions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredMemory(_Part):
    """Constants of the ledgers of engines of this version on this GPU type (and its MIG slices) with this tensor-parallel size.

    They rest on so many starts of so many models and replace those shipped with the engine version (profiles.memory.measured).
    """

    engine_version: str
    gpu_type: str
    tensor_parallel_size: PositiveInt
    starts: PositiveInt
    models: PositiveInt
    sampler_bytes_per_logit: NonNegativeFloat
    forward_hidden_widths: NonNegativeFloat
    fixed_activation_mib: NonNegativeFloat
    non_torch_mib: NonNegativeFloat
    non_torch_spread_mib: NonNegativeFloat
    context_mib: NonNegativeFloat
    graphs_fixed_mib: NonNegativeFloat


class SharingSaving(_Part):
    """What time-shared GPUs save against one GPU for each replica: beside neighbours measured together, and beside others.

    Money at the pools' prices, of rentable pools for whole nodes only.
    """

    measured_gpus: int
    assumed_gpus: int
    measured_usd_per_h: float
    assumed_usd_per_h: float
