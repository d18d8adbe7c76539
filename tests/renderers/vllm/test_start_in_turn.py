"""The script that starts engines that share a GPU, with real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renderers.templates import package_text
from tests.ports import free_ports
from tests.renderers.conftest import ShellCheck
from tests.tools import program

# A server that says when it begins, and answers as vLLM does when the file `go-PORT` is there.
SERVER = """
import json, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
port, folder = int(sys.argv[1]), Path(sys.argv[2])
(folder / f"began-{port}").touch()
if len(sys.argv) > 3:
    sys.exit(3)
while not (folder / f"go-{port}").exists():
    time.sleep(0.01)
class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"data": [{"id": "m"}]})
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer({})
    def answer(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""
_LIMIT_S = 60.0


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "start-in-turn.sh").write_text(package_text("vllm/start-in-turn.sh"))
    (tmp_path / "ready.py").write_text(package_text("vllm/ready.py"))
    (tmp_path / "server.py").write_text(SERVER)
    return tmp_path


def _start(folder: Path, gpu: str, port: int, *more: str) -> subprocess.Popen[bytes]:
    words = ["bash", "start-in-turn.sh", gpu, f"http://127.0.0.1:{port}", "m", "60", sys.executable, "server.py", str(port), ".", *more]
    return subprocess.Popen(words, cwd=folder, env={**os.environ, "ULLAGE_TURNS": "."}, start_new_session=True)


def _wait(path: Path) -> None:
    end = time.monotonic() + _LIMIT_S
    while not path.exists():
        assert time.monotonic() < end, f"not within {_LIMIT_S:g} s: {path.name}"
        time.sleep(0.01)


def _queued(folder: Path, gpu: str) -> bool:
    """Whether somebody waits for the lock of a GPU, as the kernel tells."""
    inode = str((folder / f"{gpu}.lock").stat().st_ino)
    return any("->" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_starts_on_one_gpu_wait_for_each_other_and_others_do_not(scripts: Path) -> None:
    program("flock", "util-linux")
    one, two, other, dead = free_ports(4)
    started = [_start(scripts, "gpu-0", one)]
    try:
        _wait(scripts / f"began-{one}")
        started.append(_start(scripts, "gpu-0", two))
        started.append(_start(scripts, "gpu-1", other))
        _wait(scripts / f"began-{other}")
        end = time.monotonic() + _LIMIT_S
        while not _queued(scripts, "gpu-0"):
            assert time.monotonic() < end, "nobody waits for the lock"
            time.sleep(0.01)
        assert not (scripts / f"began-{two}").exists()
        (scripts / f"go-{one}").touch()
        _wait(scripts / f"began-{two}")
        # Who ends without ever answering gives its turn back too.
        started.append(_start(scripts, "gpu-1", dead, "fail"))
        (scripts / f"go-{other}").touch()
        assert started[-1].wait(_LIMIT_S) == 3
        last = _start(scripts, "gpu-1", dead)
        started.append(last)
        (scripts / f"began-{dead}").unlink()
        _wait(scripts / f"began-{dead}")
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


def test_the_scripts_pass_shellcheck(scripts: Path, shellcheck: ShellCheck) -> None:
    shellcheck(scripts / "start-in-turn.sh")
