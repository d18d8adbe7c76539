"""simulate and the way from a trace to a workload's requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.demand.traces import TraceRequest
from planner.plan import State
from planner.simulation.traffic_metrics import Percentiles, Summary, WorkloadRow
from tests.fleets import fleet
from tests.plans import mig_plan, plan_of, replica
from tests.ullage.commands import TRACE_HEAD, ullage
from ullage.planning.plan import plan_fleet
from ullage.traffic.requests import TrafficError, declared_requests, tagged, window_of
from ullage.views.traffic_text import traffic_text


def trace(*arrivals_s: float, tenant: str = "") -> tuple[TraceRequest, ...]:
    return tuple(TraceRequest(arrival_s, 10, 5, tenant, 0) for arrival_s in arrivals_s)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(1, 5), st.data())
def test_the_whole_trace_from_any_request_on_is_kept(arrivals_s: list[float], k: int, data: st.DataObject) -> None:
    requests = trace(*sorted(arrivals_s))
    start_s = data.draw(st.sampled_from([None, *arrivals_s]))
    found, length_s = window_of(requests, None, start_s, k)
    assert len(found) == k * sum(item.arrival_s >= (start_s or 0.0) for item in requests)
    assert all(0 <= item.arrival_s < length_s for item in found)


def test_the_busiest_stretch_is_taken_unless_a_start_is_given() -> None:
    requests = trace(0.0, 10.0, 11.0, 12.0, 30.0)
    found, length_s = window_of(requests, 5.0, None, 1)
    assert ([item.arrival_s for item in found], length_s) == ([0.0, 1.0, 2.0], 5.0)
    found, _ = window_of(requests, 5.0, 29.0, 2)
    assert [item.arrival_s for item in found] == [1.0, 3.5]
    with pytest.raises(TrafficError, match="no request between 40 s and 45 s; it ends at 30 s"):
        window_of(requests, 5.0, 40.0, 1)


def test_tenants_become_workloads_by_map_by_name_or_because_there_is_only_one() -> None:
    plan = mig_plan()
    by_name = tagged(plan, trace(0.0, tenant="llama-8b-chat"), {})
    assert [(item.workload, item.served_name) for item in by_name] == [("llama-8b-chat", "llama-8b")]
    mapped = tagged(plan, trace(0.0, tenant="llama-8b-chat"), {"llama-8b-chat": "qwen3-8b-chat"})
    assert [item.workload for item in mapped] == ["qwen3-8b-chat"]
    alone = plan_of((replica("llama-8b-0", mode="exclusive"),), gpu_count=1)
    assert [item.workload for item in tagged(alone, trace(0.0, tenant="anybody"), {})] == ["llama-8b-chat"]
    many = tuple(request for name in "abcdefg" for request in trace(0.0, tenant=name))
    with pytest.raises(TrafficError, match="tenants of the trace: a, b, c, d, e and 2 more; the plan has llama-8b-chat, qwen3-8b-chat"):
        tagged(plan, many, {})


def test_simulate_gives_the_same_result_for_the_same_seed(work: Path) -> None:
    rows = "".join(f"{0.2 * index:.1f},200,40,{name}\n" for index, name in enumerate(["small", "middle", "large"] * 20))
    (work / "trace.csv").write_text(TRACE_HEAD + rows, encoding="utf-8")
    first, again, other = (ullage("simulate", "plan.json", "--trace", "trace.csv", "--json", *seed) for seed in ([], [], ["--seed", "7"]))
    assert first.out == again.out != other.out
    result = json.loads(first.out)
    assert result.keys() == {"workloads", "total", "error_causes", "gpus"}
    assert (result["total"]["requests"], result["total"]["errors"]) == (60, 0)
    assert [gpu["gpu"] for gpu in result["gpus"]] == ["h100-0/gpu0"]


def test_slower_steps_and_worse_neighbours_make_requests_wait_longer(work: Path) -> None:
    rows = "".join(f"{0.2 * index:.1f},200,40,{name}\n" for index, name in enumerate(["small", "middle", "large"] * 20))
    (work / "trace.csv").write_text(TRACE_HEAD + rows, encoding="utf-8")

    def tpot_s(*options: str) -> float:
        return float(json.loads(ullage("simulate", "plan.json", "--trace", "trace.csv", "--json", *options).out)["total"]["tpot"]["p50_s"])

    assert tpot_s() < tpot_s("--interference", "1.3") < tpot_s("--interference", "1.3", "--slow")


def test_slow_steps_are_those_of_the_plans_risk(work: Path) -> None:
    (work / "trace.csv").write_text(TRACE_HEAD + "".join(f"{0.2 * index:.1f},200,40,small\n" for index in range(40)), encoding="utf-8")
    document = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    found = {}
    for quantile in (0.5, 0.9, 0.99):
        document["desired"]["risk"]["step_quantile"] = quantile
        (work / "other.json").write_text(json.dumps(document), encoding="utf-8")
        found[quantile] = json.loads(ullage("simulate", "other.json", "--trace", "trace.csv", "--json", "--slow").out)["total"]["tpot"][
            "p50_s"
        ]
    assert found[0.5] < found[0.9] < found[0.99]


def test_fewer_than_twenty_requests_get_a_dash_and_attainment_comes_with_interval_and_count() -> None:
    few = WorkloadRow("few", 19, 1, None, None, 18, 18 / 19, 0.7536, 0.9906)
    many = WorkloadRow("many", 100, 0, Percentiles(0.1, 0.2, 0.3), Percentiles(0.01, 0.02, 0.03), 99, 0.99, 0.9455, 0.9982)
    silent = WorkloadRow("silent", 0, 0, None, None, 0, None, None, None)
    lines = traffic_text(Summary((few, many, silent), many, (("http 404", 3), ("reset", 1))), ()).splitlines()
    assert "  few       19        1       -         -    -       -         -    -       94.74% [75.36%, 99.06%] of 19" in lines
    assert "  many      100       0       100       200  300     10        20   30      99.00% [94.55%, 99.82%] of 100" in lines
    assert not any("silent" in line for line in lines)
    assert lines[-1] == "  errors: 3 x http 404, 1 x reset"


def test_the_text_has_a_line_per_workload_and_used_gpu(work: Path) -> None:
    lines = ullage("simulate", "plan.json", "--trace", "trace.csv").out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        "workload",
        "large",
        "middle",
        "small",
        "total",
        "GPU",
        "h100-0/gpu0",
    ]


def test_without_a_trace_the_declared_demand_arrives(work: Path) -> None:
    found = [json.loads(ullage("simulate", "plan.json", "--json", "--seconds", "300", "--repeat-rate", k).out) for k in (1, 3)]
    assert [row["workload"] for row in found[0]["workloads"]] == ["large", "middle", "small"]
    for once, often in zip(found[0]["workloads"], found[1]["workloads"], strict=True):
        # one request a second each: three standard deviations of a Poisson count
        assert once["requests"] == pytest.approx(300, abs=52)
        assert often["requests"] == pytest.approx(900, abs=90)
        assert once["attained"] == once["requests"]
    assert ullage("simulate", "plan.json", "--start", "5").err.startswith("error: --start is about a trace, and none is given")
    assert ullage("simulate", "plan.json", "--map", "a=b").err.startswith("error: --map is about a trace, and none is given")


def test_a_burst_of_one_workload_on_the_plan_as_it_is(work: Path) -> None:
    def requests(*options: str) -> dict[str, int]:
        result = ullage("simulate", "plan.json", "--seconds", "120", "--json", *options)
        assert result.code == 0, result.err
        return {row["workload"]: row["requests"] for row in json.loads(result.out)["workloads"]}

    usual, burst = requests(), requests("--scale", "small=3")
    assert burst["small"] == pytest.approx(3 * usual["small"], rel=0.35)
    assert {name: count for name, count in burst.items() if name != "small"} == {
        name: count for name, count in usual.items() if name != "small"
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scale", "smal=2"), "'smal' is not a workload, nor a model that one asks for; did you mean 'small'?"),
        (("--scale", "small"), "write NAME=FACTOR"),
        (("--scale", "small=-1"), "the factor -1 must be a finite number that is not negative"),
        (("--scale", "small=nan"), "the factor nan must be a finite number"),
        (("--scale", "small=2", "--trace", "trace.csv"), "--scale is about the declared demand"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(options: tuple[str, ...], told: str, work: Path) -> None:
    result = ullage("simulate", "plan.json", *options)
    assert result.code == 1
    assert told in result.err


def test_workloads_that_never_ask_together_are_not_added_up() -> None:
    lengths = {"input_tokens": 300, "output_tokens": 50}
    workloads = {
        "day": {"model": "small", "demand": {"windows": [{"hours": "08:00-20:00", "rate": "3/s", **lengths}]}},
        "night": {"model": "small", "demand": {"windows": [{"hours": "20:00-08:00", "rate": "1/s", **lengths}]}},
    }
    plan = plan_fleet(fleet(workloads=workloads), State()).plan
    seconds = 1200.0
    found = declared_requests(plan, seconds, 1, 0)
    planned_rps = sum(replica.planned_rps for replica in plan.desired.replicas)
    assert len(found) / seconds == pytest.approx(planned_rps, rel=0.1)
    assert planned_rps == pytest.approx(3.0, rel=0.01)
