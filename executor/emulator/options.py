"""The command line of `vllm serve`: every option of the engine version's table is parsed; some are acted on."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ENGINE_VERSION = "0.32.0"
# The packages lie side by side, in the source tree and when installed. Read as a file: importing `renderers` would load its template
# engine into every emulated process.
_TABLE = Path(__file__).parents[2] / "renderers" / "vllm" / "options" / f"{ENGINE_VERSION}.json"

# Suffixes of vLLM's human_readable_int: lower case decimal, upper case binary (vllm/engine/arg_utils.py).
_SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_HUMAN = re.compile(r"(\d+(?:\.\d+)?)([kmgtKMGT])")

# Options that would change where an engine listens or how it spreads, and that the emulator does not imitate.
_NOT_EMULATED: dict[str, Any] = {
    "config": None,
    "uds": None,
    "ssl_keyfile": None,
    "ssl_certfile": None,
    "root_path": None,
    "grpc": False,
    "headless": False,
    "device_ids": None,
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "api_server_count": None,
    "num_gpu_blocks_override": None,
    "kv_transfer_config": None,
}


def human_readable_int(text: str) -> int:
    """An integer with vLLM's suffixes.

    >>> human_readable_int("2K"), human_readable_int("25.6k"), human_readable_int("134217728")
    (2048, 25600, 134217728)
    """
    found = _HUMAN.fullmatch(text.strip())
    if found is None:
        return int(text)
    return int(float(found[1]) * _SUFFIXES[found[2]])


def _length(text: str) -> int:
    return -1 if text in {"auto", "-1"} else human_readable_int(text)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(text)
    return value


# Types of the options that are acted on, where the table only says that they may be absent.
_OWN_TYPES: dict[str, Callable[[str], Any]] = {
    "max_num_queued_reqs": _positive,
    "max_num_queued_tokens": _positive,
    "kv_cache_memory_bytes": human_readable_int,
    "gpu_memory_utilization": _fraction,
    "max_num_seqs": _positive,
    "stream_interval": _positive,
    "tensor_parallel_size": _positive,
    "block_size": _positive,
}
_TYPES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "loads": json.loads,
    "human_readable_int": human_readable_int,
    "human_readable_int_or_auto": _length,
}


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options an emulated engine acts on; names are vLLM's own, None leaves vLLM's default."""

    model: str
    served_names: tuple[str, ...]
    max_loras: int
    max_lora_rank: int
    host: str
    port: int
    api_keys: tuple[str, ...]
    dtype: str
    quantization: str | None
    kv_cache_dtype: str
    tensor_parallel_size: int
    max_model_len: int | None
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    kv_cache_memory_bytes: int | None
    gpu_memory_utilization: float
    block_size: int | None
    enforce_eager: bool
    stream_interval: int
    max_num_queued_reqs: int | None
    max_num_queued_tokens: int | None
    shutdown_timeout_s: int
    enable_sleep_mode: bool
    seed: int
    runner: str = "auto"
    speculative_config: str | None = None
    by_priority: bool = False


@cache
def _parser() -> argparse.ArgumentParser:
    table = json.loads(_TABLE.read_bytes())
    # No abbreviations: a shortened flag would pass here and mean another option in another version.
    parser = argparse.ArgumentParser(prog="vllm serve", allow_abbrev=False, description="vllm serve, emulated")
    for option in table["options"]:
        if option["dest"] != "help":
            _add(parser, option)
    return parser


def _add(parser: argparse.ArgumentParser, option: Mapping[str, Any]) -> None:
    flags, dest, nargs = option["flags"], option["dest"], option["nargs"]
    settings: dict[str, Any] = {"default": option["default"], "help": argparse.SUPPRESS}
    if nargs == 0:
        negative = [flag for flag in flags if flag.startswith("--no-")]
        positive = [flag for flag in flags if flag not in negative]
        parser.add_argument(*positive, dest=dest, action="store_true", **settings)
        if negative:
            parser.add_argument(*negative, dest=dest, action="store_false", **settings)
        return
    convert = settings["type"] = _OWN_TYPES.get(dest) or _TYPES.get(option["type"] or "", str)
    if option["choices"] is not None:
        # The table holds choices as texts, argparse compares them with the converted value.
        settings["choices"] = [convert(choice) for choice in option["choices"]]
    if nargs is not None:
        settings["nargs"] = nargs
    if flags:
        settings["dest"] = dest
    parser.add_argument(*(flags or [dest]), **settings)


def _dashed(argument: str) -> str:
    """vLLM takes underscores in flag names too."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def _adapters(found: argparse.Namespace) -> tuple[str, ...]:
    """Names of the LoRA adapters of --lora-modules name=path."""
    return tuple(module.partition("=")[0] for module in found.lora_modules or ()) if found.enable_lora else ()


def parse_serve(arguments: Sequence[str], environment: Mapping[str, str]) -> ServeOptions:
    """Read the arguments after `serve`. Unknown flags and bad values end the process with code 2, as argparse does."""
    parser = _parser()
    found = parser.parse_args([_dashed(argument) for argument in arguments])
    for dest, default in _NOT_EMULATED.items():
        if getattr(found, dest) not in (None, default):
            parser.error(f"argument --{dest.replace('_', '-')}: the emulator does not imitate this option; leave it out")
    model = found.model_tag or found.model
    keys = found.api_key or ([environment["VLLM_API_KEY"]] if environment.get("VLLM_API_KEY") else [])
    return ServeOptions(
        model=model,
        served_names=(*(found.served_model_name or [model]), *_adapters(found)),
        max_loras=found.max_loras if found.enable_lora else 0,
        max_lora_rank=found.max_lora_rank if found.enable_lora else 0,
        # vLLM listens on every interface when no host is given; an emulator has no reason to leave the machine.
        host=found.host or "127.0.0.1",
        port=found.port,
        api_keys=tuple(keys),
        dtype=found.dtype,
        quantization=found.quantization,
        kv_cache_dtype=found.kv_cache_dtype,
        tensor_parallel_size=found.tensor_parallel_size,
        max_model_len=None if found.max_model_len in {None, -1} else found.max_model_len,
        max_num_seqs=found.max_num_seqs,
        max_num_batched_tokens=found.max_num_batched_tokens,
        kv_cache_memory_bytes=found.kv_cache_memory_bytes,
        gpu_memory_utilization=found.gpu_memory_utilization,
        # vLLM's default on NVIDIA GPUs (vllm/config/cache.py).
        block_size=found.block_size,
        enforce_eager=found.enforce_eager,
        stream_interval=found.stream_interval,
        max_num_queued_reqs=found.max_num_queued_reqs,
        max_num_queued_tokens=found.max_num_queued_tokens,
        shutdown_timeout_s=found.shutdown_timeout,
        enable_sleep_mode=found.enable_sleep_mode,
        seed=found.seed,
        runner=found.runner,
        speculative_config=found.speculative_config,
        by_priority=found.scheduling_policy == "priority",
    )
