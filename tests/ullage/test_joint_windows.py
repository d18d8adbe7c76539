"""A model of the day and a model of the night share GPUs; the checker, the text and a simulation agree."""

from __future__ import annotations

from functools import cache

import pytest

from planner.plan import Plan, PlannedWindow, Replica, State
from planner.simulation.simulation_input import SimulatedRequest
from tests.planner.spec.fleet_files import load
from ullage.checking import CheckError, checked
from ullage.planning.plan import plan_fleet
from ullage.traffic.simulate import simulated
from ullage.views.plan.plan_text import plan_text

_LENGTHS = "input_tokens: 600, output_tokens: 250"
_FLEET = """
schema_version: 1
pools:
  h100: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 8, price: 2.95 USD/h}
models:
  llama-8b: {source: meta-llama/Llama-3.1-8B-Instruct}
  qwen-7b: {source: Qwen/Qwen2.5-7B-Instruct}
workloads:
  day: {model: llama-8b, class: standard, demand: DAY}
  night: {model: qwen-7b, class: standard, demand: NIGHT}
"""


@cache
def _plan(day: str, night: str) -> Plan:
    demand = [f"{{windows: [{{{when}, rate: 35/s, {_LENGTHS}}}]}}" for when in (day, night)]
    return plan_fleet(load(_FLEET.replace("DAY", demand[0]).replace("NIGHT", demand[1])), State()).plan


def _day_and_night() -> Plan:
    return _plan("start: 8h, end: 20h", "start: 0h, end: 7h")


def test_peaks_that_do_not_meet_are_not_added_up() -> None:
    desired = _day_and_night().desired
    assert desired.gpus_used == 2
    assert [sorted(gpu.replicas) for gpu in desired.gpus if gpu.replicas] == [[f"llama-8b-{i}", f"qwen-7b-{i}"] for i in (0, 1)]
    assert not any(workload.unserved_rps for workload in desired.workloads)
    assert desired.certificate.baselines["sum-of-peaks"].gpus == 4


def test_peaks_that_meet_are() -> None:
    together = _plan("hours: 06:00-20:00", "hours: 22:00-07:00").desired
    assert together.gpus_used == 4
    assert together.windows == (), "one window stands for all: at six both are there"


def test_what_is_constant_has_no_windows() -> None:
    constant = load(_FLEET.replace("DAY", f"{{rate: 35/s, {_LENGTHS}}}").replace("NIGHT", f"{{rate: 35/s, {_LENGTHS}}}"))
    plan = plan_fleet(constant, State()).plan
    assert plan.desired.gpus_used == 4
    assert plan.desired.windows == ()
    assert "sum-of-peaks" not in plan.desired.certificate.baselines
    assert "Windows planned together" not in plan_text(plan)


def test_the_text_names_the_windows_and_what_they_save() -> None:
    lines = plan_text(_day_and_night()).splitlines()
    start = lines.index("Windows planned together (peaks of all models added up: 70.00 requests/s)")
    assert lines[start + 1 : start + 4] == [
        "  00:00-07:00  35.00 requests/s, and for 1 that ask for no more",
        "  08:00-20:00  35.00 requests/s",
        "  planning them together saves 2 GPUs (5.90 USD/h) against the sum of peaks",
    ]


def test_each_model_meets_its_goals_in_its_window() -> None:
    plan = _day_and_night()
    arrivals = [("day", "llama-8b", i / 35) for i in range(2100)] + [("night", "qwen-7b", 60 + i / 35) for i in range(2100)]
    requests = [SimulatedRequest(workload, model, at_s, 600, 250, 0) for workload, model, at_s in arrivals]
    summary = simulated(plan, requests, interference_factor=1.3).summary
    assert [row.attainment_fraction for row in summary.workloads] == [1.0, 1.0]


def _tampered(plan: Plan, active: tuple[float, ...] | None = None, windows: tuple[PlannedWindow, ...] | None = None) -> Plan:
    """The plan with other activities of its first replica, or with other windows."""
    first, *others = plan.desired.replicas
    changed: Replica = first
    if active is not None:
        changed = first.model_copy(update={"forecast": first.forecast.model_copy(update={"active_fractions": active})})
    update = {"replicas": (changed, *others), "windows": plan.desired.windows if windows is None else windows}
    return plan.model_copy(update={"desired": plan.desired.model_copy(update=update)})


def test_the_checker_refuses_windows_that_do_not_fit() -> None:
    plan = _day_and_night()
    night, day = plan.desired.windows
    with pytest.raises(CheckError, match=r"GPU 0: has 2\.00 active residents in window 0, but they are sized for 1 at a time"):
        checked(_tampered(plan, (1.0, 1.0)), "plan")
    with pytest.raises(CheckError, match="llama-8b-0: never active in window 1, which has 35 requests/s of llama-8b"):
        checked(_tampered(plan, (0.0, 0.0)), "plan")
    with pytest.raises(
        CheckError, match=r"llama-8b-0 is active 50\.0% of the time at most, though even alone it would have work 100\.0% of it"
    ):
        checked(_tampered(plan, (0.0, 0.5)), "plan")
    with pytest.raises(CheckError, match="has forecasts of 1 windows, the plan has 2"):
        checked(_tampered(plan, (1.0,)), "plan")
    with pytest.raises(CheckError, match=r"llama-8b: 35 requests/s are planned, no window has more than 15"):
        checked(_tampered(plan, windows=(night, day.model_copy(update={"rates_rps": {"llama-8b": 15.0, "qwen-7b": 0.0}}))), "plan")
    assert checked(plan, "plan") == plan
