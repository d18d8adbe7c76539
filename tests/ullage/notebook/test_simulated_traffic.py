"""A simulated plan: the tables of the command, and utilisation over time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ullage.commands import ullage, write_trace
from ullage.notebook.fleet_plan import FleetPlan
from ullage.notebook.simulated_traffic import SimulatedTraffic
from ullage.traffic.plan_traffic import TraceUse, plan_requests
from ullage.traffic.requests import TrafficError
from ullage.traffic.simulate import simulated
from ullage.views.tables.traffic_tables import TRAFFIC_COLUMNS


@pytest.fixture(scope="module")
def found(plan: FleetPlan) -> SimulatedTraffic:
    return plan.simulate(seconds=60, seed=2)


def test_it_is_what_the_command_prints(plan: FleetPlan, planned: Path, found: SimulatedTraffic) -> None:
    assert str(found) == ullage("simulate", planned / "plan.json", "--seconds", "60", "--seed", "2").out
    assert str(plan.simulate(planned / "trace.csv")) == ullage("simulate", planned / "plan.json", "--trace", planned / "trace.csv").out
    slow = ("--trace", planned / "trace.csv", "--slow", "--interference", "1.3")
    assert (
        str(plan.simulate(str(planned / "trace.csv"), slow=True, interference_factor=1.3))
        == ullage("simulate", planned / "plan.json", *slow).out
    )


def test_frames_are_the_rows_of_the_result(planned: Path, found: SimulatedTraffic) -> None:
    printed = json.loads(ullage("simulate", planned / "plan.json", "--seconds", "60", "--seed", "2", "--json").out)
    for kind, columns in TRAFFIC_COLUMNS.items():
        assert list(found.to_frame(kind).columns) == list(columns)
        assert len(found.to_frame(kind)) == len(found.rows(kind)) > 0
    assert found.rows("gpus") == printed["gpus"]
    assert {row["workload"]: row["attained"] for row in found.rows()} == {row["workload"]: row["attained"] for row in printed["workloads"]}
    assert [row["ttft_p95_s"] for row in found.rows()] == [row["ttft"] and row["ttft"]["p95_s"] for row in printed["workloads"]]
    assert found.attainment_fraction == {row["workload"]: row["attainment_fraction"] for row in printed["workloads"]}
    with pytest.raises(ValueError, match=r"did you mean 'utilisation'\?"):
        found.to_frame("utilization")


def test_over_time_each_gpu_is_as_busy_as_in_all(found: SimulatedTraffic) -> None:
    frame = found.to_frame("utilisation")
    for use in found.found.gpus:
        parts = frame[frame["gpu"] == use.gpu]
        assert len(parts) <= 60
        assert float(parts["start_s"].iloc[0]) == 0.0
        assert list(parts["start_s"])[1:] == list(parts["end_s"])[:-1]
        lengths_s = parts["end_s"] - parts["start_s"]
        assert float((parts["busy_fraction"] * lengths_s).sum() / lengths_s.sum()) == pytest.approx(use.busy_fraction)


def test_the_length_of_a_part_can_be_chosen(plan: FleetPlan) -> None:
    requests = plan_requests(plan.document, None, TraceUse(length_s=20.0), 0)
    parts = simulated(plan.document, requests, part_s=7.0).utilisation
    assert {round(part.end_s - part.start_s, 9) for part in parts[:2]} == {7.0}


def test_the_same_input_gives_the_same_result_and_another_seed_another(plan: FleetPlan, found: SimulatedTraffic) -> None:
    assert plan.simulate(seconds=60, seed=2).found == found.found
    assert plan.simulate(seconds=60, seed=3).found != found.found


def test_a_trace_that_does_not_fit_is_named(plan: FleetPlan, planned: Path, tmp_path: Path) -> None:
    strange = write_trace(tmp_path / "trace.csv", "small", "nobody")
    with pytest.raises(TrafficError, match="nobody"):
        plan.simulate(strange)
    assert plan.simulate(strange, workload_of={"nobody": "large"}).summary.total.requests == 2
    assert plan.simulate(planned / "trace.csv", repeat_rate=4).summary.total.requests == 12
    with pytest.raises(ValueError, match="is about a trace, and none is given"):
        plan.simulate(start_s=3.0)
    with pytest.raises(ValueError, match="there is no such file"):
        plan.simulate(tmp_path / "none.csv")


def test_it_shows_itself_with_names_escaped(found: SimulatedTraffic, hostile: FleetPlan) -> None:
    assert repr(found).startswith("<SimulatedTraffic: ")
    html = found._repr_html_()
    assert html.count("<table>") == 2
    assert "<script" not in (shown := hostile.simulate(seconds=30)._repr_html_())
    assert "&lt;script&gt;" in shown


def test_a_warning_is_shown(plan: FleetPlan, found: SimulatedTraffic) -> None:
    assert found.warning is None
    desired = plan.document.desired.model_copy(update={"measurements_sha256": "0" * 64})
    told = FleetPlan(plan.document.model_copy(update={"desired": desired})).simulate(seconds=30)
    assert told.warning is not None
    assert "the plan rests on measurements and none are given" in told._repr_html_()
