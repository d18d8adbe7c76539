"""A fleet with measured starts is planned on what they took, says so, and is judged by what it says."""

from __future__ import annotations

import pytest

from planner.plan import MeasuredMemory, Plan, Replica, State, plan_from_json, to_json
from planner.spec import Fleet
from profiles.catalogue import builtin
from profiles.memory.engine_constants import constants_for
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements, StartPoint
from tests.fleets import fleet
from tests.profiles.points import measured
from ullage.checking import CheckError, checked
from ullage.planning.plan import plan_fleet
from ullage.views.plan.plan_text import plan_text

GPU = builtin().gpu("H100")
SHIPPED = constants_for(EngineSettings().engine_version)
MODELS = ("Qwen/Qwen3-0.6B", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-14B")


def starts(count: int, non_torch_mib: float, context_mib: float) -> Measurements:
    return Measurements(
        starts=tuple(
            StartPoint(
                model=MODELS[number % len(MODELS)],
                gpu=GPU.name,
                gpu_total_mib=81_090.0,
                init_free_mib=81_090.0 - context_mib + number / 10,
                non_torch_mib=non_torch_mib,
                provenance=measured(engine_version="0.32.0"),
            )
            for number in range(count)
        )
    )


def planned(measurements: Measurements) -> Plan:
    asked: Fleet = fleet().model_copy(update={"measurements": measurements})
    return plan_fleet(asked, State()).plan


def of(plan: Plan, name: str) -> Replica:
    return next(replica for replica in plan.desired.replicas if replica.served_name == name)


def test_a_dear_start_raises_every_ledger_and_the_plan_says_so() -> None:
    plain, dear = planned(Measurements()), planned(starts(1, 1500.0, 900.0))
    raised_mib = 1500 - SHIPPED.non_torch.single_mib - SHIPPED.non_torch_spread.single_mib
    for name in ("small", "middle", "large"):
        before, after = of(plain, name).ledger, of(dear, name).ledger
        assert after.activation_mib - before.activation_mib == pytest.approx(raised_mib, abs=1)
        assert after.context_mib == 900
        assert (before.provenance, after.provenance.startswith("measured, vllm 0.32.0 on: 1 starts of 1 models")) == ("", True)
    assert plain.desired.measured_memory == ()
    assert [(item.starts, item.models, item.context_mib) for item in dear.desired.measured_memory] == [(1, 1, 900.0)]
    assert "from 1 measured start of 1 model" in plan_text(dear)
    assert plan_from_json(to_json(dear), "plan.json") == dear


def test_few_cheap_starts_change_nothing_and_many_of_several_models_lower_the_ledger() -> None:
    plain = planned(Measurements())
    few = planned(starts(4, 150.0, 400.0)).desired
    assert few.model_copy(update={"measurements_sha256": None}) == plain.desired
    cheap = planned(starts(6, 150.0, 400.0))
    assert of(cheap, "large").ledger.context_mib == 400
    assert of(cheap, "large").ledger.activation_mib < of(plain, "large").ledger.activation_mib - 100


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"context_mib": 300.0}, "the ledger says context_mib is 400 MiB, the memory model 300 MiB"),
        ({"starts": 4}, "4 starts of 3 models may only raise it"),
        ({"models": 1}, "6 starts of 1 models may only raise it"),
        ({"non_torch_spread_mib": 0.0}, "measurements may only raise this value"),
        ({"gpu_type": "other"}, "the ledger says context_mib is 400 MiB, the memory model 523 MiB"),
    ],
)
def test_the_checker_judges_by_the_constants_that_the_plan_names(change: dict[str, object], fault: str) -> None:
    plan = planned(starts(6, 150.0, 400.0))
    checked(plan, "plan", State())
    (item,) = plan.desired.measured_memory
    edited = MeasuredMemory.model_validate({**item.model_dump(), **change})
    desired = plan.desired.model_copy(update={"measured_memory": (edited,)})
    with pytest.raises(CheckError, match=fault):
        checked(plan.model_copy(update={"desired": desired}), "plan", State())
    twice = plan.desired.model_copy(update={"measured_memory": (item, item)})
    with pytest.raises(CheckError, match="is listed 2 times"):
        checked(plan.model_copy(update={"desired": twice}), "plan", State())
