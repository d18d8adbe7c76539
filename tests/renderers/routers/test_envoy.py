from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.plan import Plan, Route, RouteBackend, RouterPlan
from renderers import envoy
from renderers.manifest import Manifest, RenderError
from tests.conftest import Golden
from tests.plans import mig_plan, split_plan, tensor_parallel_plan, time_shared_plan
from tests.renderers.conftest import ShellCheck
from tests.renderers.live import envoy_binary

GOLDEN = Path(__file__).parents[1] / "golden" / "envoy"
ROUTER = RouterPlan(host="127.0.0.1", port=8080, admin_port=9901)
HOSTILE = "a\"b' {c}: [d], & *e # %f% \\ ü 😀 @type"


def _loaded(manifest: Manifest) -> dict[str, Any]:
    return {file.path: yaml.safe_load(file.text) for file in manifest if file.path.endswith(".yaml")}


@pytest.mark.golden
def test_rendered_files_are_as_reviewed(golden: Golden) -> None:
    for file in envoy.render(time_shared_plan()):
        golden(GOLDEN / file.path, file.text)


@pytest.mark.parametrize("plan", [time_shared_plan(), mig_plan(), tensor_parallel_plan()], ids=["time-shared", "mig", "tensor-parallel"])
def test_same_plan_same_bytes_in_an_order_that_is_safe_to_write(plan: Plan) -> None:
    manifest = envoy.render(plan)
    assert manifest == envoy.render(plan)
    paths = [file.path for file in manifest]
    endpoints = [path for path in paths if path.startswith("eds/")]
    assert paths == [*endpoints, "cds.yaml", "lds.yaml", "rds.yaml", "envoy.yaml", "start.sh"]


def test_the_order_of_routes_does_not_matter() -> None:
    routes = time_shared_plan().desired.routes
    assert envoy.render_routes(routes, ROUTER) == envoy.render_routes(tuple(reversed(routes)), ROUTER)


def test_one_cluster_per_model_with_the_weights_of_the_route() -> None:
    plan = time_shared_plan()
    loaded = _loaded(envoy.render(plan))
    clusters = {
        cluster["name"]: cluster["eds_cluster_config"]["eds_config"]["path_config_source"]["path"] for cluster in _of(loaded, "cds")
    }
    assert sorted(clusters) == [route.served_name for route in plan.desired.routes]
    for route in plan.desired.routes:
        (assignment,) = loaded[clusters[route.served_name].removeprefix("./")]["resources"]
        assert assignment["cluster_name"] == route.served_name
        rendered = [
            (endpoint["endpoint"]["address"]["socket_address"], endpoint["load_balancing_weight"])
            for endpoint in assignment["endpoints"][0]["lb_endpoints"]
        ]
        assert rendered == [({"address": backend.host, "port_value": backend.port}, backend.weight) for backend in route.backends]


def _of(loaded: dict[str, Any], name: str) -> list[dict[str, Any]]:
    resources: list[dict[str, Any]] = loaded[f"{name}.yaml"]["resources"]
    return [{key: value for key, value in resource.items() if key != "@type"} for resource in resources]


def test_short_bodies_match_before_all_others_of_a_model() -> None:
    (config,) = _of(_loaded(envoy.render(split_plan())), "rds")
    found = [
        (route["match"].get("headers"), route["match"]["dynamic_metadata"][0]["value"]["string_match"]["exact"], route["route"]["cluster"])
        for route in config["virtual_hosts"][0]["routes"]
        if "route" in route
    ]
    assert found == [
        ([{"name": "content-length", "range_match": {"start": 0, "end": 4001}}], "llama-8b", "llama-8b"),
        (None, "llama-8b", "llama-8b-long"),
        (None, "llama-8b-long", "llama-8b-long"),
    ]


def test_the_listener_is_where_the_plan_says_and_admin_on_loopback() -> None:
    loaded = _loaded(envoy.render_routes((), RouterPlan(host="10.1.2.3", port=8080, admin_port=8081)))
    assert _of(loaded, "lds")[0]["address"]["socket_address"] == {"address": "10.1.2.3", "port_value": 8080}
    assert loaded["envoy.yaml"]["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8081}


def test_what_envoy_cannot_use_is_refused_all_at_once() -> None:
    named = RouteBackend(replica="a", host="node-1.local", port=2001, weight=500)
    other = RouteBackend(replica="b", host="127.0.0.1", port=2002, weight=500)
    with pytest.raises(RenderError) as refused:
        envoy.render_routes((Route(served_name="m", backends=(named, other)), Route(served_name="m", backends=())), ROUTER)
    assert [word in str(refused.value) for word in ("stands twice", "node-1.local")] == [True] * 2


@pytest.mark.parametrize(
    "routes",
    [
        time_shared_plan().desired.routes,
        split_plan().desired.routes,
        (),
        (
            Route(served_name=HOSTILE, backends=(RouteBackend(replica="new\nline", host="::1", port=2001, weight=1),)),
            Route(served_name="e", backends=()),
        ),
    ],
    ids=["plan", "split", "nothing", "hostile"],
)
def test_envoy_accepts_every_resource(tmp_path: Path, routes: tuple[Route, ...]) -> None:
    loaded = _loaded(envoy.render_routes(routes, ROUTER))
    # The bootstrap alone names files that Envoy reads later: put everything into it, so that validation sees it.
    bootstrap = {**loaded["envoy.yaml"], "static_resources": {"listeners": _of(loaded, "lds"), "clusters": _of(loaded, "cds")}}
    del bootstrap["dynamic_resources"]
    connections = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del connections["rds"]
    connections["route_config"] = _of(loaded, "rds")[0]
    for cluster in bootstrap["static_resources"]["clusters"]:
        path = cluster.pop("eds_cluster_config")["eds_config"]["path_config_source"]["path"].removeprefix("./")
        cluster |= {"type": "STATIC", "load_assignment": _of(loaded, path.removesuffix(".yaml"))[0]}
    (tmp_path / "static.json").write_text(json.dumps(bootstrap))
    _validate(tmp_path, "static.json")


def test_envoy_accepts_the_bootstrap(tmp_path: Path) -> None:
    for file in envoy.render(time_shared_plan()):
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        (tmp_path / file.path).write_text(file.text)
    _validate(tmp_path, envoy.command()[2])


def _validate(folder: Path, name: str) -> None:
    done = subprocess.run([envoy_binary(), "--mode", "validate", "-c", name], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout


def test_start_script_passes_shellcheck(tmp_path: Path, shellcheck: ShellCheck) -> None:
    script = envoy.render(time_shared_plan())[-1]
    (tmp_path / script.path).write_text(script.text)
    shellcheck(tmp_path / script.path)
