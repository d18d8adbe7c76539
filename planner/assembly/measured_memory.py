"""Which constants of measured starts the ledgers of replicas rest on, for the plan to say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planner.plan import MeasuredMemory, Replica
from profiles.gpu_types import GpuType
from profiles.memory.measured import MeasuredConstants, measured_constants
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements


def measured_memory(
    replicas: Sequence[Replica], gpu_of_pool: Mapping[str, GpuType], measurements: Measurements
) -> tuple[tuple[Replica, ...], tuple[MeasuredMemory, ...]]:
    """The replicas with the provenance of their ledgers, and the constants that are not those shipped, once each, sorted."""
    told: list[Replica] = []
    used: dict[tuple[str, str, int], MeasuredMemory] = {}
    for replica in replicas:
        gpu = gpu_of_pool[replica.pool]
        settings = EngineSettings(engine_version=replica.engine_version, tensor_parallel_size=replica.args.tensor_parallel_size)
        found = measured_constants(measurements, gpu, settings)
        if found is None:
            told.append(replica)
            continue
        used[replica.engine_version, gpu.name, settings.tensor_parallel_size] = _entry(found, gpu, settings)
        ledger = replica.ledger.model_copy(update={"provenance": found.constants.provenance})
        told.append(replica.model_copy(update={"ledger": ledger}))
    return tuple(told), tuple(used[key] for key in sorted(used))


def _entry(found: MeasuredConstants, gpu: GpuType, settings: EngineSettings) -> MeasuredMemory:
    constants = found.constants
    return MeasuredMemory(
        engine_version=settings.engine_version,
        gpu_type=gpu.name,
        tensor_parallel_size=settings.tensor_parallel_size,
        starts=found.starts,
        models=found.models,
        sampler_bytes_per_logit=constants.sampler_bytes_per_logit,
        forward_hidden_widths=constants.forward_hidden_widths,
        fixed_activation_mib=constants.fixed_activation_mib,
        non_torch_mib=constants.non_torch.of_mib(settings),
        non_torch_spread_mib=constants.non_torch_spread.of_mib(settings),
        context_mib=constants.context.of_mib(settings),
        graphs_fixed_mib=constants.graphs_fixed_mib,
    )
