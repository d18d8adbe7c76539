from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from planner.check import check
from planner.plan import Plan, State
from planner.spec import SpecError
from profiles.catalogue import builtin
from profiles.memory.adapters import adapter_elements, lora_rank
from renderers.envoy import render_routes
from renderers.vllm import command
from tests.fleets import fleet, fleet_dict, workload
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

ADAPTERS = {"support": {"source": "acme/support-lora", "rank": "16"}, "legal": {"source": "./adapters/legal", "rank": "40"}}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has the adapter."""
    (tmp_path / "adapters" / "legal").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def _models(**changes: Any) -> dict[str, Any]:
    models: dict[str, Any] = fleet_dict()["models"]
    return {**models, "middle": {**models["middle"], "adapters": ADAPTERS, **changes}}


def _plan() -> Plan:
    workloads = {"chat": workload("middle", "2/s"), "help": workload("support", "3/s"), "law": workload("legal", "1/s")}
    return plan_fleet(fleet(models=_models(), workloads=workloads), State()).plan


def test_a_base_and_its_adapters_are_one_unit_with_summed_demand() -> None:
    desired = _plan().desired
    assert {replica.served_name for replica in desired.replicas} == {"middle"}
    assert sum(replica.planned_rps for replica in desired.replicas) == pytest.approx(6.0)
    assert [route.served_name for route in desired.routes] == ["legal", "middle", "support"]
    assert len({route.backends for route in desired.routes}) == 1


def test_engines_are_told_of_the_adapters_and_their_memory_is_in_the_ledger() -> None:
    replica = _plan().desired.replicas[0]
    words = command(replica)
    at = words.index("--lora-modules")
    assert words[at + 1] == "legal=./adapters/legal"
    assert words[at + 2] == "support=acme/support-lora"
    assert words[words.index("--max-loras") + 1] == "2"
    # the largest rank is 40, vLLM takes 64
    assert words[words.index("--max-lora-rank") + 1] == "64"
    assert "--enable-lora" in words
    plain = plan_fleet(fleet(workloads={"chat": workload("middle", "2/s")}), State()).plan.desired.replicas[0]
    # two slots of rank 64 in 16 bit: 2 x 64 x 2 bytes for each of the elements per rank
    elements = adapter_elements(builtin().model("meta-llama/Meta-Llama-3.1-8B"))
    assert replica.ledger.weights_mib - plain.ledger.weights_mib == pytest.approx(2 * 64 * 2 * elements / 2**20, abs=2)


def test_an_8b_model_takes_the_elements_that_its_layers_have() -> None:
    # Llama-3.1-8B: 32 layers of q, o (4096 + 4096), k, v (4096 + 1024), gate, up, down (4096 + 14336), and the output head
    per_layer = 2 * 8192 + 2 * 5120 + 3 * 18432
    assert adapter_elements(builtin().model("meta-llama/Meta-Llama-3.1-8B")) == 32 * per_layer + 4096 + 128256
    assert [lora_rank(rank) for rank in (1, 2, 16, 17, 512)] == [1, 8, 16, 32, 512]
    with pytest.raises(ValueError, match="rank 513 is more than the 512"):
        lora_rank(513)


def test_the_router_knows_every_name() -> None:
    desired = _plan().desired
    files = {file.path: file.text for file in render_routes(desired.routes, desired.router)}
    assert {"eds/legal.yaml", "eds/middle.yaml", "eds/support.yaml"} <= files.keys()
    assert "support" in files["rds.yaml"]


def test_the_checker_counts_slots_and_routes() -> None:
    plan = _plan()
    first = plan.desired.replicas[0]
    cramped = first.model_copy(update={"args": first.args.model_copy(update={"max_loras": 1})})
    wrong = plan.desired.model_copy(update={"replicas": (cramped, *plan.desired.replicas[1:])})
    found = "\n".join(check(plan.model_copy(update={"desired": wrong}), builtin().gpu, architecture_of))
    assert "2 adapters in 1 slots" in found
    lost = plan.desired.model_copy(update={"routes": plan.desired.routes[:-1]})
    found = "\n".join(check(plan.model_copy(update={"desired": lost}), builtin().gpu, architecture_of))
    assert "takes part in 2 routes, it must be 3: one for each name it serves" in found


def test_isolated_workloads_of_the_base_have_engines_without_adapters() -> None:
    workloads = {"own": workload("middle", isolate="true"), "help": workload("support")}
    desired = plan_fleet(fleet(models=_models(), workloads=workloads), State()).plan.desired
    adapters = {replica.served_name: len(replica.args.lora_modules) for replica in desired.replicas}
    assert adapters == {"middle": 2, "own": 0}


@pytest.mark.parametrize(
    ("models", "workloads", "said"),
    [
        (_models(adapters={"small": ADAPTERS["legal"]}), {"a": workload("middle")}, "requests could mean model small"),
        (_models(adapters={"x": {"source": "a/b", "rank": "513"}}), {"a": workload("middle")}, "less than or equal to 512|512"),
        (_models(adapters={"x": {"source": "a=b", "rank": "8"}}), {"a": workload("middle")}, "source"),
        (_models(), {"a": workload("support", isolate="true")}, "support is an adapter and shares the replicas of middle"),
        (
            _models(adapters={"x": {"source": "./adapters/gone", "rank": "8"}}),
            {"a": workload("middle")},
            r"models\.middle\.adapters\.x\.source: there is no folder adapters/gone; engines could not load it: correct the path",
        ),
        (_models(), {"a": workload("suport")}, "did you mean 'support'"),
        (_models(source="mistralai/Mixtral-8x7B-v0.1"), {"a": workload("middle")}, "dense attention and MLP layers only"),
    ],
)
def test_what_cannot_be_an_adapter_is_refused(models: dict[str, Any], workloads: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        fleet(models=models, workloads=workloads)
