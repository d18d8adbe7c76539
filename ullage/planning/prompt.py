"""What one long prompt would do to a plan: where it fits, how long it is read there, and whom it delays."""

from __future__ import annotations

from dataclasses import dataclass

from planner.plan import Plan, Replica, gpu_look_up, is_shared
from planner.plan.vllm_args import loaded
from planner.simulation.plan_input import replica_settings
from planner.sizing.sites import ASSUMED_INTERFERENCE_FACTOR
from profiles.catalogue import builtin
from profiles.gpu_types import GpuType
from profiles.latency.interference import group_factor
from profiles.latency.prediction import predict
from profiles.latency.steptime import StepTime, attended_pairs
from profiles.memory.admission import AnswerLengths, NewRequest, PoolState, admission
from profiles.memory.kv import has_cache, kv_blocks, kv_blocks_per_request
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements
from ullage.checking import FindArchitecture, architecture_of

# The shortest answer: one token.
_ONE_TOKEN = AnswerLengths((1,))


@dataclass(frozen=True, slots=True)
class PromptFit:
    """One replica and the prompt. reason says why it cannot take it; the times are then None.

    blocks are what the prompt and one token of answer take of pool_blocks. prefill_s is its reading at the guaranteed share and the sizing
    quantile, prefill_alone_s with the GPU to itself at the median. neighbours on its GPUs are delayed by at most delay_s in all: that much
    of the GPU's time goes to the prompt.
    """

    replica: str
    served_name: str
    fits: bool
    reason: str | None
    max_model_len: int
    blocks: int
    pool_blocks: int
    share_fraction: float
    prefill_s: float | None
    prefill_alone_s: float | None
    neighbours: tuple[str, ...]
    delay_s: float | None


def prompt_fits(
    plan: Plan, prompt_tokens: int, measurements: Measurements, architecture: FindArchitecture = architecture_of
) -> tuple[PromptFit, ...]:
    """The prompt on every replica of a plan, in the plan's order; measurements are those that the plan was made with."""
    types = {(gpu.node, gpu.index): gpu.gpu_type for gpu in plan.desired.gpus}
    look_up = gpu_look_up(plan.desired.gpu_types, builtin().gpu)
    return tuple(
        _prompt_fit(
            plan,
            replica,
            look_up(types[replica.node, replica.gpus[0]]),
            loaded(architecture(replica.catalogue_model), replica.args, architecture),
            prompt_tokens,
            measurements,
        )
        for replica in plan.desired.replicas
    )


def _prompt_fit(
    plan: Plan, replica: Replica, gpu: GpuType, architecture: Architecture, prompt_tokens: int, measurements: Measurements
) -> PromptFit:
    settings = replica_settings(replica, gpu)
    fits, blocks, pool = _room(architecture, settings, replica.args.kv_cache_memory_bytes, prompt_tokens)
    beside = _neighbours(plan, replica)
    share_fraction = 1.0 / replica.active_at_worst if replica.mode == "time_shared" else 1.0
    alone_s = delay_s = share_s = None
    if fits:
        mig = gpu.mig_profile(replica.mig.profile) if replica.mig is not None else None
        step = predict(architecture, gpu, settings, mig, measurements)
        alone_s = prefill_s(step, settings, prompt_tokens)
        factor = 1.0
        if is_shared(replica.mode):
            models = [item.catalogue_model for item in _on_its_gpus(plan, replica)]
            factor = group_factor(measurements, replica.catalogue_model, models, gpu.name, replica.mode, ASSUMED_INTERFERENCE_FACTOR)[0]
        busy_s = alone_s * factor * step.quantile(plan.desired.risk.step_quantile)
        share_s = busy_s / share_fraction
        delay_s = busy_s if beside else None
    return PromptFit(
        replica=replica.name,
        served_name=replica.served_name,
        fits=fits,
        reason=None if fits else _reason(prompt_tokens, architecture, settings, blocks, pool),
        max_model_len=settings.max_model_len,
        blocks=blocks,
        pool_blocks=pool,
        share_fraction=share_fraction,
        prefill_s=share_s,
        prefill_alone_s=alone_s,
        neighbours=tuple(sorted(item.name for item in beside)),
        delay_s=delay_s,
    )


def _room(architecture: Architecture, settings: EngineSettings, kv_bytes: int, prompt_tokens: int) -> tuple[bool, int, int]:
    """Whether an engine takes the prompt, the blocks it takes with its answer, and those there are; an encoder has none."""
    if not has_cache(architecture):
        return prompt_tokens <= settings.max_model_len, 0, 0
    pool = kv_blocks(architecture, settings, kv_bytes)
    if architecture.pooling:
        blocks = kv_blocks_per_request(architecture, settings, prompt_tokens)
        return prompt_tokens <= settings.max_model_len and blocks < pool, blocks, pool - 1
    admitted = admission(architecture, settings, PoolState(pool, ()), NewRequest(prompt_tokens, 1), _ONE_TOKEN)
    return admitted.can_ever_fit, admitted.most_blocks, pool - 1


def _neighbours(plan: Plan, replica: Replica) -> list[Replica]:
    """Replicas that take turns with it on its GPUs; with threads of its own it has nobody to wait for, nor has a MIG slice."""
    return _on_its_gpus(plan, replica) if replica.mode == "time_shared" else []


def _on_its_gpus(plan: Plan, replica: Replica) -> list[Replica]:
    return [
        other
        for other in plan.desired.replicas
        if other.name != replica.name and other.node == replica.node and set(other.gpus) & set(replica.gpus)
    ]


def prefill_s(step: StepTime, settings: EngineSettings, prompt_tokens: int) -> float:
    """Seconds to read a prompt on an idle engine that has its GPUs to itself: in chunks of max_num_batched_tokens."""
    seconds = 0.0
    for done in range(0, prompt_tokens, settings.max_num_batched_tokens):
        chunk = min(settings.max_num_batched_tokens, prompt_tokens - done)
        seconds += step.step_s(chunk, 0.0, 1.0, attended_pairs(chunk, done))
    return seconds


def _reason(prompt_tokens: int, architecture: Architecture, settings: EngineSettings, blocks: int, pool: int) -> str:
    if architecture.pooling and prompt_tokens > settings.max_model_len:
        return f"{prompt_tokens} tokens are more than max_model_len {settings.max_model_len}; raise it and plan again"
    if prompt_tokens >= settings.max_model_len and not architecture.pooling:
        return f"{prompt_tokens} tokens and one of answer are more than max_model_len {settings.max_model_len}; raise it and plan again"
    return f"it takes {blocks} blocks, the KV pool has {pool}; give the model a longer max_model_len or more KV cache and plan again"
