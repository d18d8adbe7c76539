"""`ullage plan`: its figures, its exit codes, and the same bytes for the same input."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from planner.plan import Start, State, Stop, plan_from_json, state_from_json, state_hash, to_json
from planner.spec import starter
from tests.fleets import workload
from tests.ullage.commands import PROGRAM, ullage, write_fleet

FIGURES = {
    "actions",
    "baselines",
    "bound_usd_per_h",
    "cost_usd_per_h",
    "gap_fraction",
    "gap_goal",
    "gpus_total",
    "gpus_used",
    "outages",
    "solve_s",
    "solver",
    "status",
    "stopped_by",
    "unserved_rps",
}


def settled(work: Path) -> None:
    """The state folder as an apply of plan.json leaves it."""
    desired = plan_from_json((work / "plan.json").read_text(encoding="utf-8"), "plan.json").desired
    state = State(serial=1, nodes=desired.nodes, gpus=desired.gpus, replicas=desired.replicas, routes=desired.routes, router=desired.router)
    (work / ".ullage").mkdir()
    (work / ".ullage" / "state.json").write_text(to_json(state), encoding="utf-8")


def test_json_is_one_object_that_agrees_with_the_plan(work: Path) -> None:
    result = ullage("plan", "--json", "-o", "again.json")
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)
    figures = json.loads(result.out)
    assert set(figures) == FIGURES
    plan = plan_from_json((work / "again.json").read_text(encoding="utf-8"), "again.json")
    certificate = plan.desired.certificate
    assert figures["cost_usd_per_h"] == plan.desired.cost_usd_per_h == 3.0
    assert figures["gpus_used"] == plan.desired.gpus_used == 1
    assert figures["unserved_rps"] == 0.0
    assert (
        figures["bound_usd_per_h"]
        == next(tier.bound for tier in certificate.tiers if tier.goal == "cost_usd_per_h")
        <= figures["cost_usd_per_h"]
    )
    assert (figures["status"], figures["gap_fraction"]) == ("optimal", 0.0)
    assert figures["solver"] == certificate.solver
    # of engines that find the same plan the one asked first
    assert figures["solver"] == "exact"
    assert figures["baselines"].keys() == {"best-fit", "exclusive", "first-fit-decreasing", "squishy"}
    assert figures["baselines"]["exclusive"] == {"cost_usd_per_h": 9.0, "fits": False, "gpus": 3, "unserved_rps": 0.0}
    assert all(figures["cost_usd_per_h"] <= item["cost_usd_per_h"] for item in figures["baselines"].values() if item["fits"])
    assert figures["solve_s"] > 0


def test_text_names_the_file_and_the_next_command(work: Path) -> None:
    result = ullage("plan", "-o", "again.json")
    assert result.out.endswith("\nwrote again.json; next: ullage apply again.json\n")
    assert ullage("show", "again.json").out in result.out


def test_invariant_6_two_runs_give_the_same_bytes(work: Path) -> None:
    assert ullage("plan", "-o", "again.json").code == 0
    assert (work / "again.json").read_bytes() == (work / "plan.json").read_bytes()


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_invariant_6_the_hash_seed_does_not_matter(seed: str, work: Path) -> None:
    command = [*PROGRAM, "plan", "fleet.yaml", "-o", "again.json"]
    done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (work / "again.json").read_bytes() == (work / "plan.json").read_bytes()


def test_the_plan_does_not_depend_on_where_the_fleet_file_is(work: Path) -> None:
    elsewhere = work / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fleet.yaml").write_bytes((work / "fleet.yaml").read_bytes())
    assert ullage("plan", elsewhere / "fleet.yaml", "-o", "again.json").code == 0
    assert (work / "again.json").read_bytes() == (work / "plan.json").read_bytes()


def test_detailed_exitcode(work: Path) -> None:
    assert ullage("plan", "--detailed-exitcode").code == 2
    assert ullage("plan").code == 0
    settled(work)
    unchanged = ullage("plan", "--detailed-exitcode")
    assert unchanged.code == 0
    assert "No changes: the plan is already applied (`ullage status` shows whether it still runs)." in unchanged.out
    write_fleet(work / "fleet.yaml", workloads={"small": workload("small")})
    assert ullage("plan", "--detailed-exitcode").code == 2
    (work / "fleet.yaml").write_text("pools: [", encoding="utf-8")
    assert ullage("plan", "--detailed-exitcode").code == 1
    assert ullage("plan", "--detailed-exitcode", "--nope").code == 1


def test_fail_on_unserved(work: Path) -> None:
    assert ullage("plan", "--fail-on-unserved").code == 0
    assert ullage("plan", "--fail-on-unserved", "--detailed-exitcode").code == 2
    write_fleet(work / "fleet.yaml", workloads={"large": workload("large", rate="500/s")})
    short = ullage("plan", "--fail-on-unserved", "-o", "short.json")
    assert (short.code, short.err) == (3, "")
    assert short.out.startswith("UNSERVED ")
    assert ullage("show", "short.json").out.startswith("UNSERVED ")
    assert ullage("plan", "--fail-on-unserved", "--detailed-exitcode").code == 3
    assert ullage("plan").code == 0
    (work / "fleet.yaml").write_text("pools: [", encoding="utf-8")
    assert ullage("plan", "--fail-on-unserved").code == 1


def test_a_fleet_file_edited_since_gives_another_plan(work: Path) -> None:
    write_fleet(work / "fleet.yaml", workloads={"small": workload("small", rate="2/s")})
    assert ullage("plan", "-o", "again.json").code == 0
    before, after = (plan_from_json((work / name).read_text(encoding="utf-8"), name).desired for name in ("plan.json", "again.json"))
    assert before.input_hashes.keys() == after.input_hashes.keys()
    assert before.input_hashes != after.input_hashes
    assert [item.name for item in after.workloads] == ["small"]


def test_a_plan_made_before_the_state_moved_on_is_refused(work: Path) -> None:
    settled(work)
    result = ullage("apply", "plan.json", "-y", "--engine", "emulated")
    assert result.code == 1
    assert "plan again" in result.err
    assert "replica large-0: added" in result.err


def test_unserved_demand_is_reported_not_refused(work: Path) -> None:
    write_fleet(work / "fleet.yaml", workloads={"large": workload("large", rate="500/s")})
    figures = json.loads(ullage("plan", "--json").out)
    assert 0 < figures["unserved_rps"] < 500
    assert figures["baselines"]["exclusive"]["fits"] is False
    text = ullage("plan").out
    assert "requests/s unserved: the GPUs are used up" in text
    assert "does not fit the pools; priced as if they were large enough" in text


@pytest.mark.parametrize("solver", ["pulp:cbc", "exclusive", "first-fit-decreasing", "best-fit", "squishy"])
def test_every_engine_can_be_asked(solver: str, work: Path) -> None:
    figures = json.loads(ullage("plan", "--json", "--solver", solver).out)
    assert 3.0 <= figures["cost_usd_per_h"] <= min(item["cost_usd_per_h"] for item in figures["baselines"].values() if item["fits"])


def test_a_time_limit_is_named_in_the_plan_and_the_answer_is_no_worse_than_the_baselines(work: Path) -> None:
    # more than every engine can prove before it looks at the clock
    sources = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-32B")
    models = {f"m{number}": {"source": sources[number % 5], "max_model_len": 4096} for number in range(15)}
    pools = {
        name: {"gpu": name, "nodes": 4, "gpus_per_node": 4, "price": f"{price} USD/h"}
        for name, price in (("H100", 3), ("L40S", 1), ("A10", 0.7))
    }
    served = {name: workload(name, f"{1 + 3 * number}/s") for number, name in enumerate(models)}
    write_fleet(work / "fleet.yaml", pools=pools, models=models, workloads=served)
    figures = json.loads(ullage("plan", "--json", "--time-limit", "0", "-o", "hasty.json").out)
    assert (figures["status"], figures["stopped_by"]) == ("feasible", "time_limit")
    assert json.loads((work / "hasty.json").read_text())["desired"]["certificate"]["stopped_by"] == "time_limit"
    assert "time limit" in ullage("show", "hasty.json").out
    assert figures["cost_usd_per_h"] <= min(item["cost_usd_per_h"] for item in figures["baselines"].values() if item["fits"])
    assert figures["bound_usd_per_h"] <= figures["cost_usd_per_h"]


def test_a_plan_rests_on_the_measurements_that_the_fleet_names(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(
        "model,gpu,tensor_parallel_size,input_tokens,output_tokens,concurrency,ttft_s,tpot_s,engine,engine_version\n"
        "meta-llama/Llama-3.1-8B,H100,1,512,128,8,0.2,0.02,vllm,0.32.0\n",
        encoding="utf-8",
    )
    assert ullage("profile", "import", str(table), "--store", str(tmp_path / "measured")).code == 0
    (tmp_path / "fleet.yaml").write_text(f"{starter()}\nmeasurements: ./measured\n", encoding="utf-8")
    assert ullage("validate", str(tmp_path / "fleet.yaml")).code == 0
    planned = ullage("plan", str(tmp_path / "fleet.yaml"))
    assert planned.code == 0
    assert "step times measured on" in planned.out


def test_a_plan_against_an_earlier_plan_moves_nothing_but_what_was_edited(work: Path) -> None:
    write_fleet(
        work / "fleet.yaml", workloads={"small": workload("small"), "middle": workload("middle"), "large": workload("large", "3/s")}
    )
    result = ullage("plan", "--prior", "plan.json", "-o", "next.json")
    assert (result.code, result.err) == (0, "")
    first, then = (plan_from_json((work / name).read_text(encoding="utf-8"), name) for name in ("plan.json", "next.json"))
    seats = [
        {item.name: (item.node, item.gpus, item.args) for item in plan.desired.replicas if item.served_name != "large"}
        for plan in (first, then)
    ]
    assert seats[0] == seats[1]
    assert {action.replica for action in then.actions if isinstance(action, (Start, Stop))} <= {
        item.name for plan in (first, then) for item in plan.desired.replicas if item.served_name == "large"
    }
    # as apply of the first plan leaves it
    settled(work)
    state = state_from_json((work / ".ullage" / "state.json").read_text(encoding="utf-8"), "state.json")
    assert (then.prior.serial, then.prior.state_hash) == (1, state_hash(state))
    assert ullage("plan", "-o", "same.json").code == 0
    assert (work / "same.json").read_bytes() == (work / "next.json").read_bytes()


def test_an_earlier_plan_and_a_state_folder_contradict_each_other(work: Path) -> None:
    result = ullage("plan", "--prior", "plan.json", "--state", ".ullage")
    assert (result.code, result.out) == (1, "")
    assert "prior and state contradict each other" in result.err
    missing = ullage("plan", "--prior", "none.json")
    assert missing.code == 1
    assert missing.err.startswith("error: none.json: there is no such file")
