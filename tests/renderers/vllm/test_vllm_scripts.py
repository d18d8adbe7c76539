"""The rendered scripts run for real, with a stand-in for vllm on PATH."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planner.plan import MigPlace, Replica
from renderers import vllm
from renderers.files import write
from renderers.vllm.ready import alive
from tests.executor.worlds import ENDED_FIRST_THREAD, until
from tests.plans import plan_of, replica
from tests.ports import free_port
from tests.renderers.vllm.test_vllm import HOSTILE


class Node:
    """A folder with rendered scripts, the stand-in and what it wrote down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        program = folder / "bin" / "vllm"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parents[1] / "fake_vllm.py"} "$@"\n')
        program.chmod(0o755)
        (folder / "events").touch()
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **os.environ,
            "PATH": path,
            "FAKE_DIR": str(folder),
            "VLLM_API_KEY": "secret",
            "http_proxy": "http://127.0.0.1:1",
        }

    @property
    def scripts(self) -> Path:
        return self.folder / "scripts" / "h100-0"

    def render(self, *replicas: Replica) -> None:
        write(vllm.render(plan_of(replicas, gpu_count=2)), self.folder / "scripts")

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # Elsewhere than the scripts: they must find each other wherever they are called from.
        return subprocess.run(
            ["bash", str(self.scripts / script)],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def events(self) -> list[str]:
        return (self.folder / "events").read_text().splitlines()

    def call(self, port: int) -> dict[str, Any]:
        written: dict[str, Any] = json.loads((self.folder / f"call-{port}.json").read_text())
        return written

    def running(self) -> list[int]:
        files = [*self.folder.glob("worker-*")]
        pids = [int(file.read_text()) for file in files] + [json.loads(file.read_text())["pid"] for file in self.folder.glob("call-*.json")]
        return sorted(pid for pid in pids if alive(pid))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    for pid in made.running():
        os.kill(pid, signal.SIGKILL)


def _replica(name: str, gpu: int = 0, **changes: Any) -> tuple[Replica, int]:
    port = free_port()
    return replica(name, changes.pop("served_name", name), gpus=(gpu,), args={"port": port, **changes.pop("args", {})}, **changes), port


def test_one_gpu_starts_in_order_and_two_gpus_side_by_side(node: Node) -> None:
    (first, one), (second, two), (other, three) = _replica("first"), _replica("second"), _replica("other", gpu=1)
    node.render(first, second, other)
    # The first replica of each GPU is not ready before the other GPU's has begun.
    (node.folder / f"await-{one}").write_text(str(three))
    (node.folder / f"await-{three}").write_text(str(one))
    done = node.run("start.sh")
    assert done.returncode == 0, done.stderr
    assert [line for line in node.events() if not line.endswith(str(three))] == [
        f"{what} {port}" for port in (one, two) for what in ("begin", "token")
    ]
    assert f"token {three}" in node.events()
    assert "secret" not in done.stdout + done.stderr + "".join(map(str, node.call(one)["argv"]))
    for item, port in ((first, one), (second, two), (other, three)):
        call = node.call(port)
        assert ("vllm", *call["argv"]) == vllm.command(item)
        assert call["environment"].items() >= vllm.environment(item).items()
        assert call["session"] == call["pid"]
    assert node.run("start.sh").stdout.splitlines().count("first: unchanged") == 1
    assert len(node.running()) == 6
    stopped = node.run("stop.sh")
    assert stopped.returncode == 0, stopped.stderr
    assert node.running() == []
    assert sorted(line for line in node.events() if line.startswith("stop")) == sorted(f"stop {port}" for port in (one, two, three))
    assert node.run("stop.sh").returncode == 0


def test_a_failed_start_shows_the_log_and_holds_back_its_gpu_only(node: Node) -> None:
    (broken, one), (held, two), (other, _) = _replica("broken"), _replica("held"), _replica("other", gpu=1)
    node.render(broken, held, other)
    (node.folder / f"fail-{one}").touch()
    done = node.run("start.sh")
    assert done.returncode == 1
    assert "broken: not ready" in done.stderr
    assert "larger than the available KV cache memory" in done.stderr
    assert "other: ready" in done.stdout
    assert f"begin {two}" not in node.events()
    (node.folder / f"fail-{one}").unlink()
    assert node.run("start.sh").returncode == 0
    assert f"token {two}" in node.events()
    assert node.run("stop.sh").returncode == 0
    assert node.running() == []


def test_what_a_killed_server_leaves_behind_is_ended(node: Node) -> None:
    item, port = _replica("r")
    node.render(item)
    assert node.run("start.sh").returncode == 0
    os.kill(node.call(port)["pid"], signal.SIGKILL)
    orphan = int((node.folder / f"worker-{port}").read_text())
    assert alive(orphan)
    assert node.run("start.sh").returncode == 0
    assert not alive(orphan)
    os.kill(node.call(port)["pid"], signal.SIGKILL)
    assert node.run("stop.sh").returncode == 0
    assert node.running() == []


def test_a_pid_file_of_another_program_stops_nobody(node: Node) -> None:
    node.render(_replica("r")[0])
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        (node.scripts / "run").mkdir()
        (node.scripts / "run" / "r.pid").write_text(f"{stranger.pid} 1\n")
        (node.scripts / "run" / "x.pid").write_text("no number\n")
        assert node.run("stop.sh").returncode == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_that_does_not_stop_is_ended(node: Node) -> None:
    node.render(_replica("r")[0])
    deaf = subprocess.Popen(
        [sys.executable, "-c", "import signal, sys; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"],
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == b"deaf\n"
    script = 'source "$1"; printf "%s %s\\n" "$2" "$(started_ticks "$2")" >"$3"; stop_server r "$3" 0'
    arguments = ["bash", "-c", script, "-", str(node.scripts / "processes.sh"), str(deaf.pid), str(node.folder / "r.pid")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, deaf.wait(), "ending it" in done.stderr) == (0, -signal.SIGKILL, True)
    deaf.stdout.close()
    assert not (node.folder / "r.pid").exists()


def test_a_server_whose_first_thread_ended_is_still_there(node: Node) -> None:
    """It holds its port and its memory until the last thread is gone."""
    node.render(_replica("r")[0])
    script = 'source "$1"; printf "%s %s\\n" "$2" "$(started_ticks "$2")" >"$3"; server_members "$3"; stop_server r "$3" 20'
    with subprocess.Popen([sys.executable, "-c", ENDED_FIRST_THREAD], start_new_session=True, stdout=subprocess.PIPE) as half:
        stat = Path(f"/proc/{half.pid}/stat")
        assert until(lambda: ") Z " in stat.read_text())
        arguments = ["bash", "-c", script, "-", str(node.scripts / "processes.sh"), str(half.pid), str(node.folder / "r.pid")]
        assert alive(half.pid)
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, half.wait()) == (0, f"{half.pid}\n", -signal.SIGTERM), done.stderr
        assert not alive(half.pid)


def test_two_starts_at_once_are_refused(node: Node) -> None:
    node.render(_replica("r")[0])
    (node.scripts / "run").mkdir()
    with subprocess.Popen(["flock", str(node.scripts / "run" / "lock"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"locked\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"locked\n"
        for script in ("start.sh", "stop.sh"):
            done = node.run(script)
            assert (done.returncode, "another start or stop" in done.stderr) == (1, True)
        holder.stdin.close()


def test_a_mig_replica_says_how_to_find_its_device(node: Node) -> None:
    item, port = _replica("r", mode="mig", mig=MigPlace(profile="3g.40gb", start=4))
    node.render(item)
    for wrong in ("", "0"):
        done = node.run("replicas/r.sh", ULLAGE_MIG_GPU0_START4=wrong)
        assert done.returncode == 1
        assert "ULLAGE_MIG_GPU0_START4 must hold the UUID" in done.stderr
        assert "nvidia-smi" in done.stderr
    (node.folder / f"fail-{port}").touch()
    node.run("replicas/r.sh", ULLAGE_MIG_GPU0_START4="MIG-1b2c")
    assert node.call(port)["environment"]["CUDA_VISIBLE_DEVICES"] == "MIG-1b2c"


def test_hostile_values_reach_the_engine_as_they_are(node: Node) -> None:
    item, port = _replica(HOSTILE, served_name=HOSTILE, args={"model": HOSTILE, "revision": HOSTILE, "quantization": HOSTILE})
    node.render(item)
    done = node.run("start.sh")
    assert done.returncode == 0, done.stderr
    assert ("vllm", *node.call(port)["argv"]) == vllm.command(item)
    assert node.run("stop.sh").returncode == 0
    assert node.running() == []
    assert not list(node.folder.rglob("pwned"))
