"""New measurements of memory restart an engine only when what it was started with does not fit any more."""

from __future__ import annotations

import pytest

from planner.check import check
from planner.plan import Plan, Replica, State, as_applied
from planner.spec import Fleet
from profiles.catalogue import builtin
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements, StartPoint
from tests.fleets import fleet
from tests.profiles.points import measured
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

GPU = builtin().gpu("H100")
MODELS = ("Qwen/Qwen3-0.6B", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-14B")
SHARED = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h", "sharing": ["time_shared"]}}
ALONE = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 3, "price": "3 USD/h", "sharing": ["exclusive"]}}
SLICES = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h", "mig": "repartition", "sharing": ["mig"]}}


def measuring(non_torch_mib: float, pools: object) -> Fleet:
    """A fleet with starts that took so much beside weights and KV cache."""
    starts = tuple(
        StartPoint(
            model=MODELS[number % 3],
            gpu=GPU.name,
            gpu_total_mib=81_090.0,
            init_free_mib=81_090.0 - 500.0,
            non_torch_mib=non_torch_mib,
            provenance=measured(engine_version=EngineSettings().engine_version),
        )
        for number in range(6)
    )
    return fleet(pools=pools).model_copy(update={"measurements": Measurements(starts=starts)})


def engines(plan: Plan) -> dict[str, Replica]:
    return {replica.name: replica for replica in plan.desired.replicas}


def again(before_mib: float, after_mib: float, pools: object) -> tuple[Plan, Plan]:
    """What is planned, applied, and planned again with other measurements."""
    first = plan_fleet(measuring(before_mib, pools), State()).plan
    state = as_applied(first)
    second = plan_fleet(measuring(after_mib, pools), state).plan
    assert check(second, builtin().gpu, architecture_of, state) == ()
    return first, second


@pytest.mark.parametrize(("pools", "change_mib"), [(SHARED, 60.0), (SHARED, -60.0), (ALONE, -60.0), (ALONE, -900.0), (SLICES, -60.0)])
def test_a_small_change_of_measured_memory_restarts_nothing(pools: object, change_mib: float) -> None:
    first, second = again(1500.0, 1500.0 + change_mib, pools)
    assert second.actions == ()
    for name, replica in engines(second).items():
        assert replica.args == engines(first)[name].args
        assert replica.ledger.activation_mib - engines(first)[name].ledger.activation_mib == pytest.approx(change_mib, abs=1)


@pytest.mark.parametrize(("pools", "change_mib"), [(SHARED, -900.0), (ALONE, 900.0)])
def test_a_large_one_restarts(pools: object, change_mib: float) -> None:
    first, second = again(1500.0, 1500.0 + change_mib, pools)
    assert {action.kind for action in second.actions} >= {"drain", "stop", "start"}
    kept = engines(first).keys() & engines(second).keys()
    assert all(engines(first)[name].args != engines(second)[name].args for name in kept)


def test_beside_neighbours_half_of_the_headroom_may_be_asked_for_at_a_start() -> None:
    _, inside = again(1500.0, 1500.0 - 480.0, SHARED)
    assert inside.actions == ()
    _, beyond = again(1500.0, 1500.0 - 540.0, SHARED)
    assert beyond.actions != ()
