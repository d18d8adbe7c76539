"""Reports of status and destroy, and the progress of a replay, as text."""

from __future__ import annotations

import pytest

from executor.applying.destroy import DestroyReport
from executor.backends.protocol import EngineLoad
from executor.clients.replay import ReplayProgress
from executor.events import Event
from executor.status import ReplicaStatus, RouterStatus, StatusReport
from tests.ullage.commands import ullage
from ullage.views.progress import PLAIN_EVERY, replay_progress
from ullage.views.status_text import destroy_text, event_line, status_text


def row(name: str, condition: str, load: EngineLoad | None = None) -> ReplicaStatus:
    alive = condition in {"ready", "running"}
    return ReplicaStatus(name, condition, 71 if alive else None, "h100-0", (0, 1), 8100, 26208 if alive else None, alive, load)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event("done", 3, 7, "start", "small-0"), "[3/7] start small-0 done"),
        (Event("failed", 3, 7, "start", "small-0", "no memory"), "[3/7] start small-0 failed: no memory"),
        (Event("done", 0, 0, "stop", "router"), "stop router done"),
        (Event("note", 0, 7, "note", "small-0", "is started again"), "note: small-0: is started again"),
    ],
)
def test_an_event_is_a_line(event: Event, line: str) -> None:
    assert event_line(event) == line


def test_status_shows_each_replica_the_router_and_every_difference() -> None:
    load = EngineLoad(running=3, waiting=1, kv_fraction=0.42, prompt_tokens=0, generated_tokens=0)
    rows = (row("a-0", "ready", load), row("b-0", "missing"))
    report = StatusReport(7, rows, RouterStatus(True, 99, "127.0.0.1", 8080, None), ("replica b-0: does not run",))
    assert status_text(report).splitlines() == [
        "state serial 7: 2 replicas",
        "  replica  condition  pid  node    GPU  port  MiB    running  waiting  KV use",
        "  a-0      ready      71   h100-0  0,1  8100  26208  3        1        42%",
        "  b-0      missing    -    h100-0  0,1  8100  -      -        -        -",
        "router at 127.0.0.1:8080 runs (pid 99)",
        "drift: replica b-0: does not run",
    ]


def test_status_of_nothing() -> None:
    assert status_text(StatusReport(0, (), None, ())) == "state serial 0: 0 replicas\nno drift: what runs is what the state says\n"


def test_destroy_says_what_is_left_and_whether_memory_was_over_committed() -> None:
    assert destroy_text(DestroyReport((), (), None)) == "nothing was running\nno process is left\n"
    assert destroy_text(DestroyReport(("router", "replica-a-0"), ("replica-a-0: process 7",), 2)).splitlines() == [
        "stopped 2 processes",
        "memory over-commits recorded by the emulated GPUs: 2",
        "left over: replica-a-0: process 7",
    ]


def test_a_state_folder_that_is_not_there_is_named(work: object) -> None:
    status = ullage("status", "--state", "tpyo")
    assert (status.code, status.out) == (1, "")
    assert status.err == (
        "error: tpyo: this state folder does not exist, so nothing was applied from it; name another one with --state; "
        "`ullage apply plan.json` creates one\n"
    )
    # what is not there is destroyed already
    destroy = ullage("destroy", "--state", "tpyo")
    assert destroy.code == 0
    assert destroy.out.startswith("tpyo: this state folder does not exist, so nothing was applied from it")


def test_progress_into_a_log_is_a_plain_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with replay_progress() as tell:
        for second in range(PLAIN_EVERY + 1):
            tell(ReplayProgress(elapsed_s=second, sent=2 * second, ended=second, errors=0, total=40, late_s=0.0))
    assert capsys.readouterr().err.splitlines() == [
        "    0 s: 0 of 40 sent, 0 ended, 0 errors",
        "   10 s: 20 of 40 sent, 10 ended, 0 errors",
    ]
