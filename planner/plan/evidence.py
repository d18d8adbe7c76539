"""What of a plan rests on measurements, and what on assumptions."""

from __future__ import annotations

from planner.plan.part import Count, Part, Rate, Some


class MeasuredMemory(Part):
    """Constants of the ledgers of engines of this version on this GPU type (and its MIG slices) with this tensor-parallel size.

    They rest on so many starts of so many models and replace those shipped with the engine version (profiles.memory.measured).
    """

    engine_version: str
    gpu_type: str
    tensor_parallel_size: Some
    starts: Some
    models: Some
    sampler_bytes_per_logit: Rate
    forward_hidden_widths: Rate
    fixed_activation_mib: Rate
    non_torch_mib: Rate
    non_torch_spread_mib: Rate
    context_mib: Rate
    graphs_fixed_mib: Rate


class SharingSaving(Part):
    """What time-shared GPUs save against one GPU for each replica: beside neighbours measured together, and beside others.

    Money at the pools' prices, of rentable pools for whole nodes only.
    """

    measured_gpus: Count
    assumed_gpus: Count
    measured_usd_per_h: float
    assumed_usd_per_h: float
