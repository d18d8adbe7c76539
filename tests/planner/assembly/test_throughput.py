"""Tokens/s of a GPU: at its planned load, in the window in which it makes most, and what it may become."""

from __future__ import annotations

import pytest

from planner.plan import Desired, GpuPlan, GpuThroughput, PlannedWindow, gpu_throughputs
from tests.plans import tensor_parallel_plan, time_shared_plan


def gpu_throughput(desired: Desired, gpu: GpuPlan) -> GpuThroughput:
    return gpu_throughputs(desired)[gpu.node, gpu.index]


def with_rows(desired: Desired, **update: object) -> Desired:
    return desired.model_copy(update={"workloads": tuple(row.model_copy(update=update) for row in desired.workloads)})


def test_planned_tokens_are_the_rates_times_the_lengths_and_sizing_says_what_they_may_become() -> None:
    desired = with_rows(time_shared_plan().desired, output_tokens=100.0)
    found = gpu_throughput(desired, desired.gpus[0])
    here = [item for item in desired.replicas if item.name in desired.gpus[0].replicas]
    assert len(here) == 2
    assert found.planned_tokens_per_s == pytest.approx(100 * sum(item.planned_rps for item in here))
    assert found.capacity_tokens_per_s == pytest.approx(100 * sum(item.capacity_rps for item in here))


def test_where_the_plan_was_simulated_its_first_model_to_break_says_it() -> None:
    desired = time_shared_plan().desired
    rows = tuple(row.model_copy(update={"kept_load_factor": 1.25 + index}) for index, row in enumerate(desired.workloads))
    found = gpu_throughput(desired.model_copy(update={"workloads": rows}), desired.gpus[0])
    assert found.capacity_tokens_per_s == pytest.approx(1.25 * found.planned_tokens_per_s)


def test_an_engine_on_several_gpus_counts_in_equal_parts() -> None:
    desired = with_rows(tensor_parallel_plan().desired, output_tokens=100.0)
    first = desired.replicas[0]
    found = [gpu_throughput(desired, gpu).planned_tokens_per_s for gpu in desired.gpus if first.name in gpu.replicas]
    assert len(found) == len(first.gpus) > 1
    assert len(set(found)) == 1
    assert sum(found) == pytest.approx(100 * first.planned_rps)


def test_peaks_in_different_windows_are_not_added_up() -> None:
    plain = with_rows(time_shared_plan().desired, output_tokens=100.0)
    names = [item.served_name for item in plain.replicas]
    windows = tuple(
        PlannedWindow(timeline="clock", start_s=index * 60.0, end_s=index * 60.0 + 60.0, stands_for=1, rates_rps={name: 1.0})
        for index, name in enumerate(names)
    )
    found = gpu_throughput(plain.model_copy(update={"windows": windows}), plain.gpus[0])
    assert found.planned_tokens_per_s == pytest.approx(100 * max(item.planned_rps for item in plain.replicas))


def test_only_gpus_in_use_make_any() -> None:
    desired = time_shared_plan().desired
    used = {(gpu.node, gpu.index) for gpu in desired.gpus if gpu.replicas}
    assert set(gpu_throughputs(desired)) == used
    assert gpu_throughputs(desired.model_copy(update={"replicas": ()})) == {}
