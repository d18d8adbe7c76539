"""The rendered scripts of replicas that share GPUs by MPS, run with stand-ins for vllm and for NVIDIA's programs on PATH."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from planner.plan import Replica
from renderers import vllm
from renderers.files import write
from renderers.vllm.replica_start import arguments_sha256, environment, ready_limit_s, turns_limit_s
from tests.executor.worlds import until
from tests.plans import replica, time_shared_plan
from tests.ports import free_port
from tests.renderers.conftest import ShellCheck
from tests.renderers.fake_mps import FakeMps
from tests.renderers.mps_plans import mps_plan
from tests.renderers.vllm.test_vllm_scripts import Node


class _MpsNode(Node):
    """A node with the stand-ins of MPS too, and a run folder whose path is short."""

    def __init__(self, folder: Path, run_folder: Path) -> None:
        super().__init__(folder)
        self.mps = FakeMps(folder)
        self.run_folder = run_folder
        self.environment["ULLAGE_RUN_DIR"] = str(run_folder)
        self.by_hand: list[subprocess.Popen[bytes]] = []

    def start_by_hand(self, name: str) -> subprocess.Popen[bytes]:
        """The script of a replica in the foreground, in a session of its own."""
        words = ["bash", str(self.scripts / "replicas" / f"{name}.sh")]
        with (self.folder / f"{name}.log").open("wb") as log:
            running = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        self.by_hand.append(running)
        return running

    def begun(self, *ports: int) -> bool:
        """Whether these engines listen: what they write down is complete."""
        return all((self.folder / f"worker-{port}").exists() for port in ports)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[_MpsNode]:
    with TemporaryDirectory(prefix="run-", dir="/tmp") as run_folder:
        made = _MpsNode(tmp_path, Path(run_folder))
        yield made
        _end(made)


def _end(made: _MpsNode) -> None:
    for process in made.by_hand:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pid in made.running():
        os.kill(pid, signal.SIGKILL)
    made.mps.end()


def _replica(name: str, percentage: int, gpu: int = 0, **args: Any) -> tuple[Replica, int]:
    port = args.pop("port", None) or free_port()
    arguments = {"port": port, "active_thread_percentage": percentage, **args}
    return replica(name, name, gpus=(gpu,), mode="mps", args=arguments), port


def test_engines_of_a_gpu_join_one_daemon_which_ends_with_them(node: _MpsNode) -> None:
    (first, one), (second, two), (other, three) = _replica("first", 60), _replica("second", 40), _replica("other", 50, gpu=1)
    node.render(first, second, other)
    done = node.run("start.sh")
    assert done.returncode == 0, done.stderr
    pipes = [node.run_folder / f"mps-gpu{gpu}" for gpu in (0, 1)]
    # In the daemon's own environment a percentage would hold for all.
    starts = [f"start -d {pipes[gpu]} GPU-0000000{gpu} all" for gpu in (0, 1)]
    assert sorted(node.mps.events()) == starts
    for port, gpu, percentage in ((one, 0, "60"), (two, 0, "40"), (three, 1, "50")):
        found = node.call(port)["environment"]
        assert found["CUDA_VISIBLE_DEVICES"] == f"GPU-0000000{gpu}"
        assert found["CUDA_MPS_PIPE_DIRECTORY"] == str(pipes[gpu])
        assert found["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == percentage
        assert stat.S_IMODE(pipes[gpu].stat().st_mode) == 0o700
    # One engine of GPU 0 starts anew with another part, the other runs on: so does their daemon.
    second, _ = _replica("second", 30, port=two)
    node.render(first, second, other)
    done = node.run("start.sh")
    assert "second: arguments changed, restarting" in done.stdout, done.stderr
    assert node.call(two)["environment"]["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "30"
    assert sorted(node.mps.events()) == starts
    assert len(node.mps.daemons()) == 2
    stopped = node.run("stop.sh")
    assert stopped.returncode == 0, stopped.stderr
    assert sorted(node.mps.events()[2:]) == [f"quit {pipes[0]}", f"quit {pipes[1]}"]
    assert until(lambda: not node.mps.daemons())
    assert node.running() == []
    assert node.run("stop.sh").stdout == ""


def test_a_plan_without_mps_ends_the_daemons_of_the_one_before(node: _MpsNode) -> None:
    (first, one), (second, _) = _replica("first", 60), _replica("second", 40, gpu=1)
    node.render(first, second)
    assert node.run("start.sh").returncode == 0
    alone: dict[str, Any] = {"mode": "exclusive", "max_residents": 1, "active_limit": 1.0, "active_at_worst": 1}
    node.render(replica("first", "first", args={"port": one}, **alone))
    assert not (node.scripts / "mps.sh").exists()
    done = node.run("start.sh")
    assert done.returncode == 0, done.stderr
    assert [event.split()[0] for event in node.mps.events()] == ["start", "start", "quit", "quit"]
    assert "CUDA_MPS_PIPE_DIRECTORY" not in node.call(one)["environment"]
    assert len(node.running()) == 2


def test_scripts_started_by_hand_start_one_daemon_and_keep_it(node: _MpsNode) -> None:
    (first, one), (second, two) = _replica("first", 60), _replica("second", 40)
    node.render(first, second)
    running = [node.start_by_hand(name) for name in ("first", "second")]
    assert until(lambda: node.begun(one, two))
    assert len(node.mps.events()) == 1
    # What start.sh did not start is not stopped, and keeps what it uses.
    for process in running:
        assert node.run("stop.sh").returncode == 0
        assert len(node.mps.daemons()) == 1
        process.terminate()
        process.wait(60)
    assert node.run("stop.sh").stdout == f"MPS daemon in {node.run_folder / 'mps-gpu0'}: ended\n"


def test_a_daemon_that_died_is_started_again(node: _MpsNode) -> None:
    first, one = _replica("first", 60)
    node.render(first)
    assert node.run("start.sh").returncode == 0
    node.mps.end()
    (node.run_folder / "mps-gpu0" / "control").unlink()
    assert node.run("stop.sh").stdout.endswith("does not answer, nothing to end\n")
    assert node.run("start.sh").returncode == 0
    assert len(node.mps.events()) == 2
    assert node.call(one)["environment"]["CUDA_MPS_PIPE_DIRECTORY"] == str(node.run_folder / "mps-gpu0")


@pytest.mark.parametrize("absent", ["nvidia-cuda-mps-control", "nvidia-smi"])
def test_without_the_programs_nothing_starts_or_stops(node: _MpsNode, absent: str) -> None:
    first, one = _replica("first", 60)
    node.render(replica("first", "first", args={"port": one}))
    assert node.run("start.sh").returncode == 0
    running, events = node.running(), node.events()
    node.render(first)
    # This machine may have them elsewhere on PATH.
    few = node.folder / "few"
    few.mkdir()
    for name in ("bash", "dirname", *({"nvidia-cuda-mps-control", "nvidia-smi"} - {absent})):
        found = shutil.which(name, path=node.environment["PATH"])
        assert found is not None
        (few / name).symlink_to(found)
    for script in ("start.sh", "replicas/first.sh"):
        done = node.run(script, PATH=str(few))
        assert done.returncode == 1
        assert f"there is no {absent} on PATH" in done.stderr
        assert "take mps out of the pool's sharing" in done.stderr
    assert (node.running(), node.events()) == (running, events)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("mps-broken", "the MPS daemon of GPU 0 does not start"),
        ("mps-mute", "the MPS daemon of GPU 0 does not answer"),
        ("mps-odd", "nvidia-smi does not name the UUID of GPU 0"),
    ],
)
def test_without_a_daemon_no_engine_starts(node: _MpsNode, fault: str, says: str) -> None:
    node.render(_replica("first", 60)[0])
    impatient = (node.scripts / "mps.sh").read_text().replace("mps_patience_s=30", "mps_patience_s=0")
    (node.scripts / "mps.sh").write_text(impatient)
    (node.folder / fault).touch()
    done = node.run("start.sh")
    assert done.returncode == 1
    assert says in done.stderr
    assert node.events() == []


def test_a_long_path_puts_the_pipes_into_a_short_one(node: _MpsNode) -> None:
    first, one = _replica("first", 60)
    node.render(first)
    run = str(node.folder / ("ü" * 40))
    pipes = None
    try:
        assert node.run("start.sh", ULLAGE_RUN_DIR=run).returncode == 0
        pipes = Path(node.call(one)["environment"]["CUDA_MPS_PIPE_DIRECTORY"])
        assert pipes.name.startswith(f"ullage-mps-{os.getuid()}-")
        assert pipes.parent == Path("/tmp")
        assert stat.S_IMODE(pipes.stat().st_mode) == 0o700
        assert node.run("stop.sh", ULLAGE_RUN_DIR=run).stdout == f"MPS daemon in {pipes}: ended\n"
        # Somebody else's folder of this name is not used.
        shutil.rmtree(pipes)
        pipes.symlink_to(node.folder)
        done = node.run("start.sh", ULLAGE_RUN_DIR=run)
        assert (done.returncode, len(node.mps.events())) == (1, 2)
        assert "must be a folder of this user" in done.stderr
    finally:
        if pipes is not None and pipes.is_symlink():
            pipes.unlink()
        elif pipes is not None:
            shutil.rmtree(pipes, ignore_errors=True)


def test_a_daemon_that_somebody_else_runs_is_joined(node: _MpsNode) -> None:
    first, one = _replica("first", 60)
    node.render(first)
    (node.folder / "pipes").mkdir()
    node.environment["ULLAGE_MPS_PIPES"] = str(node.folder / "pipes")
    node.start_by_hand("first")
    assert not node.begun(one)
    (node.folder / "pipes" / "control").touch()
    assert until(lambda: node.begun(one))
    assert node.call(one)["environment"]["CUDA_MPS_PIPE_DIRECTORY"] == str(node.folder / "pipes")
    assert node.mps.events() == []


def test_scripts_with_mps_pass_shellcheck(tmp_path: Path, shellcheck: ShellCheck) -> None:
    write(vllm.render(mps_plan()), tmp_path)
    assert (tmp_path / "h100-0" / "mps.sh").exists()
    shellcheck(*sorted(tmp_path.rglob("*.sh")))


def test_only_nodes_with_mps_get_its_script() -> None:
    files = {file.path: file.text for file in vllm.render(time_shared_plan())}
    assert [path for path in files if path.endswith("mps.sh")] == []
    assert [path for path, text in files.items() if "join_mps " in text and "/replicas/" in path] == []


def test_the_part_of_the_threads_makes_the_replica_what_it_is() -> None:
    (sixty, port), (alone, _) = _replica("r", 60), _replica("r", 50)
    fifty, _ = _replica("r", 50, port=port)
    assert environment(sixty)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "60"
    assert len({arguments_sha256(each) for each in (sixty, fifty)}) == 2
    # Starts on one GPU take turns, as where its time is shared.
    assert turns_limit_s(alone, ready_limit_s(alone)) == 4 * ready_limit_s(alone)
