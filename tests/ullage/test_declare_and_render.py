"""validate, schema, init, show and render as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import sound_plans
from tests.fleets import workload
from tests.ullage.commands import ullage, write_fleet, write_plan


def test_the_starter_is_valid_and_can_be_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ullage("init").out == "wrote fleet.yaml; edit it, then: ullage plan fleet.yaml\n"
    assert ullage("validate").out == "fleet.yaml: valid; 8 GPUs in 1 pools, 2 models, 3 workloads\n"
    figures = json.loads(ullage("plan", "--json").out)
    assert figures["unserved_rps"] == 0
    assert 1 <= figures["gpus_used"] <= 2


def test_init_keeps_what_is_there_unless_forced(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("mine", encoding="utf-8")
    assert ullage("init", fleet).code == 1
    assert fleet.read_text(encoding="utf-8") == "mine"
    assert ullage("init", fleet, "--force").code == 0
    assert ullage("validate", fleet).code == 0


def test_validate_lists_every_error_at_once_with_its_place(tmp_path: Path) -> None:
    fleet = write_fleet(
        tmp_path / "fleet.yaml",
        pools={"h100": {"gpu": "H10", "nodes": 0, "gpus_per_node": 2}},
        workloads={"small": workload("smal"), "middle": workload("middle", rate="fast")},
    )
    result = ullage("validate", fleet)
    assert (result.code, result.out) == (1, "")
    for place in ("pools.h100.gpu: ", "pools.h100.nodes: ", "workloads.middle.demand.rate: "):
        assert f": {place}" in result.err
    assert all(line.removeprefix("error: ").startswith(f"{fleet}:") for line in result.err.splitlines())


def test_validate_prints_warnings_beside_the_answer(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("arrival_s,input_tokens,output_tokens\n0,10,10\n1,90000,10\n70,10,10\n", encoding="utf-8")
    demand = {"small": {"model": "small", "class": "standard", "demand": {"trace": "long.csv", "window": "60s"}}}
    result = ullage("validate", write_fleet(tmp_path / "fleet.yaml", workloads=demand))
    assert result.code == 0
    assert result.err.startswith("warning: ")
    assert "valid; 2 GPUs in 1 pools" in result.out


def test_schema_is_a_json_schema_with_the_files_sections() -> None:
    schema = json.loads(ullage("schema").out)
    assert schema["properties"].keys() == {"schema_version", "pools", "models", "workloads", "policy", "measurements"}
    assert ullage("schema").out == ullage("schema").out


@pytest.mark.parametrize("target", ["vllm", "envoy"])
def test_render_writes_checks_and_repeats(target: str, tmp_path: Path) -> None:
    plan, deploy = write_plan(tmp_path / "plan.json", sound_plans.shared()), tmp_path / "deploy"
    arguments = ("render", plan, "--to", target, "-o", deploy)
    assert ullage(*arguments, "--check").code == 2
    assert not deploy.exists()
    assert ullage(*arguments).code == 0
    before = {path: path.read_bytes() for path in deploy.rglob("*") if path.is_file()}
    again = ullage(*arguments)
    assert (again.code, again.out.splitlines()) == (0, [f"{len(before) - 1} unchanged"])
    assert ullage(*arguments, "--check").code == 0
    assert {path: path.read_bytes() for path in deploy.rglob("*") if path.is_file()} == before


def test_render_touches_nothing_it_did_not_write(tmp_path: Path) -> None:
    plan, deploy = write_plan(tmp_path / "plan.json", sound_plans.shared()), tmp_path / "deploy"
    arguments = ("render", plan, "--to", "vllm", "-o", deploy)
    assert ullage(*arguments).code == 0
    edited = deploy / "h100-0" / "start.sh"
    edited.write_text("mine", encoding="utf-8")
    refused = ullage(*arguments)
    assert refused.code == 1
    assert "start.sh" in refused.err
    assert edited.read_text(encoding="utf-8") == "mine"
    checked = ullage(*arguments, "--check")
    assert checked.code == 2
    assert "! h100-0/start.sh" in checked.out
