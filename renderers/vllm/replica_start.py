"""How one replica is started: command line, environment and time limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from math import ceil

from planner.plan import EngineArgs, ExtraArg, Replica, is_shared
from planner.plan.extra_args import NO, YES
from renderers.manifest import RenderError
from renderers.no_credentials import refuse_credentials
from renderers.vllm.option_table import table_for

# Our choice, Kubernetes' default grace period: an engine told to stop finishes what it is answering for this long.
SHUTDOWN_TIMEOUT_S = 30

# Our choice: forecasts of starts move a little from plan to plan, and neighbours come and go; neither shall replace an engine.
_LIMIT_STEP_S = 300
_TURNS_STEP = 4

# Name of the variable with the limit of a start; it says nothing about an engine that runs.
START_LIMIT = "VLLM_ENGINE_READY_TIMEOUT_S"

# No part of what a plan means: versions without such a flag are started without it.
_WISHES = frozenset({"--shutdown-timeout"})


def command(replica: Replica) -> tuple[str, ...]:
    """Arguments of the replica's `vllm serve`, each flag and value checked against the option table of its version.

    Raises RenderError: a flag or value the version refuses, an access token among the values, a sleep surface in reach of others.
    """
    refuse_credentials(replica, f"replica {replica.name!r}")
    if replica.args.model == "" or replica.args.model.startswith("-"):
        raise RenderError(
            f"replica {replica.name!r}, args.model: {replica.args.model!r} is empty or looks like a flag; name a model or a folder"
        )
    table = table_for(replica.engine_version).table
    words = ["vllm", "serve", replica.args.model]
    for flag, value in (*_flags(replica.args), *_added(replica)):
        if flag in _WISHES and flag not in table.options:
            continue
        values = value if isinstance(value, tuple) else (value,)
        for each in values:
            try:
                table.check(flag, each)
            except RenderError as error:
                raise RenderError(f"replica {replica.name!r}: {error}") from error
        words += [flag, *(each for each in values if each is not None)]
    return tuple(words)


def _added(replica: Replica) -> tuple[tuple[str, str | None], ...]:
    try:
        return tuple(extra_flags(replica.engine_version, replica.args.extra_args))
    except RenderError as error:
        raise RenderError(f"replica {replica.name!r}: {error}") from error


def _flags(args: EngineArgs) -> Iterator[tuple[str, str | tuple[str, ...] | None]]:
    yield "--served-model-name", (args.served_model_name, *args.also_served_as)
    yield "--host", args.host
    yield "--port", str(args.port)
    yield "--dtype", args.dtype
    if args.revision is not None:
        yield "--revision", args.revision
    if args.quantization is not None:
        yield "--quantization", args.quantization
    yield "--tensor-parallel-size", str(args.tensor_parallel_size)
    yield "--max-model-len", str(args.max_model_len)
    yield "--max-num-seqs", str(args.max_num_seqs)
    yield "--max-num-batched-tokens", str(args.max_num_batched_tokens)
    yield "--kv-cache-dtype", args.kv_cache_dtype
    # Plain bytes: vLLM takes 128M but refuses 128Mi. Encoders have no cache.
    if args.kv_cache_memory_bytes:
        yield "--kv-cache-memory-bytes", str(args.kv_cache_memory_bytes)
    # vLLM holds this share against the free memory when it starts, even when the bytes of the cache are given.
    yield "--gpu-memory-utilization", repr(args.gpu_memory_utilization)
    yield "--stream-interval", str(args.stream_interval)
    yield "--shutdown-timeout", str(SHUTDOWN_TIMEOUT_S)
    if args.lora_modules:
        yield "--enable-lora", None
        yield "--max-loras", str(args.max_loras)
        yield "--max-lora-rank", str(args.max_lora_rank)
        yield "--lora-modules", tuple(f"{module.name}={module.path}" for module in args.lora_modules)
    if args.scheduling_policy != "fcfs":
        yield "--scheduling-policy", args.scheduling_policy
    if args.runner is not None:
        yield "--runner", args.runner
    if args.hf_overrides is not None:
        yield "--hf-overrides", args.hf_overrides
    if args.enforce_eager:
        yield "--enforce-eager", None
    if args.enable_sleep_mode:
        yield "--enable-sleep-mode", None


def extra_flags(engine_version: str, extra: Sequence[ExtraArg]) -> Iterator[tuple[str, str | None]]:
    """Flags and values that a user added, checked against the option table of the version; RenderError for what it refuses."""
    table = table_for(engine_version).table
    for arg in extra:
        flag, value = f"--{arg.flag}", arg.value
        option = table.options.get(flag)
        if option is not None and option.nargs == 0:
            if value not in YES | NO:
                raise RenderError(f"vLLM {table.version}, {flag}: takes no value, write true or false instead of {value!r}")
            if value in NO and option.default is False and f"--no-{arg.flag}" not in table.options:
                # It has no flag to say no with, and no is what it does unasked.
                continue
            flag, found = (flag if value in YES else f"--no-{arg.flag}"), None
        else:
            found = value
        table.check(flag, found)
        yield flag, found


def environment(replica: Replica) -> dict[str, str]:
    """Variables to set for the replica's process, sorted by name.

    A replica in a MIG slice gets no CUDA_VISIBLE_DEVICES here: the slice's UUID is known on its machine only, whoever starts the
    process sets it (the rendered script takes it from the variable `mig_variable`). One that shares its GPU by MPS gets its part of the
    threads; where its daemon is, whoever starts both says. Raises RenderError as `command` does.
    """
    refuse_credentials(replica, f"replica {replica.name!r}")
    variables = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        START_LIMIT: str(ready_limit_s(replica)),
        "VLLM_NO_USAGE_STATS": "1",
    }
    if replica.mig is None:
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, replica.gpus))
    if replica.args.active_thread_percentage is not None:
        variables["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(replica.args.active_thread_percentage)
    if replica.args.enable_sleep_mode:
        if not _is_loopback(replica.args.host):
            raise RenderError(
                f"replica {replica.name!r}, args.host: {replica.args.host!r} with enable_sleep_mode lets anyone who reaches it put the "
                "engine to sleep, since vLLM does not guard these paths; listen on 127.0.0.1 or leave sleep mode off"
            )
        variables["VLLM_SERVER_DEV_MODE"] = "1"
    return dict(sorted(variables.items()))


def arguments_sha256(replica: Replica) -> str:
    """SHA-256 in hex of everything that makes the running replica what it is: command line, rendered environment and MIG place.

    The limit of its start is no part of it: another forecast of the start changes nothing in an engine that runs. Raises
    RenderError as `command` does.
    """
    place = None if replica.mig is None else [replica.mig.profile, replica.mig.start, *replica.gpus]
    variables = {name: value for name, value in environment(replica).items() if name != START_LIMIT}
    started_with = json.dumps([command(replica), variables, place], sort_keys=True)
    return hashlib.sha256(started_with.encode()).hexdigest()


def mig_variable(replica: Replica) -> str | None:
    """Name of the variable that must hold the UUID of the replica's MIG instance; None for a replica outside MIG."""
    return None if replica.mig is None else f"ULLAGE_MIG_GPU{replica.gpus[0]}_START{replica.mig.start}"


def ready_limit_s(replica: Replica) -> int:
    """Seconds a start may take before it counts as failed: slow storage, a reserve, and the expected start itself."""
    # Measured: weights load at about 1 GiB/s per GPU; half of it (512 MiB/s) is the slowest still believed, plus 120 s of reserve.
    return ceil(replica.ledger.weights_mib / 512 + 120 + replica.start_s)


def steady_limit_s(replica: Replica, extra_s: float = 0.0) -> int:
    """Seconds that a start may take, and extra_s more, in steps: where what says the limit is replaced when it changes, it rarely does."""
    return _LIMIT_STEP_S * ceil((ready_limit_s(replica) + extra_s) / _LIMIT_STEP_S)


def turns_limit_s(replica: Replica, limit_s: int) -> int:
    """Seconds until a start that takes turns on its GPU must have ended: as many starts as residents may be there, in steps of four."""
    return _TURNS_STEP * ceil(replica.max_residents / _TURNS_STEP) * limit_s if is_shared(replica.mode) else limit_s


def probe_url(replica: Replica) -> str:
    """Where the replica can be asked from its own machine."""
    # A server that listens everywhere is asked on loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(replica.args.host, replica.args.host)  # noqa: S104
    return f"http://[{host}]:{replica.args.port}" if ":" in host else f"http://{host}:{replica.args.port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
