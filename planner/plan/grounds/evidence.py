"""What of a plan rests on measurements, and what on assumptions."""

from __future__ import annotations

from planner.plan.bounds import PerSecond, PlanPart, Some, WholeNumber


class MeasuredMemory(PlanPart):
    """Constants of the ledgers of engines of this version on this GPU type (and its MIG slices) with this tensor-parallel size.

    They rest on so many starts of so many models and replace those shipped with the engine version (profiles.memory.measured).
    """

    engine_version: str
    gpu_type: str
    tensor_parallel_size: Some
    starts: Some
    models: Some
    sampler_bytes_per_logit: PerSecond
    forward_hidden_widths: PerSecond
    fixed_activation_mib: PerSecond
    non_torch_mib: PerSecond
    non_torch_spread_mib: PerSecond
    context_mib: PerSecond
    graphs_fixed_mib: PerSecond


class SharingSaving(PlanPart):
    """What time-shared GPUs save against one GPU for each replica: beside neighbours measured together, and beside others.

    Money at the pools' prices, of rentable pools for whole nodes only.
    """

    measured_gpus: WholeNumber
    assumed_gpus: WholeNumber
    measured_usd_per_h: float
    assumed_usd_per_h: float
