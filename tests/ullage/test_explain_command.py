"""`ullage explain`, and the options of `ullage plan` that look further or end earlier."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from planner.plan import State, plan_from_json
from planner.problem import SolveProgress, Watch
from tests.fleets import fleet, workload
from tests.ullage.commands import ullage, write_fleet
from ullage.planning.interrupt import watched
from ullage.planning.plan import plan_fleet
from ullage.views.plan.solve_progress import line


def test_the_whole_plan_in_short(work: Path) -> None:
    result = ullage("explain", "plan.json")
    assert (result.code, result.err) == (0, "")
    assert "What limits each model, and what would break it first" in result.out
    assert "loss of h100-0" in result.out


@pytest.mark.parametrize("subject", ["small", "small-0"])
def test_one_subject(subject: str, work: Path) -> None:
    result = ullage("explain", "plan.json", subject)
    assert result.code == 0
    assert "small-0 on h100-0 GPU 0" in result.out
    assert "what limits a replica" in result.out
    assert "chosen: " in result.out
    assert "broken by demand" in result.out
    assert "large-0 on" not in result.out


@pytest.mark.parametrize("subject", ["h100-0/0", "h100-0:0", "h100-0 GPU 0", "h100-0/gpu0"])
def test_a_gpu_in_use(subject: str, work: Path) -> None:
    result = ullage("explain", "plan.json", subject)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("h100-0 GPU 0, H100-SXM-80GB: time-shared by ")
    assert any(line.startswith("  small-0 on h100-0 GPU 0, time-shared with ") for line in lines)
    assert any(line.startswith("  what binds: ") and "headroom" in line for line in lines)
    assert any(line.startswith("  what would change it: demand of ") for line in lines)


def test_an_empty_gpu_says_why_and_what_it_would_cost(work: Path) -> None:
    result = ullage("explain", "plan.json", "h100-0/1")
    assert result.out.splitlines()[:2] == [
        "h100-0 GPU 1, H100-SXM-80GB: empty, of 79.2 GiB",
        "  why it is empty: all demand is served on 1 of 2 GPUs; one more would cost 3.00 USD/h and serve nothing more",
    ]
    assert "  what would change it: demand of " in result.out


def test_a_node_tells_what_dies_with_it(work: Path) -> None:
    result = ullage("explain", "plan.json", "h100-0")
    assert result.out.splitlines()[0] == "h100-0: 1 of 2 GPUs in use, 3.00 USD/h"
    assert "when it dies: large 1, middle 1, small 1 requests/s have no replica with room elsewhere" in result.out
    assert "workloads that then miss their goals: large, middle, small" in result.out


def test_a_gpu_that_others_use_and_one_that_does_not_help(tmp_path: Path) -> None:
    pools = {"h100": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 2, "taken": [{"node": 0, "gpus": [1]}]}}
    models = {"giant": {"source": "meta-llama/Llama-3.1-405B"}}
    path = write_fleet(tmp_path / "fleet.yaml", pools=pools, models=models, workloads={"giant": workload("giant")})
    assert ullage("plan", path, "-o", tmp_path / "plan.json", "--no-verify").code == 0
    assert "why it is empty: the fleet file says that others use all of it" in ullage("explain", tmp_path / "plan.json", "h100-0/1").out
    assert "why it does not help giant (1 requests/s unserved): needs " in ullage("explain", tmp_path / "plan.json", "h100-0/0").out


def test_a_gpu_that_is_not_there_is_named_with_the_nearest_node(work: Path) -> None:
    result = ullage("explain", "plan.json", "h10-0/7")
    assert result.code == 1
    assert "no workload, model, replica, node or GPU 'h10-0/7'; did you mean 'h100-0'?" in result.err


def test_json_is_the_plans_own(work: Path) -> None:
    found = json.loads(ullage("explain", "plan.json", "--json").out)
    written = json.loads((work / "plan.json").read_text(encoding="utf-8"))["desired"]["explanation"]
    assert found == written


def test_a_subject_that_is_not_there(work: Path) -> None:
    result = ullage("explain", "plan.json", "nobody")
    assert result.code == 1
    assert "no workload, model, replica, node or GPU 'nobody'; it has large, middle, small; nodes h100-0" in result.err


def test_a_plan_without_explanation_says_so(work: Path) -> None:
    document = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    document["desired"]["explanation"] = document["churn"] = None
    for row in document["desired"]["workloads"]:
        row["breaking"] = None
    (work / "old.json").write_text(json.dumps(document), encoding="utf-8")
    assert ullage("show", "old.json").code == 0
    result = ullage("explain", "old.json")
    assert (result.code, "make it again" in result.err) == (1, True)


def test_unserved_demand_names_what_one_more_gpu_buys(work: Path) -> None:
    write_fleet(work / "fleet.yaml", workloads={"large": workload("large", "500/s")})
    text = ullage("plan", "-o", "short.json").out
    assert "With one more GPU of h100: serves" in text
    assert "With one more GPU of h100: serves" in ullage("explain", "short.json", "large").out


def test_time_limit_zero_is_a_plan_that_says_what_ended_it(work: Path) -> None:
    result = ullage("plan", "--time-limit", "0", "-o", "hasty.json", "--json")
    assert result.code == 0
    figures = json.loads(result.out)
    assert figures["stopped_by"] == ("proof" if figures["status"] == "optimal" else "time_limit")


def test_a_generous_time_limit_does_not_end_what_was_proven(work: Path) -> None:
    assert json.loads(ullage("plan", "--time-limit", "600", "--json").out)["stopped_by"] == "proof"


def test_reproducible_refuses_a_limit_in_seconds(work: Path) -> None:
    result = ullage("plan", "--reproducible", "--time-limit", "5")
    assert (result.code, "contradict each other" in result.err) == (1, True)
    assert ullage("plan", "--reproducible", "-o", "again.json").code == 0
    assert (work / "again.json").read_bytes() == (work / "plan.json").read_bytes()


def test_progress_goes_to_standard_error_when_wanted(work: Path) -> None:
    result = ullage("plan", "--progress", "--json")
    assert json.loads(result.out)["status"] == "optimal"
    lines = result.err.splitlines()
    assert lines, "a plan of this fleet is not found without one line of progress"
    names = {text.split(": ", 1)[0] for text in lines}
    assert names <= {"exact", "quick"}, "every line begins with the name of the engine that reports"


def test_a_line_of_progress_has_incumbent_bound_gap_and_engine() -> None:
    assert line(SolveProgress("exact", None, 20_000_000, 19_000_000)) == "exact: cost USD/h 20, bound 19, gap 5.00%"
    assert line(SolveProgress("exact", 50, 0, 0)).startswith("exact: unserved requests/s at priority 50 0, bound 0")


def test_the_first_interrupt_asks_to_stop_and_is_told() -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with watched(lambda _: None, lambda: told.append("stopping")) as watch:
        assert not watch.stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert watch.stop()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert told == ["stopping"]
    assert signal.getsignal(signal.SIGINT) == before


def test_an_interrupted_search_is_a_plan_with_its_gap(work: Path) -> None:
    plan = plan_fleet(fleet(), State(), watch=Watch(lambda _: None, lambda: True)).plan
    certificate = plan.desired.certificate
    assert certificate.stopped_by == ("proof" if certificate.status == "optimal" else "interrupt")
    proven = plan_from_json((work / "plan.json").read_text(encoding="utf-8"), "plan.json")
    assert proven.desired.cost_usd_per_h <= plan.desired.cost_usd_per_h


HUGE = {"huge": {"source": "meta-llama/Meta-Llama-3.1-405B", "max_model_len": 4096}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": HUGE, "workloads": {"huge": workload("huge")}}, "no replica of it is possible"),
        ({"workloads": {"small": workload("small", "1000000/s")}}, "unserved"),
    ],
)
@pytest.mark.parametrize("limit", [(), ("--time-limit", "0")])
def test_what_cannot_be_served_is_a_plan_with_reasons(changes: dict[str, object], words: str, limit: tuple[str, ...], work: Path) -> None:
    write_fleet(work / "fleet.yaml", **changes)
    result = ullage("plan", "-o", "odd.json", *limit)
    assert (result.code, result.err) == (0, "")
    assert words in result.out
    assert ullage("explain", "odd.json").code == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"pools": {"h100": {"gpu": "H100", "nodes": 0, "gpus_per_node": 2, "price": "3 USD/h"}}},
        {
            "pools": {name: {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"} for name in ("one", "two")},
            "workloads": {"a": workload("small", pin=["one"]), "b": workload("small", pin=["two"])},
        },
        {"workloads": {"small": workload("small", "10000000/s")}},
    ],
    ids=["no nodes", "pins that contradict each other", "more requests than are allowed"],
)
def test_what_makes_no_sense_is_refused_with_its_place(changes: dict[str, object], work: Path) -> None:
    write_fleet(work / "fleet.yaml", **changes)
    result = ullage("plan")
    assert result.code == 1
    assert "fleet.yaml:" in result.err
    assert "Traceback" not in result.err


def test_whole_nodes_are_paid_where_they_are_rented(tmp_path: Path) -> None:
    pool = {"gpu": "H100-SXM-80GB", "nodes": 2, "gpus_per_node": 4, "price": "1 USD/h", "ownership": "rentable"}
    path = write_fleet(tmp_path / "fleet.yaml", pools={"l": pool})
    assert ullage("plan", path, "-o", tmp_path / "plan.json", "--no-verify").code == 0
    assert "l-0: 2 of 4 GPUs in use, 4.00 USD/h" in ullage("explain", tmp_path / "plan.json", "l-0").out
    assert "one more would cost 0.00 USD/h" in ullage("explain", tmp_path / "plan.json", "l-0/3").out
    assert "one more would cost 4.00 USD/h" in ullage("explain", tmp_path / "plan.json", "l-1/0").out
