"""The plan takes the interference factor that was measured, and says of every shared GPU whether it was."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import pytest

from planner.assembly.gpus import interference
from planner.assembly.saving import sharing_saving
from planner.plan import PoolRules, Rules, SharingSaving, State
from planner.sizing.blueprint import build
from planner.sizing.sites import ASSUMED_INTERFERENCE_FACTOR
from planner.spec import Fleet
from profiles.latency.interference import GRID
from profiles.store.measurements import Measurements, PairPoint, PairSide, Phase, Provenance
from tests.fleets import fleet, workload
from tests.plans import plan_of, replica
from ullage.checking import CheckError, checked
from ullage.planning.plan import plan_fleet

GPU = "H100-SXM-80GB"
MODELS = ("Qwen/Qwen3-0.6B", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-14B")


def _side(model: str, phase: Phase, slowdown: float) -> PairSide:
    return PairSide(model=model, phase=phase, concurrency=4, input_tokens=64, output_tokens=8, slowdown=slowdown)


def measured(slowdown: float, models: tuple[str, ...] = MODELS) -> Measurements:
    """Every pair of the models in every phase."""
    provenance = Provenance(kind="measured", source="test", engine_version="0.32.0")
    pairs = [
        PairPoint(
            first=_side(one, phases[0], slowdown),
            second=_side(other, phases[1], slowdown),
            gpu=GPU,
            sharing="time_shared",
            provenance=provenance,
        )
        for one, other in combinations(models, 2)
        for phases in GRID
    ]
    return Measurements(pairs=tuple(pairs))


def with_measurements(measurements: Measurements, **changes: object) -> Fleet:
    return fleet(**changes).model_copy(update={"measurements": measurements})


def factors(asked: Fleet) -> dict[str, float]:
    """How much longer the steps of shared replicas are than alone, by group."""
    found = build(asked, State()).candidates
    alone = {candidate.group.name: candidate.step.base_s for candidate in found if candidate.mode == "exclusive" and candidate.gpus == 1}
    shared = {candidate.group.name: candidate.step.base_s for candidate in found if candidate.mode == "time_shared"}
    return {name: base_s / alone[name] for name, base_s in shared.items()}


def test_every_pair_measured_replaces_the_assumption() -> None:
    assert list(factors(fleet()).values()) == 3 * [pytest.approx(ASSUMED_INTERFERENCE_FACTOR)]
    assert list(factors(with_measurements(measured(2.04))).values()) == 3 * [pytest.approx(1.02)]


def test_a_pair_that_nobody_measured_keeps_it_and_a_worse_one_counts() -> None:
    partly = factors(with_measurements(measured(2.04, MODELS[:2])))
    assert list(partly.values()) == 3 * [pytest.approx(ASSUMED_INTERFERENCE_FACTOR)]
    worse = factors(with_measurements(measured(2.6, MODELS[:2])))
    assert worse == {"small": pytest.approx(1.3), "middle": pytest.approx(1.3), "large": pytest.approx(ASSUMED_INTERFERENCE_FACTOR)}


def test_who_may_not_be_a_neighbour_does_not_count() -> None:
    workloads = {name: workload(name) for name in ("small", "middle")} | {"large": workload("large", not_with=["small", "middle"])}
    found = factors(with_measurements(measured(2.04, MODELS[:2]), workloads=workloads))
    assert [found["small"], found["middle"]] == [pytest.approx(1.02), pytest.approx(1.02)]


def test_a_gpu_says_whether_its_neighbours_were_measured() -> None:
    shared = [replica(f"r{i}", f"r{i}", model).model_copy(update={"mode": "time_shared"}) for i, model in enumerate(MODELS)]
    named = [each.model_copy(update={"catalogue_model": model}) for each, model in zip(shared, MODELS, strict=True)]
    assert interference(named, GPU, measured(2.2)) == "measured"
    assert interference(named, GPU, measured(2.2, MODELS[:2])) == "assumed"
    assert interference(named[:2], GPU, measured(2.2, MODELS[:2])) == "measured"
    assert interference(named[:1], GPU, Measurements()) == "none"


def test_gpus_that_sharing_saves_are_counted_by_what_is_known() -> None:
    residents = tuple(
        replica(f"r{index}", f"r{index}", gpus=(index // 3,), args={"port": 8100 + index}).model_copy(update={"mode": "time_shared"})
        for index in range(5)
    )
    gpus = plan_of(residents, gpu_count=3).desired.gpus
    assert [(gpu.interference, len(gpu.replicas)) for gpu in gpus] == [("assumed", 3), ("assumed", 2), ("none", 0)]
    assert sharing_saving(gpus, prices()) == saved(0, 3, 0.0, 6.0)
    known = tuple(gpu.model_copy(update={"interference": "measured"}) if gpu.index == 0 else gpu for gpu in gpus)
    assert sharing_saving(known, prices()) == saved(2, 1, 4.0, 2.0)
    # three more GPUs of a rented pool: one is there anyway, two are another node of three
    assert sharing_saving(known, prices("node")) == saved(2, 1, 6.0, 0.0)
    assert sharing_saving(known, prices("node", min_nodes=2)) == saved(2, 1, 0.0, 0.0)


def prices(billing: Literal["gpu", "node"] = "gpu", min_nodes: int = 0) -> Rules:
    return Rules(
        models=(),
        pools=(PoolRules(name="h100", price_usd_per_h=2.0, billing=billing, min_nodes=min_nodes),),
        headroom_mib=1024,
        max_active_residents=3,
    )


def saved(measured_gpus: int, assumed_gpus: int, measured_usd_per_h: float, assumed_usd_per_h: float) -> SharingSaving:
    return SharingSaving(
        measured_gpus=measured_gpus,
        assumed_gpus=assumed_gpus,
        measured_usd_per_h=measured_usd_per_h,
        assumed_usd_per_h=assumed_usd_per_h,
    )


def test_the_plan_carries_the_saving_and_the_checker_counts_again() -> None:
    plan = plan_fleet(fleet(), State()).plan
    saving = plan.desired.sharing_saving
    shared = sum(len(gpu.replicas) - 1 for gpu in plan.desired.gpus if gpu.mode == "time_shared" and gpu.replicas)
    assert saving == saved(0, shared, 0.0, 3.0 * shared)
    assert shared
    lie = plan.desired.model_copy(update={"sharing_saving": saved(shared, 0, 3.0 * shared, 0.0)})
    with pytest.raises(CheckError, match="sharing_saving says"):
        checked(plan.model_copy(update={"desired": lie}), "plan")
