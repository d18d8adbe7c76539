"""Grids in which neighbours are alike, and scenarios by name: each does what it says to the declared fleet."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.spec import Fleet
from tests.docs.documents import ROOT
from tests.fleets import workload
from tests.ullage.study.studied import spec
from ullage.fleet_spec import FleetSpec
from ullage.study.named import KINDS, said_in, scenario
from ullage.study.scenarios import Scenario, count_of, grid, scenario_of_document

SETTINGS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True).map(tuple),
    min_size=1,
    max_size=4,
)


@given(SETTINGS)
def test_neighbours_in_a_grid_differ_in_one_setting_by_one_step(settings: dict[str, tuple[int, ...]]) -> None:
    """Invariant 30."""
    walked = list(grid(settings))
    assert len(walked) == len({scenario.edits for scenario in walked}) == count_of(settings)
    assert sorted(scenario.order for scenario in walked) == list(range(1, len(walked) + 1))
    for one, other in itertools.pairwise(walked):
        moved = [(a, b, values) for (_, a), (_, b), values in zip(one.edits, other.edits, settings.values(), strict=True) if a != b]
        assert len(moved) == 1
        before, after, values = moved[0]
        assert abs(values.index(before) - values.index(after)) == 1


def changed(said: dict[str, object], base: FleetSpec | None = None) -> Fleet:
    base = base or spec()
    return scenario(base, said).applied(base).resolved()


def taken(fleet: Fleet, pool: int = 0) -> set[tuple[int, int]]:
    return {(item.node, item.gpu) for item in fleet.pools[pool].taken}


def test_a_lost_node_is_taken_and_the_others_keep_their_names() -> None:
    base = (
        spec().set("pools.h100.nodes", 3).set("pools.h100.taken", [{"node": 1, "gpus": [0], "memory": "20GiB"}, {"node": 2, "gpus": [1]}])
    )
    lost = scenario(base, {"node_lost": "h100-1"})
    assert lost.lost_nodes == ("h100-1",)
    assert taken(lost.applied(base).resolved()) == {(1, 0), (1, 1), (2, 1)}


def test_a_machine_in_two_pools_is_lost_in_both() -> None:
    pool = {"gpu": "H100-SXM-80GB", "nodes": 2, "gpus_per_node": 2, "hosts": ["10.0.0.1", "10.0.0.2"]}
    base = spec(
        pools={
            "a": {**pool, "taken": [{"node": 0, "gpus": [1]}, {"node": 1, "gpus": [1]}]},
            "b": {**pool, "taken": [{"node": 0, "gpus": [0]}, {"node": 1, "gpus": [0]}]},
        }
    )
    lost = scenario(base, {"node_lost": "b-0"})
    assert lost.lost_nodes == ("a-0", "b-0")
    fleet = lost.applied(base).resolved()
    assert taken(fleet, 0) == {(0, 0), (0, 1), (1, 1)}
    assert taken(fleet, 1) == {(0, 0), (0, 1), (1, 0)}


def test_an_address_that_all_nodes_have_names_no_machine() -> None:
    base = spec().set("pools.h100.nodes", 3).set("pools.h100.hosts", ["127.0.0.1"] * 3)
    assert scenario(base, {"node_lost": "h100-1"}).lost_nodes == ("h100-1",)


@pytest.mark.parametrize("field", ["demand", "windows"])
def test_newcomers_may_have_windows(field: str) -> None:
    windows = [{"hours": "08:00-20:00", "rate": "2/s", "input_tokens": 200, "output_tokens": 50}]
    said = {"model": "small", **({"demand": {"windows": windows}} if field == "demand" else {"windows": windows})}
    assert changed({"joins": said}).workloads[-1].demand.peak_rps == 2.0


def test_a_rented_node_is_one_fewer_and_the_last_one_leaves_nothing() -> None:
    base = spec().set("pools.h100.ownership", "rentable").set("pools.h100.max_nodes", 2)
    assert changed({"node_lost": "h100-1"}, base).pools[0].max_nodes == 1
    only = base.set("pools.h100.max_nodes", 1)
    assert len(taken(changed({"node_lost": "h100-0"}, only))) == 2


def test_a_pool_is_gone_although_workloads_are_pinned_to_it() -> None:
    base = spec().set("workloads.small.pin", ["h100"])
    assert taken(changed({"pool_gone": "h100"}, base)) == {(0, 0), (0, 1)}


def test_prices_demand_and_goals_change_for_one_or_for_all() -> None:
    assert changed({"price": {"h100": "x2"}}).pools[0].price_usd_per_h == 6.0
    assert [item.demand.peak_rps for item in changed({"demand": "x2"}).workloads] == [2.0, 2.0, 2.0]
    assert [item.demand.peak_rps for item in changed({"demand": {"small": "x3"}}).workloads] == [3.0, 1.0, 1.0]
    assert {item.ttft_p95_s for item in changed({"ttft": "x0.5"}).workloads} == {1.0}
    assert [item.tpot_p95_s for item in changed({"tpot": {"large": "30ms"}}).workloads] == [0.1, 0.1, 0.03]


def test_goals_per_output_token_are_left_to_models_that_write() -> None:
    base = spec()
    models = {**base.root.plain()["models"], "vectors": {"source": "BAAI/bge-m3", "task": "embed"}}
    embed = {"model": "vectors", "demand": {"rate": "1/s", "input_tokens": 300}}
    both = spec(models=models, workloads={"small": workload("small"), "vectors": embed})
    assert next(item.tpot_p95_s for item in changed({"tpot": "x0.5"}, both).workloads) == 0.05


def test_models_are_quantised_and_newcomers_join() -> None:
    assert {model.quantization for model in changed({"quantization": "fp8"}).models} == {"fp8"}
    fleet = changed({"joins": {"model": "qwen3-8b", "rate": "2/s", "class": "interactive"}})
    newcomer = fleet.workloads[-1]
    assert (newcomer.name, newcomer.served_name, newcomer.latency_class) == ("newcomer", "qwen3-8b", "interactive")
    assert newcomer.demand.peak_rps == 2.0


def test_mig_is_switched_off_with_all_that_belongs_to_it() -> None:
    base = spec().set("pools.h100.mig", "fixed").set("pools.h100.mig_layout", ["3g.40gb", "4g.40gb"]).set("pools.h100.sharing", ["mig"])
    fleet = changed({"mig_off": "h100"}, base)
    assert (fleet.pools[0].mig, fleet.pools[0].sharing) == ("off", ("exclusive", "time_shared"))


def test_other_gpus_come_at_their_own_price() -> None:
    fleet = changed({"gpu": {"h100": "L40S"}})
    assert fleet.pools[0].gpu.name == "L40S"
    assert fleet.pools[0].price_usd_per_h != 3.0


def test_offered_gpus_stand_beside_the_fleets_and_all_on_replaces_them() -> None:
    offered = changed({"offer": ["L40S", {"gpu": "A100-SXM-80GB", "gpus_per_node": 4, "nodes": 2}]})
    assert [pool.ownership for pool in offered.pools] == ["owned", "rentable", "rentable"]
    assert [pool.gpus_per_node for pool in offered.pools] == [2, 8, 4]
    moved = changed({"all_on": "L40S"}, spec().set("workloads.small.pin", ["h100"]))
    assert len(taken(moved)) == 2
    assert moved.workloads[0].pin == ()
    assert moved.pools[1].ownership == "owned"


def test_an_offer_of_what_is_not_known_has_no_plan_and_says_why() -> None:
    for said, told in (({"offer": "H1000"}, "unknown GPU type 'H1000'"), ({"all_on": "./no/such.yaml"}, "pools.offered-such.gpu")):
        with pytest.raises(ValueError, match=told):
            changed(dict(said))


def test_wrong_entries_of_others_are_refused_where_the_fleet_is_read() -> None:
    for taken_gpus in ([3], "abc"):
        with pytest.raises(ValueError, match=r"pools\.h100\.taken"):
            changed({"set": {"pools.h100.taken": taken_gpus}}, None)
        assert scenario(spec(), {"set": {"pools.h100.taken": taken_gpus}, "node_lost": "h100-0"}).edits


def test_kinds_are_done_one_after_the_other() -> None:
    both = scenario(spec(), {"joins": {"model": "qwen3-8b", "rate": "2/s"}, "demand": "x2"})
    fleet = both.applied(spec()).resolved()
    assert fleet.workloads[-1].demand.peak_rps == 4.0
    assert both.name == "joins={model: qwen3-8b, rate: 2/s} demand=x2"


def test_more_and_fewer_nodes_find_addresses() -> None:
    base = spec().set("pools.h100.hosts", ["10.0.0.1"])
    more = Scenario("more", edits=(("pools.h100.nodes", 3),)).applied(base).resolved()
    assert more.pools[0].hosts == ("10.0.0.1", "h100-1.new", "h100-2.new")
    two = base.set("pools.h100.hosts", ["10.0.0.1", "10.0.0.2"]).set("pools.h100.nodes", 2)
    fewer = Scenario("fewer", edits=(("pools.h100.nodes", 1),)).applied(two).resolved()
    assert fewer.pools[0].hosts == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "a scenario says nothing"),
        ({"node_lst": "h100-0"}, "did you mean 'node_lost'?"),
        ({"node_lost": "h10-0"}, "no node is called 'h10-0'; did you mean 'h100-0'?"),
        ({"node_lost": ["a"]}, "is not one name"),
        ({"pool_gone": "h10"}, "did you mean 'h100'?"),
        ({"price": "x2"}, "price: x2 is not a mapping"),
        ({"price": {"h10": "x2"}}, "there is no 'h10' under pools"),
        ({"demand": {"smal": "x2"}}, "did you mean 'small'?"),
        ({"demand": ""}, "demand: has no value; it takes x2"),
        ({"offer": {"nodes": 2}}, "names no GPU type"),
        ({"joins": {"model": "qwen3-8b"}}, "joins: needs a model and a rate"),
        ({"joins": {"model": "qwen3-8b", "demand": "abc", "rate": "1/s"}}, "joins: needs a model and a rate"),
        ({"set": {"pools.h100.gpus_per_node": "abc"}, "node_lost": "h100-0"}, "pools.h100.gpus_per_node: is no whole number"),
        ({"set": {"pools.h100.node": 2}}, "did you mean 'pools.h100.nodes'?"),
    ],
)
def test_a_scenario_that_says_nothing_sensible_is_refused(said: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        scenario(spec(), said)
    assert told in str(error.value)


@pytest.mark.parametrize("text", ["demand", "demand=", "demand=x2 demand=x3", "=x2"])
def test_a_scenario_of_the_command_line_needs_kinds_and_values(text: str) -> None:
    with pytest.raises(ValueError, match="--scenario"):
        scenario(spec(), said_in(text))


def test_every_kind_is_documented() -> None:
    text = (ROOT / "docs" / "whatif.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []


def test_scenarios_survive_the_way_to_another_process() -> None:
    said: dict[str, Any] = {"demand": "x1.5", "offer": ["L40S"], "price": {"h100": "x2"}}
    sent = scenario(spec(), said)
    back = scenario_of_document(sent.document())
    assert back.applied(spec()).resolved() == sent.applied(spec()).resolved()
    assert back.document() == sent.document()
    assert all(kind.takes for kind in KINDS.values())
