"""ullage playbook and whatif --burst: from the fleet file to refused requests on emulated engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from executor.clients.replay import ReplayRequest, replay
from planner.plan import to_json
from planner.simulation.traffic_metrics import RequestRecord
from tests.planner.playbook.burst_fleet import burst_fleet_dict
from tests.ports import free_ports
from tests.ullage.commands import ullage
from ullage.inputs import read_plan

PERIOD = "5s"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fleet of a chat and who yields to it, and its plan."""
    folder = tmp_path_factory.mktemp("burst")
    first = free_ports(10)[0]
    ports = {"router": {"port": first, "admin_port": first + 1}, "ports": {"start": first + 2, "end": first + 9}}
    (folder / "fleet.yaml").write_text(yaml.safe_dump(burst_fleet_dict(2.0, **ports)), encoding="utf-8")
    result = ullage("plan", folder / "fleet.yaml", "-o", folder / "plan.json")
    assert result.code == 0, result.err
    assert "Bursts of one workload, of 300 s (policy.bursts; its goals count as kept with 99%)" in result.out
    assert "  chat x2: keeps " in result.out
    assert "  night x2: absorbed as it is\n" in result.out
    return folder


@pytest.fixture
def applied(planned: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
    assert ullage("apply", planned / "plan.json", "--engine", "emulated", "-y").code == 0
    yield planned
    assert ullage("destroy", "--state", planned / ".ullage", "-y").code == 0


def asked(folder: Path, model: str) -> RequestRecord:
    router = read_plan(folder / "plan.json").desired.router
    [record] = replay(router.host, router.port, [ReplayRequest(0.0, model, model, 20, 2)], 1.0)
    return record


@pytest.mark.slow
def test_show_prints_the_steps(planned: Path) -> None:
    shown = ullage("playbook", "show", planned / "plan.json", "chat")
    assert shown.code == 0
    assert "  1. refuse " in shown.out
    assert "frees " in shown.out
    [entry] = json.loads(ullage("playbook", "show", planned / "plan.json", "chat", "--json").out)
    assert (entry["workload"], entry["load_factor"], len(entry["steps"]) > 0) == ("chat", 2.0, True)
    assert len(json.loads(ullage("playbook", "show", planned / "plan.json", "--json").out)) == 5


def test_whatif_answers_a_burst_from_the_plan_and_the_simulation(planned: Path) -> None:
    answer = ullage("whatif", planned / "plan.json", "--burst", "chat=x2", "--for", PERIOD)
    assert answer.code == 0, answer.err
    assert "(from the plan's playbook)" in answer.out
    assert "Simulated for 5 s after a minute of planned load" in answer.out
    found = json.loads(ullage("whatif", planned / "plan.json", "--burst", "chat=2", "--for", "60s", "--json").out)
    rows = {row["workload"]: row for row in found["rows"]}
    assert rows["chat"]["without_fraction"] < 0.9 < rows["chat"]["with_fraction"]
    refused = {step["workload"] for step in found["burst"]["steps"]}
    assert {name for name, row in rows.items() if row["refused_requests"]} == refused
    assert all(rows[name]["with_fraction"] == 0.0 for name in refused)
    assert rows["night"]["refused_requests"] == 0


def test_whatif_makes_an_entry_that_the_plan_does_not_have(planned: Path) -> None:
    plan = read_plan(planned / "plan.json")
    (planned / "bare.json").write_text(
        to_json(plan.model_copy(update={"desired": plan.desired.model_copy(update={"playbook": ()})})), encoding="utf-8"
    )
    answer = ullage("whatif", planned / "bare.json", "--burst", "night=x3", "--for", PERIOD)
    assert answer.code == 0, answer.err
    assert "night x3: absorbed as it is  (not in the plan; made now)" in answer.out


@pytest.mark.slow
def test_a_step_is_executed_and_undone(applied: Path) -> None:
    plan = applied / "plan.json"
    entry = next(item for item in read_plan(plan).desired.playbook if item.workload == "chat")
    assert "code" in {step.workload for step in entry.steps}
    result = ullage("playbook", "run", plan, "chat", "x2", "--step", len(entry.steps))
    assert (result.code, result.err) == (0, "")
    assert "note: playbook: refuses code" in result.out
    assert (asked(applied, "qwen-7b").error, asked(applied, "llama-8b").error) == ("http 503", None)
    status = ullage("status", "--state", applied / ".ullage")
    assert "refused while another workload has a burst: code" in status.out
    assert ullage("playbook", "run", plan, "chat", "2", "--undo").code == 0
    assert asked(applied, "qwen-7b").error is None
    nothing = ullage("playbook", "run", plan, "night", "2")
    assert (nothing.code, nothing.out) == (0, "night x2: the playbook has no step for it, so nothing was done\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("whatif", "plan.json", "--burst", "chat"), "--burst 'chat': write WORKLOAD=xFACTOR"),
        (("whatif", "plan.json", "--burst", "chat=x1"), "a factor above 1"),
        (("whatif", "plan.json", "--burst", "caht=x2"), "--burst caht: no workload of the plan that is served"),
        (("whatif", "plan.json", "--burst", "chat=x2", "--for", "1d"), "--for 1d: must be between 1s and 3600s"),
        (("whatif", "plan.json", "--burst", "chat=x100", "--for", "1h"), "give a shorter time"),
        (("whatif", "plan.json", "--burst", "chat=x2", "--set", "workloads.chat.rate=x2"), "--burst: is answered by itself"),
        (("playbook", "show", "plan.json", "nobody"), "has no playbook for nobody"),
        (("playbook", "run", "plan.json", "chat", "x3"), "the playbook has chat with x2, not with x3"),
        (("playbook", "run", "plan.json", "chat", "x2", "--step", "9"), "--step 9: chat x2 has"),
        (("playbook", "run", "plan.json", "chat", "x2", "--state", "empty"), "no plan is applied from this state folder"),
    ],
)
def test_what_cannot_be_answered_says_why(planned: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(planned)
    result = ullage(*arguments)
    assert result.code == 1
    assert said in result.err
