"""A schedule on real engines: one sleeps by the clock and wakes again, while requests keep coming; none is lost."""

from __future__ import annotations

import asyncio
import os
import threading
import urllib.error
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from executor.reconcile.run import until_sure
from executor.state.folder import StateFolder
from planner.plan import Plan, Route, State, as_applied, desired_hash
from planner.schedule.horizon import during, horizon
from planner.schedule.sleeping import with_sleepers
from planner.schedule.timetable import PhaseTime, Schedule, SchedulePhase
from planner.transitions.change import change
from tests.e2e.engines import completion, post
from tests.e2e.tiny_fleet import planned
from tests.executor.worlds import until
from ullage.inputs import read_fleet
from ullage.keeping import Keeper
from ullage.planning.plan import plan_fleet
from ullage.schedule_folder import write_schedule

pytestmark = pytest.mark.vllm

MORNING, EVENING = datetime(2026, 11, 30, 9, tzinfo=UTC), datetime(2026, 11, 30, 21, tzinfo=UTC)
# engines start in 40 s on two cores, and a busy machine may take ten times that
LIMIT_S = 900.0


@pytest.fixture
def sleepy(place: Path, vllm: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine under its name, but for the flag of sleep mode, which its CPU build refuses although it has the paths."""
    folder = place / "bin"
    folder.mkdir()
    words = 'for word; do shift; [ "$word" = --enable-sleep-mode ] || set -- "$@" "$word"; done'
    (folder / "vllm").write_text(f'#!/bin/sh\n{words}\nexec {vllm} "$@"\n', encoding="utf-8")
    (folder / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return place


def _two_phases(models: Path) -> tuple[Plan, Plan]:
    """By day llama and qwen, by night qwen while llama sleeps."""
    planned(models, "llama", "qwen")
    written = yaml.safe_load(Path("fleet.yaml").read_text(encoding="utf-8"))
    written["models"]["llama"]["sleep"] = True
    demand = written["workloads"]["llama"]["demand"]
    written["workloads"]["llama"]["demand"] = {"windows": [{"hours": "00:00-12:00", **demand}]}
    Path("fleet.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    spec = read_fleet(Path("fleet.yaml"))
    time = horizon(spec)
    day, late = (plan_fleet(during(spec, time, [number]), State()).plan for number in (0, 1))
    night = plan_fleet(during(spec, time, [1]), as_applied(day)).plan
    assert late.desired.workloads == night.desired.workloads
    silent = night.desired.model_copy(update={"routes": (Route(served_name="llama", backends=()), *night.desired.routes)})
    desired = with_sleepers(silent, day.desired, {"llama"})
    assert [item.name for item in desired.asleep] == ["llama-0"]
    return day, change(as_applied(day), desired)


def _written(plans: tuple[Plan, Plan]) -> Path:
    blank = dict.fromkeys(("gpus", "loads_mib", "starts", "wakes", "sleeps", "stops"), 0)
    phases = [
        SchedulePhase(
            name=f"phase-{number}",
            plan=f"phase-{number}.json",
            desired_sha256=desired_hash(plan.desired),
            times=(PhaseTime(start_s=43_200.0 * number, end_s=43_200.0 * (number + 1)),),
            usd_per_h=0.1,
            nodes={},
            unserved_rps=0.0,
            sleepers=(),
            lead_s=0.0,
            change_s=0.0,
            late_s={},
            **blank,
        )
        for number, plan in enumerate(plans)
    ]
    schedule = Schedule(
        timeline="clock",
        end_s=86_400.0,
        repeats=True,
        phases=tuple(phases),
        usd_per_h=0.1,
        switches_usd=0.0,
        single_usd_per_h=0.1,
        single_gpus=1,
        changes=2,
    )
    write_schedule(Path("schedule"), schedule, {phase.plan: plan for phase, plan in zip(phases, plans, strict=True)})
    return Path("schedule")


class Client(threading.Thread):
    """Asks a model again and again; a 503 is an answer, after which it asks the same again; anything else is a lost request."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._name = name
        self._end = threading.Event()
        self.answered = 0
        self.turned_away = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while not self._end.is_set():
            try:
                answer = post(f"{self._url}/v1/completions", completion(self._name, "one two three", 40))
                self.answered += answer["usage"]["completion_tokens"] == 40
            except urllib.error.HTTPError as error:
                if error.code == 503 and error.headers["retry-after"]:
                    self.turned_away += 1
                    self._end.wait(0.2)
                else:
                    self.lost.append(str(error))
            except OSError as error:
                self.lost.append(str(error))

    def stop(self) -> None:
        self._end.set()
        self.join()


def test_a_model_sleeps_and_wakes_by_the_clock_and_no_request_is_lost(sleepy: Path, models: Path) -> None:
    plans = _two_phases(models)
    folder, now = _written(plans), [MORNING]
    keeper = Keeper(StateFolder(sleepy / ".ullage"), folder, "vllm", None, today=lambda: now[0])

    def passed(moment: datetime) -> list[str]:
        now[0] = moment
        reports = asyncio.run(until_sure(keeper.reconciler(lambda _: None, retry=False), keeper.read_goal))
        assert [report.failures for report in reports] == [()] * len(reports)
        return [line for report in reports for line in report.actions if line.split()[0] in {"start", "stop", "sleep", "wake"}]

    assert sorted(passed(MORNING)) == ["start llama-0", "start qwen-0"]
    router = plans[0].desired.router
    clients = [Client(f"http://{router.host}:{router.port}", name) for name in ("llama", "qwen")]
    for client in clients:
        client.start()
    try:
        assert until(lambda: all(client.answered >= 3 for client in clients), LIMIT_S)
        assert passed(EVENING) == ["sleep llama-0"]
        before = [client.answered for client in clients]
        assert until(lambda: clients[1].answered >= before[1] + 5 and clients[0].turned_away > 0, LIMIT_S)
        assert clients[0].answered == before[0]
        assert passed(MORNING) == ["wake llama-0"]
        assert until(lambda: clients[0].answered >= before[0] + 3, LIMIT_S)
    finally:
        for client in clients:
            client.stop()
    assert [client.lost for client in clients] == [[], []]
    assert clients[1].turned_away == 0
