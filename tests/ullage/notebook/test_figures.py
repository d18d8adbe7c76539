"""Figures show the numbers of the plan and of the simulation, at any size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from planner.plan import Plan
from tests.plans import tensor_parallel_plan, time_shared_plan
from ullage.notebook.figures import plan_figure, simulation_figure
from ullage.notebook.fleet_plan import FleetPlan
from ullage.views.plan.gpu_bars import MOST_BARS, gpu_bars


def wide(nodes: int) -> Plan:
    """The GPUs of a plan on many nodes; the replicas are those of the first."""
    plan = time_shared_plan()
    gpus = tuple(gpu.model_copy(update={"node": f"h100-{node}"}) for node in range(nodes) for gpu in plan.desired.gpus)
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"gpus": gpus})})


def names(figure: Figure) -> list[str]:
    [axes] = figure.axes
    return [label.get_text() for label in axes.get_yticklabels()]


def png(figure: object) -> bytes:
    return bytes(figure._repr_png_())  # type: ignore[attr-defined]


def test_the_parts_of_a_bar_make_up_the_memory(plan: FleetPlan) -> None:
    for document in (plan.document, tensor_parallel_plan()):
        for bar, gpu in zip(gpu_bars(document.desired), document.desired.gpus, strict=True):
            whole_gib = bar.weights_gib + bar.kv_gib + bar.overhead_gib + bar.taken_gib + bar.free_gib
            assert whole_gib == pytest.approx(gpu.memory_mib / 1024)
            assert (bar.label, bar.count) == (f"{gpu.node} GPU {gpu.index}", 1)


def test_each_gpu_has_a_bar_of_its_parts(plan: FleetPlan) -> None:
    figure = plan.plot()
    [axes] = figure.axes
    assert names(figure) == [bar.label for bar in gpu_bars(plan.document.desired)]
    drawn = {str(found.get_label()): [patch.get_width() for patch in found] for found in axes.containers}
    assert list(drawn) == ["weights", "KV cache", "overhead", "free"]
    assert drawn["weights"] == [pytest.approx(gpu.weights_mib / 1024) for gpu in plan.document.desired.gpus]
    assert axes.get_title(loc="left").startswith("1 of 2 GPUs")
    assert png(figure).startswith(b"\x89PNG")


def test_alike_gpus_share_a_bar_where_there_are_many() -> None:
    per_node = len(time_shared_plan().desired.gpus)
    few, many = wide(MOST_BARS // per_node), wide(400)
    assert len(gpu_bars(few.desired)) == MOST_BARS // per_node * per_node
    bars = gpu_bars(many.desired)
    assert sum(bar.count for bar in bars) == len(many.desired.gpus)
    assert len(bars) <= per_node
    assert all(bar.label.startswith("h100: ") and bar.label.endswith(f"({bar.count} GPUs)") for bar in bars)
    # alike GPUs have the mean of one
    [first, *_] = gpu_bars(time_shared_plan().desired)
    assert bars[0].weights_gib == pytest.approx(first.weights_gib)
    assert png(plan_figure(many.desired)).startswith(b"\x89PNG")


def test_where_no_two_gpus_are_alike_their_use_groups_them() -> None:
    plan = time_shared_plan()
    [gpu, *_], [replica, *_] = plan.desired.gpus, plan.desired.replicas
    count = 3 * MOST_BARS
    replicas = tuple(replica.model_copy(update={"name": f"r{index}", "served_name": f"model-{index}"}) for index in range(count))
    gpus = tuple(gpu.model_copy(update={"index": index, "replicas": (f"r{index}",)}) for index in range(count))
    [bar] = gpu_bars(plan.desired.model_copy(update={"gpus": gpus, "replicas": replicas}))
    assert (bar.label, bar.count) == (f"h100: time-shared ({count} GPUs)", count)


def test_what_others_hold_is_a_part_where_they_hold_any() -> None:
    plan = time_shared_plan()
    [first, *rest] = plan.desired.gpus
    taken = plan.desired.model_copy(update={"gpus": (first.model_copy(update={"taken_mib": 2048}), *rest)})
    assert gpu_bars(taken)[0].taken_gib == 2.0
    [axes] = plan_figure(taken).axes
    assert "taken by others" in [str(found.get_label()) for found in axes.containers]


def test_names_are_not_mathematics() -> None:
    plan = time_shared_plan()
    gpus = tuple(gpu.model_copy(update={"node": r"_a$\frac$b$"}) for gpu in plan.desired.gpus)
    figure = plan_figure(plan.desired.model_copy(update={"gpus": gpus}))
    assert names(figure)[0] == r"_a$\frac$b$ GPU 0"
    assert png(figure).startswith(b"\x89PNG")


def test_a_simulation_draws_workloads_and_gpus(plan: FleetPlan) -> None:
    found = plan.simulate(seconds=30, seed=3)
    figure = found.plot()
    above, below = figure.axes
    assert [label.get_text() for label in above.get_yticklabels()] == list(found.attainment_fraction)
    assert [str(line.get_label()).strip() for line in below.get_lines()] == list(dict.fromkeys(found.to_frame("utilisation")["gpu"]))
    assert png(figure).startswith(b"\x89PNG")


def test_many_gpus_over_time_are_a_mean_and_a_range(plan: FleetPlan) -> None:
    found = plan.simulate(seconds=30, seed=3).found
    parts = tuple(replace(part, gpu=f"{part.gpu}-{copy}") for copy in range(12) for part in found.utilisation)
    _, below = simulation_figure(replace(found, utilisation=parts)).axes
    assert [line.get_label() for line in below.get_lines()] == ["mean of 12 GPUs"]
