from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from planner.plan import Plan, Route, RouteBackend, RouterPlan
from renderers import nginx
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from tests.conftest import Golden
from tests.plans import mig_plan, tensor_parallel_plan, time_shared_plan
from tests.renderers.conftest import ShellCheck
from tests.renderers.routers.running import nginx_binary

GOLDEN = Path(__file__).parents[1] / "golden" / "nginx"
HOSTILE = "a\"b' {c}: [d], & *e # %f% \\ ü 😀 $uri ${uri}\n}; \u2028"


def _files(*routes: Route) -> Manifest:
    return nginx.render_routes(routes, RouterPlan(host="127.0.0.1", port=8080, admin_port=9901))


def _accepted(folder: Path, manifest: Manifest) -> None:
    write(manifest, folder)
    (folder / "temporary").mkdir()
    done = subprocess.run(
        [nginx_binary(), *nginx.command()[1:], "-t"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.golden
def test_rendered_files_are_as_reviewed(golden: Golden) -> None:
    for file in nginx.render(time_shared_plan()):
        golden(GOLDEN / file.path, file.text)


@pytest.mark.parametrize("plan", [time_shared_plan(), mig_plan(), tensor_parallel_plan()], ids=["time-shared", "mig", "tensor-parallel"])
def test_nginx_accepts_the_configuration_of_a_plan(plan: Plan, tmp_path: Path, shellcheck: ShellCheck) -> None:
    _accepted(tmp_path, nginx.render(plan))
    shellcheck(tmp_path / "start.sh")


def test_nginx_accepts_hostile_names_hosts_of_every_form_and_names_that_differ_in_case(tmp_path: Path) -> None:
    hosts = ("127.0.0.1", "::1", "localhost")
    backends = tuple(RouteBackend(replica=HOSTILE, host=host, port=2001, weight=1) for host in hosts)
    _accepted(
        tmp_path, _files(*(Route(served_name=name, backends=backends) for name in (HOSTILE, "m", "M")), Route(served_name="e", backends=()))
    )


def test_a_route_of_many_servers_fits_into_its_zone(tmp_path: Path) -> None:
    backends = tuple(RouteBackend(replica=f"r{port}", host="127.0.0.1", port=port, weight=10) for port in range(2000, 2500))
    _accepted(tmp_path, _files(Route(served_name="m", backends=backends)))


def test_no_routes_are_a_configuration_too(tmp_path: Path) -> None:
    _accepted(tmp_path, _files())


def test_what_is_no_host_is_refused() -> None:
    backend = RouteBackend(replica="a", host="x; server y", port=2001, weight=1)
    with pytest.raises(RenderError, match="neither an IP address nor a host name"):
        _files(Route(served_name="m", backends=(backend,)))
