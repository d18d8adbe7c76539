"""What a plan says it rests on: constants of measured starts stay on the safe side, the saving by sharing is counted as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from planner.plan import Desired, MeasuredMemory, Replica, is_shared
from profiles.memory.engine_constants import ByLayout, EngineConstants, constants_for

# Fewer starts, or of fewer models, may only raise what is shipped (docs/profile.md).
LEAST_STARTS = 5
LEAST_MODELS = 3


def evidence_problems(desired: Desired) -> Iterator[str]:
    """What is wrong with the constants of measured starts and with the saving by sharing."""
    keys = Counter(_key(item) for item in desired.measured_memory)
    for item in desired.measured_memory:
        where = f"measured_memory of vLLM {item.engine_version} on {item.gpu_type}, tensor-parallel size {item.tensor_parallel_size}"
        if keys[_key(item)] > 1:
            yield f"{where}: is listed {keys[_key(item)]} times"
        yield from _too_low(item, where)
    saving = desired.sharing_saving
    if saving is not None:
        counted = _saved(desired, "measured"), _saved(desired, "assumed")
        if (saving.measured_gpus, saving.assumed_gpus) != counted:
            yield (
                f"sharing_saving says {saving.measured_gpus} GPUs measured and {saving.assumed_gpus} assumed, "
                f"the GPUs of the plan show {counted[0]} and {counted[1]}"
            )


def measured_constants(desired: Desired, replica: Replica, gpu_type: str) -> EngineConstants | None:
    """The constants that the plan says its ledger rests on; None: those shipped."""
    wanted = (replica.engine_version, gpu_type, replica.args.tensor_parallel_size)
    item = next((item for item in desired.measured_memory if _key(item) == wanted), None)
    if item is None:
        return None
    return replace(
        constants_for(item.engine_version),
        sampler_bytes_per_logit=item.sampler_bytes_per_logit,
        forward_hidden_widths=item.forward_hidden_widths,
        fixed_activation_mib=item.fixed_activation_mib,
        non_torch=_everywhere(item.non_torch_mib),
        non_torch_spread=_everywhere(item.non_torch_spread_mib),
        context=_everywhere(item.context_mib),
        graphs_fixed_mib=item.graphs_fixed_mib,
    )


def _everywhere(value_mib: float) -> ByLayout:
    return ByLayout(value_mib, value_mib, value_mib)


def _key(item: MeasuredMemory) -> tuple[str, str, int]:
    return item.engine_version, item.gpu_type, item.tensor_parallel_size


def _too_low(item: MeasuredMemory, where: str) -> Iterator[str]:
    few = item.starts < LEAST_STARTS or item.models < LEAST_MODELS
    for name, is_value in _shipped(item).items():
        said = getattr(item, name)
        if said < is_value and name in {"graphs_fixed_mib", "non_torch_spread_mib"}:
            yield f"{where}: {name} is {said:g}, below the shipped {is_value:g}; measurements may only raise this value"
        elif said < is_value and few:
            yield (
                f"{where}: {name} is {said:g}, below the shipped {is_value:g}: {item.starts} starts of {item.models} models may only "
                f"raise it; to lower it, {LEAST_STARTS} starts of {LEAST_MODELS} models are needed"
            )


def _shipped(item: MeasuredMemory) -> dict[str, float]:
    shipped = constants_for(item.engine_version)
    single = item.tensor_parallel_size == 1
    return {
        "sampler_bytes_per_logit": shipped.sampler_bytes_per_logit,
        "forward_hidden_widths": shipped.forward_hidden_widths,
        "fixed_activation_mib": shipped.fixed_activation_mib,
        "non_torch_mib": shipped.non_torch.single_mib if single else shipped.non_torch.tensor_parallel_mib,
        "non_torch_spread_mib": shipped.non_torch_spread.single_mib if single else shipped.non_torch_spread.tensor_parallel_mib,
        "context_mib": shipped.context.single_mib if single else shipped.context.tensor_parallel_mib,
        "graphs_fixed_mib": shipped.graphs_fixed_mib,
    }


def _saved(desired: Desired, known: str) -> int:
    asleep = {item.name for item in desired.asleep}
    shared = (gpu for gpu in desired.gpus if is_shared(gpu.mode) and gpu.interference == known)
    return sum(max(0, len({*gpu.replicas} - asleep) - 1) for gpu in shared)
