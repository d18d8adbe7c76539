"""ullage reconcile, from a fleet file to emulated engines that are killed and come back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.processes import table as processes
from executor.state.folder import StateFolder
from tests.executor.worlds import until
from tests.ports import free_ports
from tests.ullage.commands import ullage, write_fleet


@pytest.fixture
def applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateFolder]:
    """A small fleet on emulated engines; whatever happens nothing is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
    first = free_ports(10)[0]
    policy = {"router": {"port": first, "admin_port": first + 1}, "ports": {"start": first + 2, "end": first + 9}}
    write_fleet(tmp_path / "fleet.yaml", policy=policy)
    assert ullage("plan", "fleet.yaml", "-o", "plan.json", "--no-verify").code == 0
    try:
        found = ullage("apply", "plan.json", "-y", "--engine", "emulated")
        assert found.code == 0, found.err
        yield StateFolder(tmp_path / ".ullage")
    finally:
        ullage("destroy", "-y")


def kill(folder: StateFolder, name: str) -> int:
    record = processes.ProcessTable(folder.processes, folder.logs).record(name)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    assert until(lambda: not processes.alive(record))
    return record.pid


def test_what_is_killed_comes_back_and_each_step_is_told(applied: StateFolder) -> None:
    still = ullage("reconcile")
    assert (still.code, still.out.splitlines()[-1].endswith(" as planned")) == (0, True), still.out
    state = applied.state_path.read_bytes()
    pid = kill(applied, "replica-small-0")

    dry = ullage("reconcile", "--dry-run")
    assert dry.code == 1
    assert dry.out.splitlines()[0].startswith("would start small-0: ")
    assert "dry run: 1 actions would be done; nothing was" in dry.out
    told = ullage("reconcile", "--json")
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["event"]["what"] for line in lines[:-1]] == ["begun", "done"]
    report = lines[-1]["pass"]
    assert (told.code, report["outcome"], report["actions"], report["drift"]) == (0, "changed", ["start small-0"], [])
    record = processes.ProcessTable(applied.processes, applied.logs).record("replica-small-0")
    assert record is not None
    assert record.pid != pid
    assert applied.state_path.read_bytes() == state
    # a plan that was made before the death has nothing to do
    assert ullage("plan", "--no-verify", "--detailed-exitcode").code == 0

    kill(applied, "router")
    assert ullage("reconcile").code == 0
    status = ullage("status")
    assert status.code == 0, status.out
    assert "reconcile: last did something" in status.out
    assert "MiB planned" in status.out


def test_after_destroy_there_is_nothing_to_keep(applied: StateFolder) -> None:
    assert ullage("destroy", "-y").code == 0
    found = ullage("reconcile")
    assert (found.code, found.out.startswith("drift: no plan was applied from this state folder")) == (1, True)
    given = ullage("reconcile", "nope.json")
    assert (given.code, "nope.json: there is no such file" in given.out) == (1, True)
    # with a plan it is what apply does
    assert ullage("reconcile", "plan.json", "--engine", "emulated").code == 0
    assert ullage("status").code == 0
