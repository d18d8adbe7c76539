"""adopt: servers that run come under ullage without a restart, and out again."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from executor.processes.table import ProcessTable
from executor.state.folder import StateFolder
from tests.executor.hand_started.conftest import Start
from tests.executor.hand_started.conftest import start as start  # noqa: PLC0414 - a fixture
from tests.ports import free_ports
from tests.ullage.commands import Result, ullage

FLAGS = (
    "meta-llama/Meta-Llama-3.1-8B",
    *("--served-model-name", "chat", "--max-model-len", "4K", "--max-num-seqs", "64", "--max-num-batched-tokens", "2048"),
    *("--gpu-memory-utilization", "0.50"),
)


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return free_ports(1)[0]


def running(start: Start, port: int, *more: str, group: bool = False) -> subprocess.Popen[bytes]:
    return start(*FLAGS, *more, port=port, group=group, CUDA_VISIBLE_DEVICES="0")


def imported(*ports: int) -> list[str]:
    """Writes fleet.yaml, with less than the stand-ins say they were asked in their first second; returns the options for their ports."""
    chosen = [word for port in ports for word in ("--port", str(port))]
    assert ullage("import", *chosen).code == 0
    path = Path("fleet.yaml")
    path.write_text(re.sub(r"rate: .*", "rate: 2/s", path.read_text(encoding="utf-8")), encoding="utf-8")
    return chosen


def adopt(port: int, *more: str) -> Result:
    return ullage("adopt", "--port", port, *more)


def test_adopted_servers_are_ready_kept_by_the_next_plan_and_stopped_by_destroy(start: Start, port: int) -> None:
    process = running(start, port)
    imported(port)
    proposed = adopt(port)
    assert (proposed.code, proposed.err) == (0, "")
    assert f"process {process.pid} becomes replica chat-0 on GPU 0 of placeholder-0, port {port}\n" in proposed.out
    assert "the next plan keeps it as it runs" in proposed.out
    assert "it found the size of its KV pool by itself" in proposed.out
    assert "it listens on every interface; ullage would let it listen on 127.0.0.1" in proposed.out
    assert "started with" not in proposed.out
    # a proposal changes nothing
    assert not Path(".ullage/state.json").exists()
    assert ullage("adopt", "--confirm").out.startswith("adopted: chat-0; ")
    status = ullage("status")
    assert status.code == 0
    assert [line.split()[:3] for line in status.out.splitlines() if "chat-0" in line] == [["chat-0", "ready", str(process.pid)]]
    [replica] = StateFolder(Path(".ullage")).load().replicas
    assert (replica.args.kv_cache_memory_bytes, replica.args.gpu_memory_utilization, replica.args.max_model_len) == (8 << 30, 0.5, 4096)
    assert ullage("plan", "fleet.yaml", "-o", "plan.json").code == 0
    actions = [action["kind"] for action in json.loads(Path("plan.json").read_text(encoding="utf-8"))["actions"]]
    assert actions == ["set_routes"]
    # nobody is adopted twice
    assert "no server can be adopted" in adopt(port).out
    assert process.poll() is None
    assert ullage("destroy", "-y").code == 0
    assert process.wait(timeout=30) is not None


def test_servers_that_found_their_pools_by_themselves_are_kept_also_beside_each_other(start: Start, port: int) -> None:
    ports = free_ports(3)
    small = ("Qwen/Qwen3-0.6B", "--max-model-len", "2048", "--gpu-memory-utilization", "0.2", "--served-model-name")
    start(*FLAGS[:3], "--gpu-memory-utilization", "0.9", port=ports[0], CUDA_VISIBLE_DEVICES="0", STAND_IN_BLOCKS="27000")
    for name, other in (("one", ports[1]), ("two", ports[2])):
        start(*small, name, port=other, CUDA_VISIBLE_DEVICES="1", STAND_IN_BLOCKS="7600")
    chosen = imported(*ports)
    proposed = ullage("adopt", *chosen)
    assert proposed.out.count("the next plan keeps it as it runs") == 3
    assert "max_num_seqs is not told: 256 of the fleet file is assumed" in proposed.out
    assert ullage("adopt", "--confirm").code == 0
    modes = {replica.name: (replica.gpus, replica.mode) for replica in StateFolder(Path(".ullage")).load().replicas}
    assert modes == {"chat-0": ((0,), "exclusive"), "one-0": ((1,), "time_shared"), "two-0": ((1,), "time_shared")}
    assert ullage("plan", "fleet.yaml", "-o", "plan.json").code == 0
    assert [action["kind"] for action in json.loads(Path("plan.json").read_text(encoding="utf-8"))["actions"]] == ["set_routes"]


def test_release_leaves_the_processes_running(start: Start, port: int) -> None:
    process = running(start, port)
    imported(port)
    adopt(port)
    ullage("adopt", "--confirm")
    released = ullage("adopt", "--release")
    assert (released.code, released.out) == (0, "released: chat-0; they go on running\n")
    state = StateFolder(Path(".ullage")).load()
    assert (state.serial, state.replicas, state.routes) == (2, (), ())
    assert [(gpu.replicas, gpu.mode, gpu.weights_mib, gpu.kv_mib, gpu.overhead_mib) for gpu in state.gpus] == [((), "free", 0, 0, 0)]
    assert ullage("destroy", "-y").code == 0
    assert process.poll() is None
    assert ullage("adopt", "--release").out == ".ullage: nothing was adopted there\n"
    # and it can be adopted again
    assert adopt(port, "--dry-run").code == 0
    assert not Path(".ullage/adopt.json").exists()


def test_a_group_of_its_own_in_a_session_of_others_is_enough(start: Start, port: int) -> None:
    process = running(start, port, group=True)
    imported(port)
    proposed = adopt(port)
    assert f"it runs in the session of process {os.getsid(0)}, and may end with its terminal" in proposed.out
    ullage("adopt", "--confirm")
    assert ullage("status").code == 0
    assert ullage("destroy", "-y").code == 0
    assert process.wait(timeout=30) is not None


def test_a_server_without_a_group_of_its_own_is_refused(start: Start, port: int) -> None:
    process = start(*FLAGS, port=port, own_group=False, CUDA_VISIBLE_DEVICES="0")
    imported(port)
    result = adopt(port)
    assert result.code == 1
    assert f"process {process.pid} does not lead a process group of its own" in result.out
    assert not Path(".ullage").exists()


def test_processes_of_others_are_refused(start: Start, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    process = running(start, port)
    imported(port)
    monkeypatch.setattr("executor.hand_started.adoption.owned_by_us", lambda _: False)
    assert f"process {process.pid} belongs to another user" in adopt(port).out


def test_what_changed_between_the_steps_is_refused(start: Start, port: int) -> None:
    process = running(start, port)
    imported(port)
    adopt(port)
    path = Path(".ullage/adopt.json")
    proposal = json.loads(path.read_text(encoding="utf-8"))
    proposal["servers"][0]["start_ticks"] += 1
    path.write_text(json.dumps(proposal), encoding="utf-8")
    result = ullage("adopt", "--confirm")
    assert result.code == 1
    assert f"chat-0: process {process.pid} is another one than when the proposal was made" in result.err
    adopt(port)
    process.kill()
    process.wait()
    assert f"process {process.pid} does not run any more" in ullage("adopt", "--confirm").err
    assert ProcessTable(Path(".ullage/processes"), Path(".ullage/logs")).records() == ()


def test_a_state_that_changed_between_the_steps_is_refused(start: Start, port: int) -> None:
    running(start, port)
    imported(port)
    adopt(port)
    folder = StateFolder(Path(".ullage"))
    folder.save(folder.load().model_copy(update={"serial": 5}))
    assert "has changed since the proposal was made" in ullage("adopt", "--confirm").err


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("chat", "talk"), "no workload of the fleet file is served under chat"),
        (
            ("meta-llama/Meta-Llama-3.1-8B", "Qwen/Qwen3-0.6B"),
            "it serves meta-llama/Meta-Llama-3.1-8B; chat of the fleet file is Qwen/Qwen3-0.6B",
        ),
        (("nodes: 1", "nodes: 1\n    taken: [{node: 0, gpus: [0]}]"), "has GPU 0 to itself"),
    ],
)
def test_what_does_not_fit_the_fleet_is_refused(edit: tuple[str, str], said: str, start: Start, port: int) -> None:
    running(start, port)
    imported(port)
    path = Path("fleet.yaml")
    path.write_text(path.read_text(encoding="utf-8").replace("gpus_per_node: 1", "gpus_per_node: 2").replace(*edit), encoding="utf-8")
    result = adopt(port)
    assert result.code == 1
    assert said in result.out


def test_flags_that_differ_are_told_and_planned_otherwise(start: Start, port: int) -> None:
    running(start, port, "--block-size", "32", "--wholly-new", "--seed", "3")
    imported(port)
    result = adopt(port, "--dry-run")
    assert result.code == 0
    assert "the next plan would replace it" in result.out
    assert "flags that nobody here knows, and a restart would lose: --wholly-new" in result.out
    assert not Path(".ullage").exists()


def test_bad_calls(port: int) -> None:
    assert "fleet.yaml: there is no such file; `ullage import -o fleet.yaml` writes it" in adopt(port).err
    assert "give one of them" in ullage("adopt", "--confirm", "--release").err
    assert "there is no proposal; `ullage adopt` makes one" in ullage("adopt", "--confirm").err
    Path(".ullage").mkdir()
    Path(".ullage/adopt.json").write_text("{}", encoding="utf-8")
    assert "not a proposal that can be read" in ullage("adopt", "--confirm").err
    Path(".ullage/engine").write_text("emulated\n", encoding="utf-8")
    assert "holds emulated engines" in ullage("adopt", "--confirm").err
