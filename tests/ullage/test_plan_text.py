"""A plan as text: bars in proportion, what is free, what is not served and why, baselines, MIG layouts, actions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import Baseline, Certificate, Desired, Drain, GpuPlan, MigPlace, Plan, Repartition, Stop, TierResult
from tests.plans import H100_USABLE_MIB, HEADROOM_MIB, mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from ullage.views.plan.gpu_text import BAR_WIDTH
from ullage.views.plan.plan_text import action_lines, plan_text

FULL_MIB = H100_USABLE_MIB - HEADROOM_MIB


def changed(plan: Plan, **fields: Any) -> Plan:
    """The plan with other fields in `desired`."""
    return plan.model_copy(update={"desired": plan.desired.model_copy(update=fields)})


def certified(plan: Plan, **fields: Any) -> Plan:
    return changed(plan, certificate=plan.desired.certificate.model_copy(update=fields))


def lines(plan: Plan) -> list[str]:
    return plan_text(plan).splitlines()


def bar_of(gpu: GpuPlan) -> str:
    """The bar drawn for a GPU."""
    plan = time_shared_plan()
    [line] = [line for line in lines(changed(plan, gpus=(gpu, *plan.desired.gpus[1:]))) if line.startswith("    GPU 0 ")]
    return line[line.index("[") + 1 : line.index("]")]


def gpu(weights_mib: int, kv_mib: int, overhead_mib: int) -> GpuPlan:
    used_mib = weights_mib + kv_mib + overhead_mib
    parts = {"weights_mib": weights_mib, "kv_mib": kv_mib, "overhead_mib": overhead_mib, "free_mib": FULL_MIB - used_mib}
    return time_shared_plan().desired.gpus[0].model_copy(update=parts)


@given(weights_mib=st.integers(0, FULL_MIB), kv_mib=st.integers(0, FULL_MIB), overhead_mib=st.integers(0, FULL_MIB))
def test_a_bar_has_its_width_and_each_part_its_share_to_one_sign(weights_mib: int, kv_mib: int, overhead_mib: int) -> None:
    scale = max(1.0, (weights_mib + kv_mib + overhead_mib) / FULL_MIB)
    parts_mib = [int(part_mib / scale) for part_mib in (weights_mib, kv_mib, overhead_mib)]
    bar = bar_of(gpu(*parts_mib))
    assert len(bar) == BAR_WIDTH
    assert bar == "".join(sorted(bar, key="#=+.".index))
    for sign, part_mib in zip("#=+", parts_mib, strict=True):
        assert abs(bar.count(sign) - BAR_WIDTH * part_mib / H100_USABLE_MIB) <= 1


def test_a_full_and_an_empty_bar() -> None:
    assert bar_of(gpu(H100_USABLE_MIB, 0, 0)) == "#" * BAR_WIDTH
    assert bar_of(gpu(0, 0, 0)) == "." * BAR_WIDTH


def test_gpu_lines_hold_memory_in_gib_mode_and_residents() -> None:
    text = lines(time_shared_plan())
    [first] = [line for line in text if line.startswith("    GPU 0 ")]
    assert (
        "weights  29.9  KV  16.0  overhead   5.3  free  27.0 GiB  busy  60%  600 of 1600 tokens/s  time-shared  interference assumed"
        in first
    )
    assert "             llama-8b-0  1.50 of 4.00 requests/s  TTFT 210 ms  TPOT 31 ms" in text
    assert text[0] == "2 of 2 GPUs, 5.90 USD/h, proven optimal for this problem; solver test"


def test_free_gpus_are_one_line_per_stretch() -> None:
    used = [replica("llama-8b-0", mode="exclusive", gpus=(2,)), replica("llama-8b-1", mode="exclusive", gpus=(4,), args={"port": 8101})]
    text = lines(plan_of(tuple(used), gpu_count=8))
    assert [line for line in text if line.endswith(" free")] == ["    GPU 0-1  free", "    GPU 3    free", "    GPU 5-7  free"]


def test_a_tensor_parallel_replica_stands_on_each_of_its_gpus() -> None:
    text = lines(tensor_parallel_plan())
    assert sum("llama-70b-0  1.50 of" in line for line in text) == 2
    assert sum(line.endswith("tensor-parallel") for line in text) == 2


def test_mig_residents_carry_profile_and_start_slot() -> None:
    text = lines(mig_plan())
    assert "             4g.40gb at 0  llama-8b-0  1.50 of 4.00 requests/s  TTFT 210 ms  TPOT 31 ms" in text
    assert any(line.startswith("             3g.40gb at 4  qwen3-8b-0  ") for line in text)
    assert any(line.startswith("    GPU 0 ") and line.endswith("  MIG") for line in text)


def test_unserved_demand_is_in_the_table_and_its_reason_once_per_model() -> None:
    plan = mig_plan()
    short = plan.desired.workloads[0].model_copy(update={"unserved_rps": 0.5, "unserved_reason": "the GPUs are used up", "ttft_s": None})
    again = short.model_copy(update={"name": "llama-8b-night", "unserved_rps": 0.25})
    text = plan_text(changed(plan, workloads=(short, again, plan.desired.workloads[1])))
    assert "llama-8b-chat   llama-8b   interactive  1.50        -/500 ms       31/50 ms   0.50" in text
    assert text.count("the GPUs are used up") == 1
    assert (
        "  llama-8b: 0.75 requests/s unserved: the GPUs are used up\n    the router turns no request away: when more than 2.25 "
        "requests/s arrive, all " in text
    )
    assert "qwen3-8b-chat   qwen3-8b   interactive  1.50        210/500 ms     31/50 ms   -" in text
    assert "  this plan  1     2.95   0.75\n" in text
    assert text.startswith("UNSERVED 0.75 of 3 requests/s of 2 workloads; 1 of 1 GPUs, 2.95 USD/h, proven optimal for this problem; ")


def test_a_model_without_replicas_is_said_to_get_a_503() -> None:
    plan = mig_plan()
    lost = plan.desired.workloads[0].model_copy(
        update={"served_name": "nobody", "unserved_rps": 1.5, "unserved_reason": "no GPU is large enough"}
    )
    text = plan_text(changed(plan, workloads=(lost, plan.desired.workloads[1])))
    assert text.startswith("UNSERVED 1.5 of 1.5 requests/s of 1 workload; 1 of 1 GPUs")
    assert "  nobody: 1.50 requests/s unserved: no GPU is large enough\n    no replica serves this model: clients get a 503\n" in text


def test_routes_show_each_replicas_share() -> None:
    text = lines(time_shared_plan())
    assert "Routes at http://127.0.0.1:8080/v1" in text
    assert "  llama-8b: llama-8b-0 50 %, llama-8b-1 50 %" in text


def test_a_baseline_that_does_not_fit_says_so() -> None:
    baselines = {
        "best-fit": Baseline(cost_usd_per_h=8.85, unserved_rps=0.0, gpus=3, fits=True),
        "exclusive": Baseline(cost_usd_per_h=38.35, unserved_rps=0.0, gpus=13, fits=False),
        "squishy": Baseline(cost_usd_per_h=2.95, unserved_rps=1.5, gpus=1, fits=False),
    }
    text = lines(certified(time_shared_plan(), baselines=baselines))
    assert "  best-fit   3     8.85   0.00" in text
    assert "  exclusive  13    38.35  0.00        does not fit the pools; priced as if they were large enough" in text
    assert "  squishy    1     2.95   1.50        cannot serve all of it on any number of these GPUs" in text


@pytest.mark.parametrize(
    ("tiers", "words"),
    [
        ([("unserved_rps at priority 10", 0.0, 0.0), ("cost_usd_per_h", 10.0, 9.5)], "within 5.00% of the best possible cost_usd_per_h"),
        ([("unserved_rps at priority 10", 2.0, 1.0), ("cost_usd_per_h", 10.0, 9.5)], "within 50.00% of the best possible unserved_rps at"),
        ([("cost_usd_per_h", 10.0, 0.0)], "no bound on cost_usd_per_h was found"),
    ],
)
def test_without_proof_the_first_open_goal_is_named(tiers: list[tuple[str, float, float]], words: str) -> None:
    results = tuple(
        TierResult(goal=goal, value=value, bound=bound, gap_fraction=(value - bound) / (value or 1)) for goal, value, bound in tiers
    )
    plan = certified(time_shared_plan(), status="feasible", stopped_by="work_limit", tiers=results)
    assert words in lines(plan)[0]
    assert "optimal" not in lines(plan)[0]


def test_actions_are_listed_in_the_order_in_which_apply_does_them() -> None:
    plan = mig_plan()
    layout = (MigPlace(profile="7g.80gb", start=0),)
    actions = (
        Drain(replica="a-0", reason="no longer needed"),
        Stop(replica="a-0", reason="no longer needed"),
        Repartition(node="h100-0", gpu=0, layout=layout, reason="another layout"),
        *plan.actions,
    )
    assert list(action_lines(actions)) == [
        "Actions (6), in this order",
        "  - drain a-0  (no longer needed)",
        "  - stop a-0  (no longer needed)",
        "  ~ repartition h100-0 GPU 0  (another layout)",
        "  + start llama-8b-0 on h100-0 GPU 0  (new)",
        "  + start qwen3-8b-0 on h100-0 GPU 0  (new)",
        "  ~ set routes of 2 models  (new replicas)",
    ]
    assert list(action_lines(())) == ["No changes: the plan is already applied (`ullage status` shows whether it still runs)."]


def test_warnings_are_shown_and_a_plan_of_nothing_can_be_shown() -> None:
    assert "warning: 3 requests are longer than max_model_len" in lines(
        changed(mig_plan(), warnings=("3 requests are longer than max_model_len",))
    )
    nothing = plan_of((), gpu_count=2)
    assert "    GPU 0-1  free" in lines(nothing)
    assert isinstance(nothing.desired, Desired)
    assert isinstance(nothing.desired.certificate, Certificate)
