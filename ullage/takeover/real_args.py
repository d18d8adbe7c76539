"""The arguments that a server really has, in the plan's words, and what of them nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.hand_started.found_servers import FoundServer
from executor.hand_started.serve_command import SECRET_WORD, ServeCommand, ServeFlag, read_arguments, whole_number
from planner.hosts import is_everywhere
from planner.plan import EngineArgs, ExtraArg, LoraModule, Replica
from planner.plan.extra_args import OWNED, SECRET
from planner.plan.local_paths import is_local, located
from planner.spec import Model
from profiles.engine_versions import KNOWN_FLAGS
from profiles.gpu_types import GpuType, settings_on
from profiles.memory.kv import has_cache, kv_bytes_per_block
from renderers import vllm
from renderers.vllm.option_table import table_for

_DTYPES = {"half": "float16", "float": "float32"}
# of EngineArgs, beside those that the plan owns
_FIELDS = OWNED | {"hf-overrides", "task"}


class NotAdoptedError(ValueError):
    """Why a server cannot become a replica."""


def real_args(server: FoundServer, model: Model, served_name: str, host: str, gpu: GpuType, folder: Path) -> tuple[EngineArgs, list[str]]:
    """The arguments, and assumptions for people. folder is the fleet file's. Raises NotAdoptedError where the KV pool is not known."""
    command, answers = server.engine.command, server.answers
    assumed: list[str] = []

    def known(what: str, found: int | None, otherwise: int) -> int:
        if found is None:
            assumed.append(f"{what} is not told: {otherwise} of the fleet file is assumed")
        return otherwise if found is None else found

    dtype = command.value("dtype")
    fields: dict[str, Any] = {
        "model": model.engine_model,
        "served_model_name": served_name,
        "host": host,
        "port": command.port,
        "dtype": model.dtype if dtype in {None, "auto"} else _DTYPES.get(str(dtype), dtype),
        "max_model_len": known("max_model_len", command.number("max-model-len") or answers.max_model_len, model.max_model_len),
        "max_num_seqs": known("max_num_seqs", command.number("max-num-seqs"), model.max_num_seqs),
        "max_num_batched_tokens": known("max_num_batched_tokens", command.number("max-num-batched-tokens"), model.max_num_batched_tokens),
        "kv_cache_memory_bytes": 0,
        "gpu_memory_utilization": float(command.value("gpu-memory-utilization") or _default("gpu-memory-utilization")),
        "tensor_parallel_size": command.number("tensor-parallel-size") or 1,
        "quantization": command.value("quantization"),
        "kv_cache_dtype": command.value("kv-cache-dtype") or "auto",
        "revision": command.value("revision"),
        "stream_interval": command.number("stream-interval") or 1,
        "enable_sleep_mode": command.switched("enable-sleep-mode"),
        "enforce_eager": command.switched("enforce-eager"),
        "runner": "pooling" if command.value("runner") == "pooling" else None,
        "hf_overrides": command.value("hf-overrides"),
        "extra_args": tuple(_extra(command, model, folder)),
    }
    args = EngineArgs(**fields | _adapters(command))
    version = answers.version or model.engine_version
    return args.model_copy(update={"kv_cache_memory_bytes": _kv_bytes(server, model, args, version, gpu)}), assumed


def _kv_bytes(server: FoundServer, model: Model, args: EngineArgs, version: str, gpu: GpuType) -> int:
    """The pool that it has on each GPU: what it was told, else its blocks."""
    answers = server.answers
    if not has_cache(model.architecture):
        return 0
    told = answers.kv_bytes or server.engine.command.number("kv-cache-memory-bytes")
    if told:
        return told
    if answers.kv_blocks is None:
        raise NotAdoptedError("the size of its KV pool is not known: its /metrics does not tell it")
    settings = settings_on(gpu, args.settings(version))
    if answers.block_size is not None:
        settings = replace(settings, block_size=answers.block_size)
    return answers.kv_blocks * kv_bytes_per_block(model.architecture, settings)


def _default(flag: str) -> str:
    return str(table_for(KNOWN_FLAGS).table.options[f"--{flag}"].default)


def _adapters(command: ServeCommand) -> dict[str, Any]:
    given = next((flag.values for flag in reversed(command.flags) if flag.name == "lora-modules"), ())
    if not given:
        return {}
    pairs = [word.partition("=") for word in given]
    if any(not equals or name.startswith("{") for name, equals, _ in pairs):
        raise NotAdoptedError("one of its --lora-modules is not written NAME=PATH")
    return {
        "lora_modules": tuple(LoraModule(name=name, path=path) for name, _, path in sorted(pairs)),
        "max_loras": command.number("max-loras") or 1,
        "max_lora_rank": command.number("max-lora-rank") or 16,
    }


def _extra(command: ServeCommand, model: Model, folder: Path) -> Iterator[ExtraArg]:
    """Other flags by name, local files as the fleet file writes them."""
    written = dict(model.extra_args)
    last = {flag.name: flag for flag in command.flags}
    for name in sorted(last.keys() - _FIELDS - set(SECRET)):
        flag = last[name]
        if len(flag.values) > 1 or SECRET_WORD in flag.words:
            raise NotAdoptedError(f"--{name} has several values, or a secret, which a plan cannot hold")
        value = flag.values[0] if flag.values else str(flag.on).lower()
        same = written.get(name)
        if same is not None and is_local(same) and str(located(same, folder)) == value:
            value = same
        yield ExtraArg(flag=name, value=value)


def differences(server: FoundServer, replica: Replica, assumed: list[str]) -> tuple[str, ...]:
    """What is otherwise than if ullage had started it, for people."""
    real = server.engine.command
    rendered = read_arguments(vllm.command(replica)[2:])
    lines = list(assumed)
    left, right = ({flag.name: flag for flag in command.flags} for command in (real, rendered))
    for name in sorted((left.keys() & right.keys()) - {"model"}):
        if not _alike(left[name], right[name]):
            lines.append(f"started with {left[name].words}; ullage would write {right[name].words}")
    lines += [f"started with {left[name].words}; ullage would leave it out" for name in sorted(left.keys() - right.keys() - {"model"})]
    added = " ".join(right[name].words for name in sorted(right.keys() - left.keys()))
    if added:
        lines.append(f"ullage would add {added}")
    if is_everywhere(real.host) and not is_everywhere(replica.host):
        lines.append(f"it listens on every interface; ullage would let it listen on {replica.host}")
    if server.answers.kv_bytes is None and real.value("kv-cache-memory-bytes") is None and replica.args.kv_cache_memory_bytes:
        lines.append("it found the size of its KV pool by itself; started again, it is given this size")
    if server.answers.version is None:
        lines.append(f"its version is not told: {replica.engine_version} of the fleet file is assumed")
    if real.not_understood:
        lines.append(f"flags that nobody here knows, and a restart would lose: {' '.join(real.not_understood)}")
    return (*lines, *_surroundings(server))


def _alike(one: ServeFlag, other: ServeFlag) -> bool:
    """Whether two spellings say the same: 4K and 4096, 0.90 and 0.9."""
    numbers = [whole_number(flag.values[-1] if flag.values else None) for flag in (one, other)]
    if None not in numbers:
        return numbers[0] == numbers[1]
    try:
        return float(" ".join(one.values)) == float(" ".join(other.values))
    except ValueError:
        return one.words == other.words


def _surroundings(server: FoundServer) -> Iterator[str]:
    engine = server.engine
    if engine.unit is not None and engine.unit.endswith(".service"):
        yield f"{engine.unit} started it, and may start it again when ullage stops it: disable the unit, without stopping it"
    if engine.process.session != engine.pid:
        yield f"it runs in the session of process {engine.process.session}, and may end with its terminal"
