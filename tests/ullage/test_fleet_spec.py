"""A declared fleet in Python: copies that change by path, errors with the user's own path, demand times a factor in all its forms."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from planner.spec import SpecError
from planner.spec.paths import PathError
from tests.fleets import fleet_dict, workload
from ullage.fleet_spec import FleetSpec, fleet, load
from ullage.inputs import read_fleet

DEMO = Path("examples/demo/fleet.yaml")


def spec() -> FleetSpec:
    return fleet(fleet_dict())


def peak_rps(fleet_spec: FleetSpec, name: str) -> float:
    return next(item.demand.peak_rps for item in fleet_spec.resolved().workloads if item.name == name)


def test_a_loaded_fleet_is_the_one_that_the_command_line_reads() -> None:
    assert load(DEMO).resolved() == read_fleet(DEMO)


def test_a_copy_is_changed_and_the_original_is_not() -> None:
    before = spec()
    after = before.set("pools.h100.nodes", 3)
    assert (before.get("pools.h100.nodes"), after.get("pools.h100.nodes")) == ("1", "3")
    assert after.resolved().pools[0].nodes == 3
    assert before.resolved().hashes != after.resolved().hashes


def test_none_leaves_a_field_to_its_default() -> None:
    assert spec().set("pools.h100.price", None).resolved().pools[0].price_usd_per_h != 3.0
    assert spec().set("pools.h100.price", None).get("pools.h100.price") is None


def test_a_wrong_value_is_named_by_the_users_path_and_no_line() -> None:
    with pytest.raises(SpecError) as error:
        spec().set("pools.h100.nodes", -3).set("workloads.small.rate", 5).resolved()
    assert str(error.value).splitlines() == [
        "fleet: pools.h100.nodes: '-3' must be at least 1",
        "fleet: workloads.small.demand.rate: '5' has no unit; write 5/s if that is meant (units: /s, /min, /h, /d)",
    ]


def test_a_wrong_path_is_named_with_the_nearest_spelling() -> None:
    with pytest.raises(PathError, match="did you mean 'h100'"):
        spec().set("pools.h10.nodes", 3)


def test_prices_and_goals_that_are_not_said_are_multiplied_from_their_defaults() -> None:
    plain = spec().set("pools.h100.price", None)
    price_usd_per_h = plain.resolved().pools[0].price_usd_per_h
    assert plain.set("pools.h100.price", "x2").resolved().pools[0].price_usd_per_h == pytest.approx(2 * price_usd_per_h)
    ttft_s = spec().resolved().workloads[0].ttft_p95_s
    assert spec().set("workloads.small.ttft_p95", "x0.5").resolved().workloads[0].ttft_p95_s == pytest.approx(ttft_s / 2)
    with pytest.raises(PathError, match=r"the file has no value at policy.headroom"):
        spec().set("policy.headroom", "x2")


@pytest.mark.parametrize("form", ["rate", "windows", "trace"])
def test_demand_is_multiplied_in_each_of_its_forms(form: str, tmp_path: Path) -> None:
    declared = fleet_dict()
    if form == "windows":
        demand = {"input_tokens": 200, "output_tokens": 50}
        windows = [{"hours": "08:00-20:00", "rate": "2/s", **demand}, {"hours": "20:00-08:00", "rate": "1/s", **demand}]
        declared["workloads"]["small"] = {**workload("small"), "demand": {"windows": windows}}
    if form == "trace":
        rows = "".join(f"{second},100,20\n" for second in range(120))
        (tmp_path / "t.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
        declared["workloads"]["small"] = {**workload("small"), "demand": {"trace": "t.csv"}}
    before = fleet(declared, tmp_path)
    after = before.set("workloads.small.rate", "x1.5")
    assert peak_rps(after, "small") == pytest.approx(1.5 * peak_rps(before, "small"))
    assert peak_rps(after.set("workloads.small.rate", "x2"), "small") == pytest.approx(3 * peak_rps(before, "small"))
    assert peak_rps(after, "large") == peak_rps(before, "large")


def test_a_saved_fleet_is_read_again_as_it_was(tmp_path: Path) -> None:
    changed = spec().set("pools.h100.nodes", 2).set("workloads.small.labels", {"owner": "yes", "id": "007"})
    again = load(changed.save(tmp_path / "next.yaml"))
    assert again.root.plain() == changed.root.plain()
    assert again.resolved().pools == changed.resolved().pools
    with pytest.raises(ValueError, match="there is no folder"):
        changed.save(tmp_path / "none" / "next.yaml")


def test_a_trace_times_a_factor_is_not_saved_as_something_else(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arena-00 is that of a file times a factor"):
        load(DEMO).set("workloads.arena-00.rate", "x2").save(tmp_path / "next.yaml")


def test_a_missing_or_wrong_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        load(tmp_path / "fleet.yaml")
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"pools": {}}))
    with pytest.raises(SpecError, match="schema_version"):
        load(tmp_path / "fleet.yaml")


def test_fleets_are_equal_that_declare_the_same() -> None:
    assert spec() == spec().set("pools.h100.nodes", 1)
    assert hash(spec()) == hash(spec().set("pools.h100.nodes", "1"))
    assert spec() != spec().set("pools.h100.nodes", 2)
    assert len({spec(), spec(), load(DEMO)}) == 2


def test_what_is_not_there_is_neither_read_nor_left_out() -> None:
    for ask in (lambda: spec().get("pools.h10"), lambda: spec().set("pools.h10", None)):
        with pytest.raises(PathError, match=r"there is no 'h10' under pools; did you mean 'h100'"):
            ask()
    assert spec().set("workloads.large", None).names("workloads") == ("small", "middle")
    added = spec().set("pools.l4", {"gpu": "L4", "nodes": 1, "gpus_per_node": 2})
    assert [pool.name for pool in added.resolved().pools] == ["h100", "l4"]
    assert added.get("pools.l4.gpu") == "L4"


def test_a_factor_on_a_trace_stays_with_the_trace(tmp_path: Path) -> None:
    rows = "".join(f"{second},100,20\n" for second in range(120))
    (tmp_path / "t.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
    declared = fleet_dict()
    declared["workloads"]["small"] = {**workload("small"), "demand": {"trace": "t.csv"}}
    before = fleet(declared, tmp_path)
    doubled = before.set("workloads.small.rate", "x2")
    assert peak_rps(doubled.set("workloads.small.demand.window", "60s"), "small") == pytest.approx(2 * peak_rps(before, "small"))
    for path, value in (("workloads.small", workload("small")), ("workloads.small.demand", workload("small")["demand"])):
        assert doubled.set(path, value) == before.set(path, value)
    assert doubled.set("workloads.small", None).resolved().workloads[0].name == "middle"


def test_a_field_that_the_file_does_not_say_is_none() -> None:
    assert spec().get("policy.headroom") is None
    assert spec().set("policy.headroom", None) == spec()
