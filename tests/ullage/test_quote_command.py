"""`ullage quote`: the difference between two plans, its estimate, and whom it displaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fleets import workload
from tests.ullage.commands import ullage, write_fleet

ONE = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}}


def quoted(*arguments: str) -> dict[str, Any]:
    result = ullage("quote", *arguments, "--json")
    assert result.code in {0, 2}, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_it_is_the_difference_of_two_plans(work: Path) -> None:
    before = json.loads(ullage("plan", "--json").out)["cost_usd_per_h"]
    found = quoted("large", "--rate", "12/s", "--input-tokens", "300", "--output-tokens", "150")
    load = workload("large", "12/s")
    write_fleet(work / "fleet.yaml", workloads={**{name: workload(name) for name in ("small", "middle", "large")}, "quote": load})
    after = json.loads(ullage("plan", "--json").out)["cost_usd_per_h"]
    assert found["usd_per_h"] == after - before
    assert found["exact"]
    assert found["served_rps"] == 12.0
    assert found["least_usd_per_h"] <= found["usd_per_h"] <= found["most_usd_per_h"]


def test_who_fits_beside_the_others_costs_nothing_and_says_where(work: Path) -> None:
    result = ullage("quote", "small", "--rate", "0.1/s")
    assert result.code == 0
    assert result.out.startswith("estimate: +0.00 USD/h")
    assert "confirmed: +0.00 USD/h (exact: both plans are proven optimal)" in result.out
    assert "h100-0 GPU 0" in result.out
    assert "displaces no other workload" in result.out


def test_a_catalogue_model_with_goals_and_replicas_of_its_own(work: Path) -> None:
    found = quoted("Qwen/Qwen3-4B", "--rate", "1/s", "--slo", "2s/100ms", "--isolate")
    assert found["served_rps"] == 1.0
    assert found["places"]


@pytest.mark.parametrize(("ownership", "gpus_per_node"), [("owned", 2), ("rentable", 1)])
def test_the_estimate_counts_a_larger_replica_in_place_of_the_model_s_own(work: Path, ownership: str, gpus_per_node: int) -> None:
    """The newcomer's model has a replica on the only GPU in use: it grows there, and no other GPU is paid."""
    pool = {"gpu": "H100", "nodes": 2, "gpus_per_node": gpus_per_node, "price": "3 USD/h", "ownership": ownership}
    write_fleet(work / "fleet.yaml", pools={"h100": pool}, workloads={"small": workload("small", "2/s")})
    found = quoted("small", "--rate", "60/s")
    assert found["usd_per_h"] == 0.0
    assert found["estimate"]["usd_per_h"] == 0.0
    assert (found["estimate"]["replicas"], found["estimate"]["replaced"]) == (1, 1)
    assert "in place of the 1 existing" in ullage("quote", "small", "--estimate", "--rate", "60/s").out
    assert "the existing replicas carry it" in ullage("quote", "small", "--estimate", "--rate", "1/s").out, "its pool has grown"


def test_higher_priority_displaces_lower(work: Path) -> None:
    write_fleet(work / "fleet.yaml", pools=ONE, workloads={"large": workload("large", "15/s", priority=1)})
    found = quoted("middle", "--rate", "20/s", "--priority", "900")
    assert found["displaced_rps"]["large"] > 0
    assert found["estimate"]["usd_per_h"] is None


def test_lower_priority_waits_and_says_so(work: Path) -> None:
    write_fleet(work / "fleet.yaml", pools=ONE, workloads={"large": workload("large", "15/s", priority=100)})
    result = ullage("quote", "middle", "--rate", "500/s", "--priority", "1")
    assert result.code == 2
    assert "cannot serve" in result.out


def test_a_plan_in_place_of_the_fleet_is_what_the_newcomer_comes_to(work: Path) -> None:
    assert ullage("plan", "-o", "plan.json").code == 0
    from_fleet = quoted("small", "--rate", "0.1/s")
    assert quoted("small", "plan.json", "--rate", "0.1/s") == from_fleet
    plan = json.loads((work / "plan.json").read_text())
    assert from_fleet["before_usd_per_h"] == plan["desired"]["cost_usd_per_h"]
    (work / "elsewhere").mkdir()
    (work / "fleet.yaml").rename(work / "elsewhere" / "fleet.yaml")
    assert "is not beside it" in ullage("quote", "small", "plan.json").err
    assert quoted("small", "plan.json", "--fleet", "elsewhere/fleet.yaml", "--rate", "0.1/s") == from_fleet


def test_a_plan_of_another_fleet_is_refused(work: Path) -> None:
    assert ullage("plan", "-o", "plan.json").code == 0
    write_fleet(work / "fleet.yaml", workloads={"large": workload("large", "15/s")})
    result = ullage("quote", "small", "plan.json")
    assert result.code == 1
    assert "plan.json: made from another fleet.yaml" in result.err


def test_neighbours_stay_where_they_are_at_equal_cost(work: Path) -> None:
    found = quoted("Qwen/Qwen3-4B", "--rate", "0.5/s")
    assert found["usd_per_h"] == found["estimate"]["usd_per_h"]
    assert found["moved"] == []
    assert found["after_usd_per_h"] - found["before_usd_per_h"] == found["usd_per_h"]


def test_the_estimate_alone(work: Path) -> None:
    result = ullage("quote", "small", "--rate", "0.1/s", "--estimate")
    assert (result.code, result.out.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "models.nobody.source"),
        (["small", "--rate", "soon"], "workloads.quote.demand.rate"),
        (["small", "--slo", "500ms/"], "--slo 500ms/: write TTFT/TPOT"),
        (["small", "--class", "hasty"], "workloads.quote.class"),
        (["small", "--fleet", "fleet.yaml"], "--fleet fleet.yaml: only with a plan"),
        (["small", "plan.json", "--state", "here"], "--state here: plan.json is a plan"),
        (["small", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
    ],
)
def test_bad_input_names_the_place(arguments: list[str], words: str, work: Path) -> None:
    result = ullage("quote", *arguments)
    assert result.code == 1
    assert words in result.err
    assert "Traceback" not in result.err


def test_a_model_that_embeds_has_no_output_and_one_goal(work: Path) -> None:
    result = ullage("quote", "BAAI/bge-m3", "fleet.yaml", "--rate", "5/s", "--slo", "500ms", "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert (found["served_rps"], found["unserved_rps"]) == (5.0, 0.0)
    refused = ullage("quote", "BAAI/bge-m3", "fleet.yaml", "--output-tokens", "20")
    assert (refused.code, "generates nothing (task: embed); leave it out" in refused.err) == (1, True)
