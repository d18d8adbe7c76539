"""Sleepers on GPUs whose link to their host is slow."""

from __future__ import annotations

import pytest

from planner.check.gpus import gpu_problems
from planner.plan import State, to_json
from planner.sleep_costs import sleep_s, wake_s
from profiles.catalogue import builtin
from tests.planner.spec.fleet_files import load
from tests.sleepers import first_plan, sleeper
from ullage.planning.plan import plan_fleet

ONE = sleeper("llama-0")


def test_a_slow_link_makes_sleep_and_wake_slow_and_the_checker_knows_it() -> None:
    """Half of 1 GB/s for the weights, from host memory and from storage alike."""
    slow = ONE.model_copy(update={"slow_link_gb_per_s": 1.0})
    copied_s = ONE.ledger.weights_mib * (1 << 20) / 0.5e9
    assert wake_s(slow, 1) == pytest.approx(0.3 + copied_s)
    assert wake_s(slow, 2) == pytest.approx(wake_s(slow, 1))
    assert sleep_s(slow, 1) == pytest.approx(wake_s(slow, 1))
    assert wake_s(ONE, 1) == pytest.approx(0.3 + copied_s / 16)
    plan = first_plan(slow)
    assert any("says 1.0 (slow_link_gb_per_s), and PCIe of a" in problem for problem in gpu_problems(plan.desired, builtin().gpu))
    assert "slow_link_gb_per_s" not in to_json(first_plan(ONE))


@pytest.mark.parametrize(("speed", "kept"), [(1, 1.0), (12, 12.0), (16, None), (64, None)])
def test_plans_say_how_slow_a_link_is(speed: int, kept: float | None) -> None:
    gpu = "{name: OWN, memory_usable: 44GiB, memory_bandwidth_gb_per_s: 864, bf16_tflops: 362, compute_capability: '8.9', pcie_gb_per_s: "
    written = f"""
schema_version: 1
pools: {{own: {{gpu: {gpu}{speed}}}, nodes: 1, gpus_per_node: 1, price: 1 USD/h}}}}
models:
  a: {{source: Qwen/Qwen3-0.6B, sleep: true, max_model_len: 2048}}
  b: {{source: Qwen/Qwen3-1.7B, max_model_len: 2048}}
workloads:
  wa: {{model: a, class: standard, demand: {{rate: 1/s, input_tokens: 100, output_tokens: 50}}}}
  wb: {{model: b, class: standard, demand: {{rate: 1/s, input_tokens: 100, output_tokens: 50}}}}
"""
    replicas = {item.served_name: item for item in plan_fleet(load(written), State()).plan.desired.replicas}
    assert replicas["a"].slow_link_gb_per_s == kept
    assert replicas["b"].slow_link_gb_per_s is None
