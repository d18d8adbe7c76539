"""Bursts and margins of plans with windows, and of workloads that are not served in full."""

from __future__ import annotations

from functools import cache

import pytest

from planner.plan import Plan, State
from tests.planner.spec.fleet_files import load
from ullage.planning.plan import plan_fleet
from ullage.traffic.burst_answer import burst_answer

_LENGTHS = "input_tokens: 400, output_tokens: 150"


@cache
def planned(gpus: int, sharing: str, night: str) -> Plan:
    """The same model and demand twice, each in its half of the day."""
    fleet = f"""
schema_version: 1
pools:
  l40s: {{gpu: L40S, nodes: 1, gpus_per_node: {gpus}, price: 1.50 USD/h, sharing: [{sharing}]}}
models:
  a: {{source: Qwen/Qwen3-8B, max_model_len: 4096}}
  b: {{source: Qwen/Qwen3-8B, max_model_len: 4096}}
workloads:
  night: {{model: a, class: interactive, demand: {{windows: [{{hours: 00:00-12:00, rate: {night}, {_LENGTHS}}}]}}}}
  day: {{model: b, class: interactive, demand: {{windows: [{{hours: 12:00-00:00, rate: 4/s, {_LENGTHS}}}]}}}}
policy: {{bursts: [1.5]}}
"""
    return plan_fleet(load(fleet), State(), verify=True).plan


@pytest.mark.parametrize("sharing", ["exclusive", "mps"])
def test_a_margin_is_that_of_the_window_in_which_a_model_has_its_load(sharing: str) -> None:
    """Who has a GPU, or a part of its threads, all the time counts as equally active in all windows."""
    for row in planned(2, sharing, "4/s").desired.workloads:
        assert row.kept_load_factor is not None
        assert row.kept_load_factor < 2.0
        assert min(item.requests for item in row.simulated) > 100


def test_a_burst_is_simulated_in_its_window_for_all_of_its_time() -> None:
    plan = planned(2, "exclusive", "4/s")
    answer = burst_answer(plan, "day", 1.5, 300.0)
    rows = {row.workload: row for row in answer.rows}
    assert rows["day"].requests == pytest.approx(1.5 * 4 * 300, rel=0.1)
    assert rows["night"].requests == 0
    assert answer.in_plan
    assert rows["day"].without_fraction == pytest.approx(answer.burst.attainment_fraction, abs=0.1)


def test_what_is_not_served_in_full_absorbs_no_burst() -> None:
    """The rest of its requests comes all the same, and all of them wait."""
    plan = planned(2, "exclusive", "30/s")
    [night] = [row for row in plan.desired.workloads if row.name == "night"]
    assert 0 < night.unserved_rps < night.rate_rps
    assert night.kept_load_factor is None
    [burst] = [item for item in plan.desired.playbook if item.workload == "night"]
    assert burst.attainment_fraction < 0.5
    assert burst.kept_load_factor == 0.0
    answer = burst_answer(plan, "night", 1.5, 120.0)
    assert all((row.without_fraction or 0.0) < 0.5 for row in answer.rows if row.workload == "night")


def test_each_of_many_on_a_gpu_is_simulated_at_its_peak() -> None:
    """Four models, each alone in its six hours: no two windows tell of all of them."""
    models = {"a": "Qwen/Qwen3-0.6B", "b": "Qwen/Qwen3-1.7B", "c": "Qwen/Qwen2.5-1.5B-Instruct", "d": "meta-llama/Llama-3.2-1B"}
    windows = dict(zip(models, ("00:00-06:00", "06:00-12:00", "12:00-18:00", "18:00-00:00"), strict=True))
    rows = [
        f"  w{name}: {{model: {name}, class: standard, demand: {{windows: [{{hours: {windows[name]}, rate: 2/s, {_LENGTHS}}}]}}}}"
        for name in models
    ]
    fleet = "\n".join(
        [
            "schema_version: 1",
            "pools: {l40s: {gpu: L40S, nodes: 1, gpus_per_node: 1, sharing: [time_shared]}}",
            f"models: {{{', '.join(f'{name}: {{source: {source}, max_model_len: 2048}}' for name, source in models.items())}}}",
            "workloads:",
            *rows,
            "policy: {bursts: []}",
        ]
    )
    desired = plan_fleet(load(fleet), State(), verify=True).plan.desired
    assert desired.gpus_used == 1
    assert not any(row.unserved_rps for row in desired.workloads)
    for row in desired.workloads:
        assert min(item.requests for item in row.simulated) > 100, row.name
