"""ullage schedule: a folder of plans, and the loop that follows it by the clock."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from planner.disruption_budget import second_of_week_s
from planner.plan import Plan, plan_from_json
from tests.executor.reconcile.loops import Loop
from tests.fleets import workload
from tests.planner.schedule.test_horizon import windowed
from tests.planner.schedule.test_sleeping import MODELS, POOL, WORKLOADS
from tests.ullage.commands import ullage, write_fleet
from ullage.checking import architecture_of
from ullage.schedule_folder import plan_at, read_schedule

DAY, NIGHT = datetime(2026, 11, 30, 12, tzinfo=UTC), datetime(2026, 11, 30, 23, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_fleet(tmp_path / "fleet.yaml", pools={"l40s": POOL}, models=MODELS, workloads=WORKLOADS)
    return tmp_path


def _made(*more: str) -> None:
    result = ullage("schedule", "fleet.yaml", "-o", "schedule", "--no-verify", *more)
    assert (result.code, result.err) == (0, "")


def test_a_schedule_says_when_what_holds_and_what_that_saves(folder: Path) -> None:
    result = ullage("schedule", "fleet.yaml", "-o", "schedule")
    assert (result.code, result.err) == (0, "")
    assert "2 phases, 3.00 USD/h on average (one plan at all times costs 4.50 USD/h on 3 GPUs; the phases save 33%)" in result.out
    assert "phase-1  00:00-08:00, 20:00-00:00  2" in result.out
    assert "wrote schedule; next: ullage reconcile schedule --watch" in result.out
    files = {path.name: path.read_bytes() for path in (folder / "schedule").iterdir()}
    assert sorted(files) == ["phase-1.json", "phase-2.json", "schedule.json"]
    assert ullage("schedule", "fleet.yaml", "-o", "other").code == 0
    assert {path.name: path.read_bytes() for path in (folder / "other").iterdir()} == files
    plan = plan_from_json(files["phase-1.json"].decode(), "phase-1.json")
    assert all(row.simulated for row in plan.desired.workloads)
    figures = json.loads(ullage("schedule", "fleet.yaml", "--json", "--no-verify").out)
    assert figures["single_gpus"] == 3


def test_planned_again_what_is_there_stays_and_old_phases_go(folder: Path) -> None:
    _made()
    before = read_schedule(folder / "schedule")
    _made()
    assert read_schedule(folder / "schedule") == before
    always = {**WORKLOADS, "day": workload("middle", "4/s"), "night": windowed("large", ("00:00-24:00", "1.5/s"))}
    write_fleet(folder / "fleet.yaml", pools={"l40s": POOL}, models=MODELS, workloads=always)
    _made()
    assert sorted(path.name for path in (folder / "schedule").iterdir()) == ["phase-1.json", "schedule.json"]


def _at(folder: Path, loop: Loop, moment: datetime) -> Plan:
    return plan_at(folder / "schedule", moment, loop.folder.load(), architecture_of)


def _pass(folder: Path, loop: Loop, moment: datetime) -> list[str]:
    report = loop.once_from(lambda: _at(folder, loop, moment))
    assert report.failures == ()
    assert loop.once_from(lambda: _at(folder, loop, moment)).outcome == "steady"
    return [line for line in report.actions if line.split()[0] in {"start", "stop", "sleep", "wake"}]


def test_the_loop_follows_the_clock_and_starts_each_engine_once(folder: Path) -> None:
    _made()
    loop = Loop(folder / "state")
    assert sorted(_pass(folder, loop, DAY)) == ["start middle-0", "start small-0"]
    assert _pass(folder, loop, NIGHT) == ["sleep middle-0", "start large-0"]
    assert _pass(folder, loop, DAY + timedelta(days=1)) == ["sleep large-0", "wake middle-0"]
    assert _pass(folder, loop, NIGHT + timedelta(days=1)) == ["sleep middle-0", "wake large-0"]
    routes = {route.served_name: len(route.backends) for route in loop.folder.load().routes}
    assert routes == {"large": 1, "middle": 0, "small": 1}


def test_the_hour_is_that_of_utc_wherever_the_clock_is() -> None:
    # a zone with daylight saving: the same moment by both of its clocks
    for hours in (1, 2):
        zone = timezone(timedelta(hours=hours))
        assert second_of_week_s(datetime(2026, 3, 29, 12 + hours, 30, tzinfo=zone)) == 6 * 86_400 + 12.5 * 3600


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workloads": {"small": workload("small")}}, "workloads: all demand is constant"),
        (
            {"models": {name: {**model, "engine_version": "0.16.0"} for name, model in MODELS.items()}},
            r"models\.small\.sleep: vLLM 0\.16\.0 breaks off the requests in it when it is put to sleep",
        ),
        ({"pools": {"l40s": {**POOL, "hosts": ["10.0.0.1"]}}}, r"models\.small\.sleep: engines of pool l40s listen on 10\.0\.0\.1"),
        ({"pools": {"l40s": {**POOL, "start_time": "5min"}}}, r"start_time: is for rentable pools"),
    ],
)
def test_what_no_schedule_can_be_made_for_is_told(folder: Path, changes: dict[str, Any], message: str) -> None:
    write_fleet(folder / "fleet.yaml", **{"pools": {"l40s": POOL}, "models": MODELS, "workloads": WORKLOADS, **changes})
    result = ullage("schedule", "fleet.yaml")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert re.search(message, result.err), result.err


def test_bad_options_and_damaged_folders_are_one_line(folder: Path) -> None:
    assert "--shortest: 'soon' is not a duration" in ullage("schedule", "fleet.yaml", "--shortest", "soon").err
    (folder / "file").write_text("")
    assert "file: is a file; name a folder" in ullage("schedule", "fleet.yaml", "-o", "file").err
    (folder / "empty").mkdir()
    assert "there is no such file; `ullage schedule" in ullage("reconcile", "empty", "--engine", "emulated").out
    _made()
    path = folder / "schedule" / "schedule.json"
    written = json.loads(path.read_text())
    for damage, message in (
        ({"phases": []}, "phases: Tuple should have at least 1 item"),
        ({"timeline": "trace.csv"}, "is on the time of the trace trace.csv, which no clock shows"),
        ({"phases": [{**item, "plan": "../plan.json"} for item in written["phases"]]}, "must be a file in the same folder"),
        ({"phases": [{**item, "desired_sha256": "0"} for item in written["phases"]]}, "is not the plan that schedule.json was made with"),
    ):
        path.write_text(json.dumps({**written, **damage}))
        result = ullage("reconcile", "schedule", "--engine", "emulated")
        assert result.code == 1
        assert message in result.err + result.out
        assert "Traceback" not in result.err


def test_changes_that_wait_for_a_maintenance_window_are_told(folder: Path) -> None:
    """Phase 1 begins at eight in the evening, which is open; that it goes on at midnight is no change."""
    budget = {"windows": [{"hours": "20:00-21:00"}]}
    fleet = {"pools": {"l40s": POOL}, "models": MODELS, "workloads": WORKLOADS}
    write_fleet(folder / "fleet.yaml", **fleet, policy={"disruption_budget": budget})
    result = ullage("schedule", "fleet.yaml", "-o", "schedule", "--no-verify")
    assert (result.code, result.err) == (0, "")
    warned = [line for line in result.out.splitlines() if line.startswith("warning: ")]
    assert warned == [
        "warning: the change into phase-2: no window of policy.disruption_budget is open at Mon 08:00 UTC: "
        "who is to leave stays until Mon 20:00 UTC"
    ]
    assert [len(phase.waits) for phase in read_schedule(folder / "schedule").phases] == [0, 1]
    write_fleet(folder / "fleet.yaml", **fleet)
    assert "warning" not in ullage("schedule", "fleet.yaml", "--no-verify").out
