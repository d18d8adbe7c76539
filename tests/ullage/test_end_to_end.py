"""The command line from a fleet file to running engines and back to nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.processes import table as processes
from executor.state.folder import StateFolder
from tests.ports import free_ports
from tests.ullage.commands import TRACE_HEAD, ullage, write_fleet


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """First of ten free ports, with the current folder set and everything destroyed in the end."""
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
    monkeypatch.chdir(tmp_path)
    yield free_ports(10)[0]
    ullage("destroy", "-y")
    assert living(tmp_path / ".ullage") == {}


def living(folder: Path) -> dict[str, tuple[int, ...]]:
    """Processes that were started from a state folder and live."""
    state = StateFolder(folder)
    records = processes.ProcessTable(state.processes, state.logs).records() if folder.exists() else ()
    return {record.name: found for record in records if (found := processes.members(record))}


def plan_on(first: int, **changes: object) -> None:
    policy = {"router": {"port": first, "admin_port": first + 1}, "ports": {"start": first + 2, "end": first + 9}}
    write_fleet(Path("fleet.yaml"), policy=policy, **changes)
    result = ullage("plan", "-o", "plan.json")
    assert result.code == 0, result.err


def test_a_taken_router_port_is_named_and_nothing_stays_behind(ports: int) -> None:
    plan_on(ports, workloads={"small": {"model": "small", "demand": {"rate": "1/s", "input_tokens": 50, "output_tokens": 20}}})
    with socket.create_server(("127.0.0.1", ports)):
        result = ullage("apply", "plan.json", "-y", "--engine", "emulated")
    assert result.code == 1
    assert f"127.0.0.1:{ports} is taken by another program" in result.err
    assert ullage("destroy", "-y").code == 0


@pytest.mark.slow
def test_plan_render_apply_status_replay_unchanged_destroy(ports: int) -> None:
    plan_on(ports)
    rows = "".join(f"{0.1 * index:.1f},100,20,{name}\n" for index, name in enumerate(["small", "middle", "large"] * 10))
    Path("trace.csv").write_text(TRACE_HEAD + rows, encoding="utf-8")
    for target in ("vllm", "envoy"):
        assert ullage("render", "plan.json", "--to", target, "-o", f"deploy-{target}").code == 0

    applied = ullage("apply", "plan.json", "-y", "--engine", "emulated")
    assert applied.code == 0, applied.err
    assert "applied: 3 of 3 replicas are ready, state serial" in applied.out
    running = living(Path(".ullage"))
    assert len(running) == 4
    status = ullage("status")
    assert (status.code, status.out.splitlines()[-1]) == (0, "no drift: what runs is what the state says")
    assert status.out.count("  ready  ") == 3

    replayed = ullage("replay", "plan.json", "--trace", "trace.csv", "--seconds", "3", "--repeat-rate", "2", "--json")
    result = json.loads(replayed.out)
    assert (result["total"]["requests"], result["total"]["errors"]) == (60, 0)
    assert result["total"]["attainment_fraction"] is not None
    assert result["gpus"][0]["tokens_per_s"] > 0

    unchanged = ullage("plan", "--detailed-exitcode")
    assert unchanged.code == 0
    assert "No changes: the plan is already applied (`ullage status` shows whether it still runs)." in unchanged.out
    stale = ullage("apply", "plan.json", "-y")
    assert (stale.code, "plan again" in stale.err) == (1, True)
    assert living(Path(".ullage")) == running
    assert ullage("plan", "-o", "again.json").code == 0
    # the state knows that its engines are emulated: the default, vLLM, would be refused
    assert ullage("apply", "again.json", "-y").code == 0
    other = ullage("apply", "again.json", "-y", "--engine", "vllm")
    assert (other.code, "was applied with --engine emulated" in other.err) == (1, True)
    assert living(Path(".ullage")) == running

    gone = ullage("destroy", "-y")
    assert gone.code == 0
    assert "memory over-commits recorded by the emulated GPUs: 0" in gone.out
    assert gone.out.endswith("no process is left\n")
    assert living(Path(".ullage")) == {}
    assert ullage("destroy", "-y").out == "nothing was running\nno process is left\n"
