"""Engine by engine: what its arguments ask for can run, fits, and starts beside its neighbours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from planner.check.evidence import measured_constants
from planner.plan import Desired, EngineArgs, GpuPlan, Ledger, Replica
from planner.plan.extra_args import refusal
from planner.plan.vllm_args import loaded
from planner.sleep_costs import asleep_mib
from profiles.engine_versions import MIG_BY_UUID, SLEEP_MODE, lacking, plan_reason
from profiles.gpu_types import GpuType, settings_on
from profiles.memory.engine_constants import EngineConstants
from profiles.memory.kv import min_kv_bytes
from profiles.memory.ledger import memory_ledger
from profiles.memory.pool import pool_reason
from profiles.models import Architecture
from profiles.precision import quantization_reason

MIB = 1024 * 1024


def engine_problems(desired: Desired, gpu_type: Callable[[str], GpuType], architecture: Callable[[str], Architecture]) -> Iterator[str]:
    """What is wrong with the ledger, KV pool and start of each replica."""
    gpus = {(gpu.node, gpu.index): gpu for gpu in desired.gpus}
    used_mib: defaultdict[tuple[str, int], int] = defaultdict(int)
    asleep = {item.name for item in desired.asleep}
    for replica in desired.replicas:
        for index in replica.gpus:
            used_mib[replica.node, index] += asleep_mib(replica) if replica.name in asleep else replica.ledger.total_mib
    for replica in desired.replicas:
        spots = [gpus[replica.node, index] for index in replica.gpus if (replica.node, index) in gpus]
        if spots:
            where = f"replica {replica.name}"
            yield from _added(replica, where)
            constants = measured_constants(desired, replica, spots[0].gpu_type)
            yield from _memory(replica, gpu_type(spots[0].gpu_type), architecture, constants, where)
            # what a sleeper finds when it starts is a matter of the actions
            for spot in spots if replica.name not in asleep else ():
                yield from _start(replica, spot, used_mib[spot.node, spot.index], gpu_type(spot.gpu_type), where)


def _added(replica: Replica, where: str) -> Iterator[str]:
    """Versions that cannot be planned, and flags that nobody may add."""
    version = replica.engine_version
    needed = (MIG_BY_UUID,) * (replica.mig is not None) + (SLEEP_MODE,) * replica.args.enable_sleep_mode
    for reason in (plan_reason(version), lacking(version, *needed)):
        if reason is not None:
            yield f"{where}: {reason}"
    for extra in replica.args.extra_args:
        refused = refusal(extra.flag)
        if refused is not None:
            yield f"{where}: --{extra.flag} {refused}"


def _memory(
    replica: Replica, gpu: GpuType, architecture: Callable[[str], Architecture], constants: EngineConstants | None, where: str
) -> Iterator[str]:
    args = replica.args
    settings = settings_on(gpu, args.settings(replica.engine_version))
    try:
        bare = architecture(replica.catalogue_model)
        model = loaded(bare, args, architecture)
        if architecture(args.model) != bare:
            yield f"{where}: its engine would load {args.model}, the plan is made for {replica.catalogue_model}"
        expected = memory_ledger(model, gpu, settings, args.kv_cache_memory_bytes, constants)
        small = pool_reason(model, settings, args.kv_cache_memory_bytes)
        yield from _pooling(args, bare, where)
    except ValueError as error:
        yield f"{where}: {error}"
        return
    numbers = [line for line in Ledger.model_fields if line.endswith("_mib")]
    lines = {line: (getattr(replica.ledger, line), getattr(expected, line)) for line in numbers}
    for line, (said_mib, is_mib) in lines.items():
        if said_mib is not None and said_mib != is_mib:
            yield f"{where}: the ledger says {line} is {said_mib} MiB, the memory model {is_mib} MiB"
    yield from _floor(replica, min_kv_bytes(model, settings), where)
    for reason in (small, quantization_reason(model, args.quantization)):
        if reason is not None:
            yield f"{where}: {reason}"
    if len(args.lora_modules) > (args.max_loras or 0):
        yield f"{where}: {len(args.lora_modules)} adapters in {args.max_loras or 0} slots"
    if (args.served_model_name, args.host) != (replica.served_name, replica.host):
        yield f"{where}: its engine would serve {args.served_model_name} on {args.host}, not {replica.served_name} on {replica.host}"


def _floor(replica: Replica, request_bytes: int, where: str) -> Iterator[str]:
    """The floor of a KV pool lies within the pool, and is one itself: it holds a longest request."""
    floor_mib = replica.kv_floor_mib
    if floor_mib is None:
        return
    if floor_mib > replica.ledger.kv_mib:
        yield f"{where}: kv_floor_mib is {floor_mib} MiB, but its KV pool has {replica.ledger.kv_mib} MiB"
    if floor_mib * MIB < request_bytes:
        yield f"{where}: kv_floor_mib {floor_mib} does not hold a request of {replica.args.max_model_len} tokens, {request_bytes} bytes"


def _pooling(args: EngineArgs, model: Architecture, where: str) -> Iterator[str]:
    """Whether the engine makes what the model can make."""
    if model.pooling and args.runner != "pooling":
        yield f"{where}: args.runner is {args.runner or 'missing'}, {model.name} makes vectors or scores and needs pooling"
    if args.runner == "pooling" and args.max_num_batched_tokens < args.max_model_len:
        yield f"{where}: args.max_num_batched_tokens {args.max_num_batched_tokens} do not hold a prompt of {args.max_model_len} tokens"
    if args.hf_overrides != ((model.hf_overrides or None) if args.runner == "pooling" else None):
        yield f"{where}: args.hf_overrides are not those that {model.name} needs"


def _start(replica: Replica, spot: GpuPlan, used_mib: int, gpu: GpuType, where: str) -> Iterator[str]:
    """vLLM starts only while gpu_memory_utilization of the whole device is free (request_memory in vllm/v1/worker/utils.py).

    Judged with every neighbour there already, so that it holds in every order of starts.
    """
    total_mib, neighbours_mib = spot.memory_mib, used_mib - replica.ledger.total_mib + spot.taken_mib
    if replica.mig is not None:
        total_mib = next((profile.memory_mib for profile in gpu.mig_profiles if profile.name == replica.mig.profile), 0)
        neighbours_mib = 0
        need_mib = replica.ledger.total_mib + replica.ledger.start_extra_mib
        if need_mib > total_mib:
            yield f"{where}: needs {need_mib} MiB, a {replica.mig.profile} slice of {gpu.name} has {total_mib} MiB"
    asked_mib = replica.args.gpu_memory_utilization * total_mib
    free_mib = total_mib - neighbours_mib - replica.ledger.context_mib
    if asked_mib > free_mib:
        yield (
            f"{where}: gpu_memory_utilization {replica.args.gpu_memory_utilization} needs {asked_mib:.0f} MiB free at its start; beside "
            f"its neighbours and its own context there are {free_mib} MiB on GPU {spot.index} of node {spot.node}"
        )
