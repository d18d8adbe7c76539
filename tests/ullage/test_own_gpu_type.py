"""A GPU type that only the fleet file knows, through every command that reads a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.check import check
from planner.plan import Plan, State, gpu_facts, plan_from_json
from profiles.catalogue import builtin
from tests.fleets import workload
from tests.ullage.commands import ullage, write_fleet, write_trace
from ullage.checking import architecture_of

SLICES = [
    {"name": "1g.12gb", "compute_slices": 1, "memory_slices": 1, "memory_mib": 11000, "max_count": 7, "placement_starts": list(range(7))},
    {"name": "3g.47gb", "compute_slices": 3, "memory_slices": 4, "memory_mib": 47000, "max_count": 2, "placement_starts": [0, 4]},
]
OWN: dict[str, Any] = {
    "name": "My-GPU",
    "memory_usable": "94GiB",
    "memory_bandwidth_gb_per_s": 3938,
    "bf16_tflops": 835.5,
    "mig": {"compute_slices": 7, "memory_slices": 8, "profiles": SLICES},
}


@pytest.fixture
def plan(work: Path) -> Plan:
    """Whole GPUs and MIG slices of the type."""
    pool = {"gpu": OWN, "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}
    pools = {"whole": pool, "cut": {**pool, "mig": "repartition"}}
    loads = {"small": workload("small", "1/s", pin=["cut"]), "middle": workload("middle", "1/s", pin=["whole"])}
    write_fleet(work / "fleet.yaml", pools=pools, workloads=loads)
    assert ullage("validate", "fleet.yaml").code == 0
    made = ullage("plan", "fleet.yaml", "-o", "plan.json")
    assert made.code == 0, made.err
    return plan_from_json((work / "plan.json").read_text(), "plan.json")


def test_every_command_takes_the_facts_from_the_plan(plan: Plan, work: Path) -> None:
    (facts,) = plan.desired.gpu_types
    assert (facts.name, facts.memory_usable_mib, facts.bf16_tflops) == ("My-GPU", 94 * 1024, 835.5)
    assert "mig" in {replica.mode for replica in plan.desired.replicas}
    assert {gpu.gpu_type for gpu in plan.desired.gpus} == {"My-GPU"}
    write_trace(work / "trace.csv", "small", "middle")
    asked = (
        ["show", "plan.json"],
        ["simulate", "plan.json", "--trace", "trace.csv"],
        ["render", "plan.json", "--to", "vllm", "-o", "out"],
        ["explain", "plan.json", "small"],
        ["fit", "plan.json", "--prompt-tokens", "500"],
        ["quote", "small", "--rate", "0.1/s"],
        ["plan", "fleet.yaml", "--prior", "plan.json", "-o", "next.json"],
    )
    for command in asked:
        result = ullage(*command)
        assert result.code == 0, (command, result.err)
    assert "My-GPU" in ullage("show", "plan.json").out
    assert list((work / "out").rglob("*"))


def test_a_faster_type_has_shorter_steps(plan: Plan, work: Path) -> None:
    """The simulation goes by the facts in the plan: with four times the bandwidth GPUs are busy for less of the time."""
    write_trace(work / "trace.csv", "small", "middle")
    document = json.loads((work / "plan.json").read_text())
    busy = []
    for factor in (1, 4):
        document["desired"]["gpu_types"][0]["memory_bandwidth_gb_per_s"] = 3938 * factor
        (work / "edited.json").write_text(json.dumps(document))
        found = ullage("simulate", "edited.json", "--trace", "trace.csv", "--json")
        assert found.code == 0, found.err
        busy.append([gpu["busy_fraction"] for gpu in json.loads(found.out)["gpus"]])
    assert len(busy[0]) == 2
    assert all(fast < slow for slow, fast in zip(*busy, strict=True))


def edited(plan: Plan, **facts: object) -> str:
    (own,) = plan.desired.gpu_types
    changed = plan.desired.model_copy(update={"gpu_types": (own.model_copy(update=facts),)})
    return "\n".join(check(plan.model_copy(update={"desired": changed}), builtin().gpu, architecture_of, State()))


def test_the_checker_judges_by_the_facts(plan: Plan) -> None:
    assert edited(plan) == ""
    assert "the plan says 96256 MiB, but a My-GPU has 90000 MiB" in edited(plan, memory_usable_mib=90_000)
    assert "not a legal MIG layout of My-GPU" in edited(plan, mig_profiles=plan.desired.gpu_types[0].mig_profiles[:0])


def test_a_plan_cannot_say_other_facts_of_what_the_catalogue_knows(plan: Plan) -> None:
    more = (*plan.desired.gpu_types, gpu_facts(builtin().gpu("L4")))
    changed = plan.model_copy(update={"desired": plan.desired.model_copy(update={"gpu_types": more})})
    found = "\n".join(check(changed, builtin().gpu, architecture_of, State()))
    assert "gpu_types: the catalogue has L4 already; the plan must not state other facts about it" in found
    assert "gpu_types: no node has GPUs of type L4" in found
    twice = plan.desired.model_copy(update={"gpu_types": plan.desired.gpu_types * 2})
    assert "gpu_types: My-GPU is listed 2 times" in check(
        plan.model_copy(update={"desired": twice}), builtin().gpu, architecture_of, State()
    )


@pytest.mark.parametrize(("field", "value"), [("memory_bandwidth_gb_per_s", 0), ("bf16_tflops", 1e12), ("mig_memory_slices", 64)])
def test_absurd_facts_are_refused_by_name(plan: Plan, work: Path, field: str, value: float) -> None:
    document = json.loads((work / "plan.json").read_text())
    document["desired"]["gpu_types"][0][field] = value
    (work / "plan.json").write_text(json.dumps(document))
    result = ullage("show", "plan.json")
    assert result.code != 0
    assert f"plan.json: desired.gpu_types.0.{field}" in result.err


def test_a_type_that_nobody_declares_is_told_by_name(plan: Plan, work: Path) -> None:
    document = json.loads((work / "plan.json").read_text())
    document["desired"]["gpu_types"] = []
    (work / "plan.json").write_text(json.dumps(document))
    result = ullage("apply", "plan.json", "--auto-approve")
    assert result.code != 0
    assert "unknown GPU type 'My-GPU'" in result.err
    assert "Traceback" not in result.err
