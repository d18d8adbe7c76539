"""The loop on real engines: whatever is killed comes back, and a changed fleet is led to without touching what stays."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from executor.processes import table as processes
from executor.state.folder import StateFolder
from planner.plan import RouterPlan, plan_from_json
from tests.e2e.engines import completion, guarded, post
from tests.e2e.tiny_fleet import NAMES, living, planned
from tests.executor.worlds import until
from tests.ullage.commands import PROGRAM, ullage

pytestmark = pytest.mark.vllm

# an engine starts in 40 s on two cores, and a busy machine may take ten times that
HEAL_LIMIT_S = 600.0


@contextmanager
def looping(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The loop as a process of its own; it ends well when it is asked to."""
    argv = [*PROGRAM, "reconcile", "--watch", "--interval", "1s", "--state", str(folder / ".ullage"), "--fleet-folder", str(folder)]
    with (folder / "loop.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    with guarded(("kill", "-KILL", "--", f"-{process.pid}")):
        try:
            yield process
            process.terminate()
            assert process.wait(120) == 0, (folder / "loop.log").read_text(errors="replace")
        finally:
            process.kill()
            process.wait()


def pid_of(folder: Path, name: str, title: str = "") -> int:
    """The leader of a record, or the member of its group whose command line holds the title."""
    state = StateFolder(folder / ".ullage")
    record = processes.ProcessTable(state.processes, state.logs).record(name)
    assert record is not None
    if not title:
        return record.pid
    (found,) = [pid for pid in processes.members(record) if title in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")]
    return found


def answers(router: RouterPlan, name: str) -> bool:
    """Whether a request through the router is answered."""
    try:
        answer = post(f"http://{router.host}:{router.port}/v1/completions", completion(name, "one two three", 3))
    except OSError:
        return False
    return bool(answer["usage"]["completion_tokens"] == 3)


def test_the_loop_heals_what_is_killed_and_a_changed_fleet_touches_nothing_else(place: Path, models: Path) -> None:
    plan = planned(models, *NAMES)
    router = plan.desired.router
    assert ullage("apply", "plan.json", "-y", "--engine", "vllm").code == 0
    with looping(place):
        for name, title, model in (("replica-llama-0", "", "llama"), ("replica-qwen-0", "EngineCore", "qwen"), ("router", "", "gemma")):
            before = living(place / ".ullage")
            os.kill(pid_of(place, name, title), signal.SIGKILL)

            def healed(name: str = name, before: dict[str, tuple[int, ...]] = before) -> bool:
                now = living(place / ".ullage")
                return name in now and not set(now[name]) & set(before[name])

            assert until(healed, HEAL_LIMIT_S), (place / "loop.log").read_text(errors="replace")
            assert until(lambda model=model: answers(router, model), HEAL_LIMIT_S)  # type: ignore[misc]
            untouched = set(before) - {name}
            assert {other: living(place / ".ullage")[other] for other in untouched} == {other: before[other] for other in untouched}
    status = ullage("status")
    assert (status.code, status.out.splitlines()[-1]) == (0, "no drift: what runs is what the state says"), status.out

    before = living(place / ".ullage")
    fleet = yaml.safe_load(Path("fleet.yaml").read_text(encoding="utf-8"))
    del fleet["models"]["gemma"], fleet["workloads"]["gemma"]
    Path("fleet.yaml").write_text(yaml.safe_dump(fleet), encoding="utf-8")
    assert ullage("plan", "-o", "plan.json").code == 0
    changed = plan_from_json(Path("plan.json").read_text(encoding="utf-8"), "plan.json")
    assert [action.kind for action in changed.actions] == ["set_routes", "drain", "stop"]
    # one pass of the loop does what apply would
    reconciled = ullage("reconcile", "plan.json")
    assert reconciled.code == 0, reconciled.out + reconciled.err
    del before["replica-gemma-0"]
    assert living(place / ".ullage") == before
    assert not answers(router, "gemma")
    assert answers(router, "llama")
    assert ullage("destroy", "-y").out.splitlines()[-1] == "no process is left"
