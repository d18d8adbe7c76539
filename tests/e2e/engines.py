"""Real engines for tests: vLLM's CPU build, started with plain arguments on loopback, and gone in the end whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.processes import proc
from tests.executor.worlds import until
from tests.ports import free_port

# What vLLM's CPU build needs beside its command line to run offline, on loopback and quietly; docs/real-engines.md lists it for users.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    # one core each: a second engine, the client and the router want some of the machine too
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
# A start took 40 s on two cores; a machine that is busy with other things may take ten times that.
START_LIMIT_S = 400.0
# Enough for 16 requests of 2048 tokens.
KV_BYTES = 134217728

# Tokens of a KV block of vLLM's CPU build where --block-size is not given (vllm/platforms/cpu.py, 0.32).
BLOCK_TOKENS = 128

_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Engine:
    """A running server: its address, the name it serves, the model's folder, its log and its arguments after the model's folder."""

    url: str
    served_name: str
    model: Path
    log: Path
    arguments: tuple[str, ...]

    def metrics(self) -> bytes:
        """The /metrics page."""
        return fetch(f"{self.url}/metrics")

    def complete(self, prompt: str | list[int], output_tokens: int) -> dict[str, Any]:
        """The answer to a completion of exactly so many tokens."""
        return post(f"{self.url}/v1/completions", completion(self.served_name, prompt, output_tokens))


def completion(served_name: str, prompt: str | list[int], output_tokens: int) -> dict[str, object]:
    """Body of a request for exactly so many tokens: random weights end at random, so the end is ignored."""
    return {"model": served_name, "prompt": prompt, "max_tokens": output_tokens, "ignore_eos": True, "temperature": 0}


def fetch(url: str) -> bytes:
    """Body of a 200 answer; OSError for anything else."""
    with _WITHOUT_PROXY.open(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def post(url: str, body: dict[str, object], headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The JSON answer to a JSON request; OSError for any status but 200."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})})
    with _WITHOUT_PROXY.open(request, timeout=120) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def arguments(served_name: str, port: int, kv_bytes: int = KV_BYTES, **flags: object) -> tuple[str, ...]:
    """Flags of `vllm serve`, those given here over the usual ones of these tests."""
    usual: dict[str, object] = {
        "served_model_name": served_name,
        "host": "127.0.0.1",
        "port": port,
        "dtype": "bfloat16",
        "max_model_len": 2048,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 2048,
        "kv_cache_memory_bytes": kv_bytes,
    }
    chosen = {**usual, **flags}
    return (*(word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", str(value))), "--enforce-eager")


@contextmanager
def running(
    vllm: Path, model: Path, folder: Path, served_name: str, environment: dict[str, str] | None = None, **flags: Any
) -> Iterator[Engine]:
    """A server for a model, ready to be asked; log and caches go to the folder. Afterwards none of its processes is left."""
    port = free_port()
    words = arguments(served_name, port, **flags)
    log = folder / f"{served_name}.log"
    engine = Engine(f"http://127.0.0.1:{port}", served_name, model, log, words)
    variables = {**os.environ, **ENVIRONMENT, "VLLM_CACHE_ROOT": str(folder / "cache"), **(environment or {})}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [vllm, "serve", model, *words], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=variables, start_new_session=True
        )
    with guarded(("kill", "-KILL", "--", f"-{process.pid}")):
        try:
            await_ready(engine, process)
            yield engine
        finally:
            end(process)


def await_ready(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    """Return once the server names its model; AssertionError with the end of the log when it ended or took too long."""
    ends = time.monotonic() + START_LIMIT_S
    while time.monotonic() < ends:
        assert process.poll() is None, f"the engine ended:\n{engine.log.read_text(errors='replace')[-4000:]}"
        if _serves(engine):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    raise AssertionError(f"the engine was not ready within {START_LIMIT_S:g} s:\n{engine.log.read_text(errors='replace')[-4000:]}")


def _serves(engine: Engine) -> bool:
    # Another program that took the port could answer /health; only ours names the model.
    try:
        return engine.served_name in [row["id"] for row in json.loads(fetch(f"{engine.url}/v1/models"))["data"]]
    except (OSError, ValueError, KeyError):
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End the server's whole session: with its leader dead the others would live on."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert until(lambda: not proc.session_members(process.pid)), f"processes of the engine are left: {proc.session_members(process.pid)}"


@contextmanager
def guarded(command: Sequence[str]) -> Iterator[None]:
    """Whatever ends this process inside the block, SIGKILL too, the command is run; after the block it is not needed any more."""
    guard = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r line || exec "$@"', "guard", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate(b"not needed\n")
