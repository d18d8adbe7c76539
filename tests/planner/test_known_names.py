"""Names that the fleet serves stay known to the router, whether a replica serves them or not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from planner.check import check
from planner.plan import Plan, Route, SetRoutes, State, as_applied
from planner.simulation.plan_input import planned_world
from profiles.catalogue import builtin
from renderers import envoy
from tests.fleets import fleet, fleet_dict, workload
from tests.renderers.live import gateway, route_to, stubs
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet
from ullage.views.plan.plan_text import plan_text

# A model of 14B parameters in 16 bit takes more than the 24 GB of an L4.
SMALL_GPU = {"l4": {"gpu": "L4", "nodes": 1, "gpus_per_node": 1, "price": "1 USD/h"}}
UNSERVED = ("help", "large", "own")


def short(**changes: object) -> Plan:
    """One small model is served; a large one, its adapter and an isolated workload of it are not."""
    models = fleet_dict()["models"]
    models["large"] = {**models["large"], "adapters": {"help": {"source": "acme/help-lora", "rank": "16"}}}
    workloads = {
        "small": workload("small"),
        "chat": workload("large"),
        "support": workload("help"),
        "own": workload("large", isolate="true"),
    }
    return plan_fleet(fleet(**{"pools": SMALL_GPU, "models": models, "workloads": workloads, **changes}), State()).plan


def test_what_has_no_replica_has_a_route_without_backends() -> None:
    plan = short()
    routes = {route.served_name: route.backends for route in plan.desired.routes}
    assert sorted(routes) == sorted(("small", *UNSERVED))
    assert [name for name, backends in routes.items() if not backends] == list(UNSERVED)
    assert check(plan, builtin().gpu, architecture_of, State()) == ()


def test_the_rendered_router_knows_them_and_nobody_else() -> None:
    files = {file.path: file.text for file in envoy.render(short())}
    assert {f"eds/{name}.yaml" for name in UNSERVED} <= files.keys()
    assert all("endpoints: []" in files[f"eds/{name}.yaml"] for name in UNSERVED)
    assert all(f'string_match: {{exact: "{name}"}}' in files["rds.yaml"] for name in UNSERVED)


def test_a_real_router_answers_503_for_them_and_404_for_strangers(tmp_path: Path) -> None:
    async def scenario() -> None:
        empty = [route for route in short().desired.routes if not route.backends]
        async with stubs("a") as (a,), gateway(tmp_path, route_to("small", (a, 1000)), *empty) as running:
            for name in UNSERVED:
                async with running.client.post(f"{running.url}/v1/completions", json={"model": name}) as answer:
                    assert (answer.status, answer.headers["retry-after"]) == (503, "10"), name
                    assert json.loads(await answer.text())["error"]["type"] == "ServiceUnavailableError"
            assert (await running.ask("small"))[0] == 200
            assert (await running.ask("stranger"))[0] == 404

    asyncio.run(scenario())


def test_a_fleet_without_any_replica_is_routed_all_the_same() -> None:
    plan = short(workloads={"chat": workload("large")})
    assert plan.desired.replicas == ()
    assert plan.desired.routes == (Route(served_name="help", backends=()), Route(served_name="large", backends=()))
    assert [action.kind for action in plan.actions] == ["set_routes"]
    assert check(plan, builtin().gpu, architecture_of, State()) == ()


def test_a_model_that_loses_its_replicas_keeps_its_name() -> None:
    before = fleet(workloads={"large": workload("large")})
    state = as_applied(plan_fleet(before, State()).plan)
    plan = plan_fleet(fleet(pools=SMALL_GPU, workloads={"large": workload("large")}), state).plan
    assert all("large" in {route.served_name for route in action.routes} for action in plan.actions if isinstance(action, SetRoutes))
    assert plan.desired.routes == (Route(served_name="large", backends=()),)
    assert check(plan, builtin().gpu, architecture_of, state) == ()


def test_the_checker_misses_the_name_of_a_workload() -> None:
    plan = short()
    routes = tuple(route for route in plan.desired.routes if route.served_name != "own")
    found = check(plan.model_copy(update={"desired": plan.desired.model_copy(update={"routes": routes})}), builtin().gpu, architecture_of)
    assert any("workload own" in problem and "no route" in problem for problem in found)


def test_people_read_503() -> None:
    text = plan_text(short())
    assert "no replica serves this model: clients get a 503" in text
    assert "  large: no replica, clients get a 503\n" in text
    assert "404" not in text


def test_a_simulation_has_no_such_routes() -> None:
    assert list(planned_world(short(), builtin().gpu, architecture_of).routes) == ["small"]


@pytest.mark.parametrize("name", ["help", "own"])
def test_adapters_and_isolated_workloads_are_served_like_models_once_there_is_room(name: str) -> None:
    plan = short(pools=fleet_dict()["pools"])
    assert next(route for route in plan.desired.routes if route.served_name == name).backends
