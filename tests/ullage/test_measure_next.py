"""`ullage profile measure --next`: what a missing measurement is worth to a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from profiles.latency.interference import GRID
from profiles.store.measurements import Measurements, PairPoint, PairSide, Phase, Provenance
from tests.fleets import fleet, fleet_dict, workload
from tests.plans import plan_of
from tests.plans import replica as sample_replica
from tests.ullage.commands import ullage, write_plan
from ullage.profiling.worth import rank

GPU = "H100-SXM-80GB"
PAIR = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-14B")


def changes() -> dict[str, Any]:
    """Two models of which one needs all of one GPU and a part of the next: a slow neighbour would cost a third one."""
    return {
        "pools": {"h100": {"gpu": "H100", "nodes": 4, "gpus_per_node": 2, "price": "3 USD/h"}},
        "models": {
            "large": {"source": "Qwen/Qwen3-14B", "max_model_len": 4096, "tensor_parallel": [1]},
            "small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048},
        },
        "workloads": {"large": workload("large", "37/s"), "small": workload("small")},
    }


def neighbours_measured() -> Measurements:
    def side(model: str, phase: Phase) -> PairSide:
        return PairSide(model=model, phase=phase, concurrency=1, input_tokens=8, output_tokens=8, slowdown=2.2)

    provenance = Provenance(kind="measured", source="test", engine_version="0.32.0")
    points = (
        PairPoint(first=side(PAIR[0], one), second=side(PAIR[1], other), gpu=GPU, sharing="time_shared", provenance=provenance)
        for one, other in GRID
    )
    return Measurements(pairs=tuple(points))


@pytest.fixture(scope="module")
def ranking() -> Any:
    return rank(fleet(**changes()), "measurements", 3)


def test_neighbours_under_mps_are_measured_under_mps() -> None:
    """And engines with all threads of their GPU, whatever part they have in the plan."""
    pools = {"h100": {"gpu": "H100", "nodes": 4, "gpus_per_node": 2, "price": "3 USD/h", "sharing": ["mps"]}}
    found = rank(fleet(**{**changes(), "pools": pools}), "measurements", 8)
    [pair] = [worth for worth in found.worths if "beside" in worth.what]
    assert f"--gpu {GPU} --sharing mps --store measurements" in pair.command
    assert any(worth.what == f"{PAIR[0]} on {GPU}" for worth in found.worths)


def test_a_slow_neighbour_would_cost_a_gpu(ranking: Any) -> None:
    first = ranking.worths[0]
    assert (first.what, first.why) == (f"{PAIR[0]} beside {PAIR[1]} on {GPU}", "they share a GPU in the plan")
    assert (ranking.now.cost_usd_per_h, first.low.cost_usd_per_h, first.high.cost_usd_per_h, first.swing_usd_per_h) == (6.0, 6.0, 9.0, 3.0)
    assert first.command == (
        f"ullage profile measure --pair {PAIR[0]}=http://HOST:PORT {PAIR[1]}=http://HOST:PORT --gpu {GPU} --store measurements"
    )
    assert [worth.swing_usd_per_h for worth in ranking.worths] == sorted((worth.swing_usd_per_h for worth in ranking.worths), reverse=True)


def test_the_work_is_bounded_and_said_and_the_same_each_time(ranking: Any) -> None:
    assert (ranking.looked_into, len(ranking.worths), ranking.plans) == (3, 3, 7)
    assert ranking.missing > 3
    assert rank(fleet(**changes()), "measurements", 3) == ranking


def test_what_is_measured_is_not_asked_again() -> None:
    measured = fleet(**changes()).model_copy(update={"measurements": neighbours_measured()})
    assert all("beside" not in worth.what for worth in rank(measured, "measurements", 3).worths)


def test_every_command_can_be_run_once_the_address_is_known(ranking: Any) -> None:
    for worth in ranking.worths:
        words = worth.command.replace("HOST:PORT", "127.0.0.1:9").split()[1:]
        result = ullage(*words)
        assert (result.code, "nothing answers" in result.err) == (1, True), result.err


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_dict(**changes())), encoding="utf-8")
    result = ullage("profile", "measure", "--next", file, "--limit", "1")
    assert result.code == 0, result.err
    assert result.out.startswith("the plan costs 6.00 USD/h\n")
    assert "examined 1 of " in result.out
    assert "3 plans made" in result.out
    found = json.loads(ullage("profile", "measure", "--next", file, "--limit", "1", "--json").out)
    assert (found["now"], found["worths"][0]["swing_usd_per_h"]) == ({"cost_usd_per_h": 6.0, "unserved_rps": 0.0}, 3.0)


def test_a_plan_leads_to_its_fleet(tmp_path: Path) -> None:
    plan = plan_of((sample_replica("llama-0"),), gpu_count=1)
    hashes = {"fleet.yaml": "0", "trace.csv": "1", "measurements/a.yaml": "2"}
    named = plan.model_copy(update={"desired": plan.desired.model_copy(update={"input_hashes": hashes})})
    file = write_plan(tmp_path / "plan.json", named)
    result = ullage("profile", "measure", "--next", file, "--limit", "1")
    assert (result.code, f"its fleet file ({tmp_path / 'fleet.yaml'}) is not beside it" in result.err) == (1, True), result.err
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet_dict(**changes())), encoding="utf-8")
    result = ullage("profile", "measure", "--next", file, "--limit", "1")
    assert result.code == 0, result.err


def test_forms_exclude_each_other(tmp_path: Path) -> None:
    result = ullage("profile", "measure", "--next", tmp_path / "fleet.yaml", "--url", "http://h:1")
    assert (result.code, result.err) == (1, "error: --url and --next are forms of their own; give one of them\n")
