"""Emulated engines as real processes, and a small HTTP client for them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.emulator.devices import create_node

FIXTURES = Path(__file__).parent / "fixtures"
MODEL = "Qwen/Qwen3-0.6B"
GIB = 1 << 30
# A few requests of full length; the utilisation that vLLM would want to see free for weights, activations and pool.
SMALL = ("--max-model-len", "2048", "--max-num-seqs", "64", "--max-num-batched-tokens", "2048", "--kv-cache-memory-bytes", str(GIB))
SMALL_SHARE = (*SMALL, "--gpu-memory-utilization", "0.1")


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class EngineProcess:
    process: subprocess.Popen[str]
    port: int = 0
    log: list[str] = field(default_factory=list)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.ask("GET", path, b"", headers)

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        return self.ask("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            found = connection.getresponse()
            return Reply(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Sum over the series of a family that carry these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in self.get("/metrics").body.decode().splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in wanted))

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stderr is not None
        self.log += self.process.stderr.read().splitlines()
        return code


def events(body: bytes) -> list[Any]:
    """Server-sent events as JSON values; the last must be [DONE]."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def make_node(folder: Path, gpus: int = 1) -> Path:
    create_node(folder, "H100-SXM-80GB", gpus)
    return folder


def launch(node: Path, *arguments: str, gpus: str = "0", environment: dict[str, str] | None = None, port: int = 0) -> EngineProcess:
    """Start an engine without waiting for it."""
    settings = {
        **os.environ,
        "ULLAGE_EMULATED_NODE": str(node),
        "ULLAGE_EMULATED_START_SCALE": "0",
        "CUDA_VISIBLE_DEVICES": gpus,
        "VLLM_SERVER_DEV_MODE": "1",
        **(environment or {}),
    }
    command = [sys.executable, "-m", "executor.emulator", "serve", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True, start_new_session=True)
    return EngineProcess(process)


def wait_ready(engine: EngineProcess) -> bool:
    """Read the log until the server says that it is up; False when it ended instead."""
    assert engine.process.stderr is not None
    for line in engine.process.stderr:
        engine.log.append(line.rstrip())
        if found := re.search(r"on http://127\.0\.0\.1:(\d+)", line):
            engine.port = int(found[1])
        if "Application startup complete" in line:
            return True
    engine.process.wait(60)
    return False


@contextmanager
def running(node: Path, *arguments: str, gpus: str = "0", environment: dict[str, str] | None = None) -> Iterator[EngineProcess]:
    """An engine that is ready, ended at the end."""
    engine = launch(node, *arguments, gpus=gpus, environment=environment)
    try:
        assert wait_ready(engine), "\n".join(engine.log)
        yield engine
    finally:
        stop(engine)


def refused(node: Path, *arguments: str, gpus: str = "0", environment: dict[str, str] | None = None, port: int = 0) -> tuple[int, str]:
    """Exit code and log of an engine that must not come up."""
    engine = launch(node, *arguments, gpus=gpus, environment=environment, port=port)
    try:
        assert not wait_ready(engine)
        return engine.process.returncode, "\n".join(engine.log)
    finally:
        stop(engine)


def stop(engine: EngineProcess) -> None:
    if engine.process.poll() is None:
        engine.process.kill()
    engine.process.wait(60)
    if engine.process.stderr is not None:
        engine.process.stderr.close()
