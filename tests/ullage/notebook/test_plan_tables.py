"""A plan as tables: columns, units, and the numbers of the document."""

from __future__ import annotations

import pandas as pd
import pytest

from planner.plan import Plan, Replica, State, as_applied
from planner.transitions.diff import diff
from tests.plans import mig_plan, tensor_parallel_plan, time_shared_plan
from tests.test_units_of_names import EXEMPT, has_unit
from ullage.notebook.frames import frame
from ullage.views.tables.ledger_table import LEDGER_COLUMNS
from ullage.views.tables.move_table import MOVE_COLUMNS, move_rows
from ullage.views.tables.plan_tables import COLUMNS, known_kind, plan_rows
from ullage.views.tables.traffic_tables import TRAFFIC_COLUMNS

PLANS = {"time-shared": time_shared_plan(), "mig": mig_plan(), "tensor-parallel": tensor_parallel_plan()}

# counts, ranks and levels, whose names say what they are
WITHOUT_UNIT = EXEMPT | {"asleep", "attained", "best_effort", "routes", "step"}


@pytest.fixture(params=PLANS)
def document(request: pytest.FixtureRequest) -> Plan:
    return PLANS[request.param]


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_row_has_the_same_plain_columns_in_their_order(document: Plan, kind: str) -> None:
    rows = plan_rows(document, kind)
    assert rows or kind == "moves"
    for row in rows:
        assert tuple(row) == COLUMNS[kind]
        assert {type(value) for value in row.values()} <= {str, int, float, bool, type(None)}


@pytest.mark.parametrize("kind", COLUMNS)
def test_numbers_end_in_their_unit(document: Plan, kind: str) -> None:
    numbers = {name for row in plan_rows(document, kind) for name, value in row.items() if type(value) in {int, float}}
    # ttft_p50_s and the like carry the unit after the quantile
    assert sorted(name for name in numbers if not has_unit(name) and name not in WITHOUT_UNIT) == []


def test_no_column_stands_twice() -> None:
    for columns in (*COLUMNS.values(), *TRAFFIC_COLUMNS.values(), LEDGER_COLUMNS, MOVE_COLUMNS):
        assert len(set(columns)) == len(columns)


@pytest.mark.parametrize("kind", COLUMNS)
def test_frames_hold_the_rows(document: Plan, kind: str) -> None:
    rows = plan_rows(document, kind)
    found = frame(rows, COLUMNS[kind])
    assert list(found.columns) == list(COLUMNS[kind])
    assert len(found) == len(rows)
    for (_, held), row in zip(found.iterrows(), rows, strict=True):
        for column, value in row.items():
            assert held.isna()[column] if value is None else held[column] == value


def test_whole_numbers_stay_whole_beside_nothing() -> None:
    found = frame([{"routes": None, "busy_fraction": None}, {"routes": 3, "busy_fraction": 0.5}], ("routes", "busy_fraction"))
    assert [str(kind) for kind in found.dtypes] == ["Int64", "float64"]
    assert found["routes"][1] == 3


def test_without_rows_there_are_the_columns() -> None:
    found = frame([], MOVE_COLUMNS)
    assert isinstance(found, pd.DataFrame)
    assert (list(found.columns), len(found)) == (list(MOVE_COLUMNS), 0)


def test_gpus_add_up_and_name_their_replicas() -> None:
    [first, *_] = plan_rows(time_shared_plan(), "gpus")
    [gpu, *_] = time_shared_plan().desired.gpus
    assert first["replicas"] == ", ".join(gpu.replicas)
    assert (first["node"], first["gpu"], first["memory_mib"], first["kv_mib"]) == (gpu.node, gpu.index, gpu.memory_mib, gpu.kv_mib)
    layouts = [row["mig_layout"] for row in plan_rows(mig_plan(), "gpus") if row["mode"] == "mig"]
    assert all(isinstance(layout, str) and "@" in layout for layout in layouts)
    assert layouts


def test_shares_of_a_route_add_up_and_a_model_without_replicas_has_a_row(document: Plan) -> None:
    shares: dict[str, float] = {}
    for row in plan_rows(document, "routes"):
        assert isinstance(row["share_fraction"], float)
        shares[str(row["served_name"])] = shares.get(str(row["served_name"]), 0.0) + row["share_fraction"]
    assert list(shares.values()) == [pytest.approx(1.0)] * len(document.desired.routes)
    bare = document.desired.routes[0].model_copy(update={"backends": ()})
    empty = document.model_copy(update={"desired": document.desired.model_copy(update={"routes": (bare,)})})
    [row] = plan_rows(empty, "routes")
    assert (row["served_name"], row["replica"], row["weight"], row["share_fraction"]) == (bare.served_name, None, None, None)


def test_moves_say_where_and_what_is_loaded() -> None:
    plan = tensor_parallel_plan()
    rows = move_rows(diff(State(), plan.desired), plan.desired.replicas)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    by_name: dict[object, Replica] = {replica.name: replica for replica in plan.desired.replicas}
    starts = [row for row in rows if row["action"] == "start"]
    assert {row["replica"] for row in starts} == set(by_name)
    for row in starts:
        replica = by_name[row["replica"]]
        assert row["loaded_mib"] == replica.ledger.weights_mib * len(replica.gpus)
        assert row["gpus"] == ", ".join(map(str, replica.gpus))
    [*_, last] = rows
    assert (last["action"], last["routes"], last["replica"]) == ("set_routes", len(plan.desired.routes), None)


def test_a_layout_is_named_and_a_replica_that_nobody_knows_has_a_name_only() -> None:
    plan = mig_plan()
    there = as_applied(plan)
    gone = plan.desired.model_copy(update={"replicas": (), "routes": (), "gpus": ()})
    rows = move_rows(diff(there, gone), ())
    stops = [row for row in rows if row["action"] == "stop"]
    assert {row["replica"] for row in stops} == {replica.name for replica in plan.desired.replicas}
    assert {row["node"] for row in stops} == {None}
    layouts = [row["mig_layout"] for row in move_rows(diff(State(), plan.desired), plan.desired.replicas) if row["action"] == "repartition"]
    assert layouts
    assert all(layouts)


@pytest.mark.parametrize(("word", "said"), [("gpu", "'gpus'"), ("replica", "'replicas'"), ("WORKLOADS", "'workloads'")])
def test_an_unknown_kind_names_the_nearest(word: str, said: str) -> None:
    with pytest.raises(
        ValueError, match=rf"there is no table '{word}': did you mean {said}\? there are gpus, replicas, workloads, moves, routes"
    ):
        plan_rows(time_shared_plan(), word)
    with pytest.raises(ValueError, match=r"there is no table 'zzz'; there are gpus"):
        known_kind("zzz", COLUMNS)
