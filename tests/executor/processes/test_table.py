"""Process groups: recorded before they run, stopped as a whole, never confused with strangers."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from executor.applying.destroy import destroy
from executor.errors import StateError
from executor.processes import proc
from executor.processes import table as processes
from tests.executor.worlds import ENDED_FIRST_THREAD, World, until

SLEEP = ("import signal; signal.pause()",)
FORKS = (
    "import os, signal\n"
    "pid = os.fork()\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', os.getpid(), flush=True)\n"
    "signal.pause()\n"
    "while True: signal.pause()\n",
)


def start(world: World, code: tuple[str, ...], name: str = "p") -> processes.ProcessRecord:
    world.folder.create()
    table = processes.ProcessTable(world.folder.processes, world.folder.logs)
    return table.start(name, (sys.executable, "-c", *code), dict(os.environ), "hash", world.folder.root)


def test_a_process_leads_its_own_session_and_is_on_record(world: World) -> None:
    record = start(world, SLEEP)
    facts = proc.facts(record.pid)
    assert facts is not None
    assert (facts.session, facts.group, processes.alive(record)) == (record.pid, record.pid, True)
    table = processes.ProcessTable(world.folder.processes, world.folder.logs)
    assert table.record("p") == record
    asyncio.run(processes.stop(record, grace_s=5.0))
    assert not processes.alive(record)


def test_without_our_go_nothing_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if we died after the fork and before the record was on disk."""

    def die(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "write_atomic", die)
    before = pids()
    with pytest.raises(KeyboardInterrupt):
        start(world, ("open('ran', 'w').close(); import signal; signal.pause()",))
    shells = pids() - before
    assert until(lambda: not any(_is_child(pid) for pid in shells))
    assert not (world.folder.root / "ran").exists()


def pids() -> set[int]:
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}


def _is_child(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def test_a_group_that_ignores_sigterm_is_killed_with_its_children(world: World) -> None:
    record = start(world, FORKS)
    assert until(lambda: Path(record.log).read_text().count("up") == 2)
    assert len(processes.members(record)) == 2
    asyncio.run(processes.stop(record, grace_s=0.2))
    assert processes.members(record) == ()


def test_orphans_of_a_killed_leader_are_found_and_stopped(world: World) -> None:
    """kill -9 of a real engine's API process leaves its core with the GPU memory."""
    record = start(world, FORKS)
    assert until(lambda: Path(record.log).read_text().count("up") == 2)
    world.kill(record.name)
    assert len(processes.members(record)) == 1
    asyncio.run(processes.stop(record, grace_s=0.2))
    assert proc.session_members(record.pid) == ()


def test_a_process_lives_until_its_last_thread_ended(world: World) -> None:
    """A killed engine shows Z for its first thread while others still hold its port and its memory."""
    record = start(world, (ENDED_FIRST_THREAD,))
    assert until(lambda: (facts := proc.facts(record.pid)) is not None and facts.state == "Z")
    assert (processes.alive(record), processes.members(record)) == (True, (record.pid,))
    asyncio.run(processes.stop(record, grace_s=0.2))
    assert (processes.alive(record), processes.members(record)) == (False, ())


@pytest.mark.parametrize("reason", ["the number was given again", "another boot"])
def test_a_process_that_only_has_the_same_number_is_never_signalled(world: World, reason: str) -> None:
    record = start(world, SLEEP)
    stale = replace(record, boot_id="other") if reason == "another boot" else replace(record, start_ticks=1)
    assert (processes.alive(stale), processes.members(stale)) == (False, ())
    asyncio.run(processes.stop(stale, grace_s=0.1))
    assert processes.alive(record)


def test_a_program_that_does_not_exist_ends_with_the_reason_in_its_log(world: World) -> None:
    world.folder.create()
    table = processes.ProcessTable(world.folder.processes, world.folder.logs)
    record = table.start("p", ("/no/such/program",), dict(os.environ), "hash", world.folder.root)
    assert until(lambda: not processes.alive(record))
    assert "/no/such/program" in Path(record.log).read_text()


def test_a_damaged_record_is_an_error(world: World) -> None:
    world.folder.create()
    (world.folder.processes / "p.json").write_text("{")
    with pytest.raises(StateError, match=r"p\.json: not a process record"):
        processes.ProcessTable(world.folder.processes, world.folder.logs).records()
    (world.folder.processes / "p.json").unlink()


def test_a_damaged_record_keeps_destroy_from_nothing_else(world: World) -> None:
    record = start(world, SLEEP, "replica-a")
    (world.folder.processes / "replica-b.json").write_text("{")
    report = destroy(world.folder.root)
    assert not processes.alive(record)
    assert report.stopped == ("replica-a",)
    assert [line.split(": ")[1] for line in report.leftovers] == ["not a process record"]
    # what cannot be told stays for people to look at
    (world.folder.processes / "replica-b.json").unlink()
