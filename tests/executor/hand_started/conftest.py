"""Stand-ins for vLLM, ended with the test that started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[bytes]"]
STAND_IN = Path(__file__).with_name("stand_in.py")


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def eventually(holds: Callable[[], bool], limit_s: float = 60.0) -> bool:
    """Whether it came to hold within the limit; unlike tests.executor.worlds.until also for what runs an event loop itself."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `vllm serve WORDS --port PORT` in a session of its own (group: only in a process group of its own), and waits for it."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text(encoding='utf-8')}", encoding="utf-8")
    program.chmod(0o755)
    running: list[subprocess.Popen[bytes]] = []

    def run(*words: str, port: int, group: bool = False, own_group: bool = True, **environment: str) -> subprocess.Popen[bytes]:
        known = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        command = [str(program), "serve", *words, "--port", str(port)]
        process = subprocess.Popen(
            command,
            env={**known, **environment},
            start_new_session=own_group and not group,
            process_group=0 if group else None,
        )
        running.append(process)
        assert eventually(lambda: answers(port))
        return process

    yield run
    for process in running:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if os.getpgid(process.pid) == process.pid else process.kill()
        process.wait()
