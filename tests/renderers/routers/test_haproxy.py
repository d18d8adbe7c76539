from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import Plan, Route, RouteBackend, RouterPlan
from renderers import haproxy
from renderers.files import write
from renderers.haproxy.small_weights import LARGEST_WEIGHT, farthest, small_weights
from renderers.manifest import Manifest, RenderError
from renderers.render_target import rendered
from tests.conftest import Golden
from tests.plans import mig_plan, tensor_parallel_plan, time_shared_plan
from tests.ports import free_port
from tests.renderers.conftest import ShellCheck
from tests.renderers.routers.running import haproxy_binary

GOLDEN = Path(__file__).parents[1] / "golden" / "haproxy"
HOSTILE = "a\"b' {c}: [d], & *e # %f% \\ ü 😀 $HOME ${HOME}\nbackend x"


def _files(*routes: Route, port: int = 8080) -> Manifest:
    return haproxy.render_routes(routes, RouterPlan(host="127.0.0.1", port=port, admin_port=9901), haproxy.HaproxySettings())


def _backend(name: str, port: int = 2001, weight: int = 500, host: str = "127.0.0.1") -> RouteBackend:
    return RouteBackend(replica=name, host=host, port=port, weight=weight)


def _accepted(folder: Path, manifest: Manifest) -> None:
    """By every HAProxy that is here, without a warning."""
    write(manifest, folder)
    for binary in {haproxy_binary(), shutil.which("haproxy") or haproxy_binary()}:
        done = subprocess.run([binary, "-c", "-f", "haproxy.cfg"], cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "WARNING" not in said


@pytest.mark.golden
def test_rendered_files_are_as_reviewed(golden: Golden) -> None:
    for file in haproxy.render(time_shared_plan()):
        golden(GOLDEN / file.path, file.text)


@pytest.mark.parametrize("plan", [time_shared_plan(), mig_plan(), tensor_parallel_plan()], ids=["time-shared", "mig", "tensor-parallel"])
def test_haproxy_accepts_the_configuration_of_a_plan(plan: Plan, tmp_path: Path, shellcheck: ShellCheck) -> None:
    _accepted(tmp_path, haproxy.render(plan))
    shellcheck(*sorted(tmp_path.glob("*.sh")))


def test_haproxy_accepts_hostile_names_and_hosts_of_every_form(tmp_path: Path) -> None:
    same = (_backend(HOSTILE), _backend("b", 2002, host="::1"), _backend("c", 2003, host="localhost"))
    _accepted(
        tmp_path,
        _files(Route(served_name=HOSTILE, backends=same), Route(served_name="m", backends=same), Route(served_name="e", backends=())),
    )
    config = (tmp_path / "haproxy.cfg").read_text(encoding="utf-8")
    # An engine with several names is asked for its health once.
    assert config.count(" check\n") == config.count(" track ") == 3
    assert "\nbackend x" not in config


def test_no_routes_are_a_configuration_too(tmp_path: Path) -> None:
    _accepted(tmp_path, _files())


def test_the_largest_body_is_a_setting() -> None:
    plan = time_shared_plan()
    (config,) = [file.text for file in rendered("haproxy", haproxy.TARGET, plan, {"largest_body_mib": "16"}) if file.path == "haproxy.cfg"]
    assert f"gt {16 * 1024**2}\n" in config
    with pytest.raises(RenderError, match="largest_body_mib"):
        rendered("haproxy", haproxy.TARGET, plan, {"largest_body_mib": "0"})


@pytest.mark.parametrize("host", ["a b", "unix@x", "", "-x", "x\nserver y"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(RenderError, match="neither an IP address nor a host name"):
        _files(Route(served_name="m", backends=(_backend("a", host=host),)))


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(RenderError, match="stands twice"):
        _files(Route(served_name="m", backends=()), Route(served_name="m", backends=()))


@given(weights=st.lists(st.integers(1, 1000), min_size=1, max_size=12))
def test_shares_are_kept_as_far_as_256_allows(weights: list[int]) -> None:
    small = small_weights(weights)
    assert all(1 <= weight <= LARGEST_WEIGHT for weight in small)
    assert small_weights(small) == small or farthest(small, small_weights(small)) == 0
    if min(weights) * LARGEST_WEIGHT >= max(weights):
        assert farthest(weights, small) < 1 / LARGEST_WEIGHT


def test_shares_of_two_replicas_are_nearly_exact() -> None:
    off = max(farthest([weight, 1000 - weight], small_weights([weight, 1000 - weight])) for weight in range(4, 997))
    assert off < 0.001


def test_weights_are_set_without_a_reload_and_nothing_where_that_is_not_enough(tmp_path: Path) -> None:
    port = free_port()
    write(_files(Route(served_name="m", backends=(_backend("a", 2001, 700), _backend("b", 2002, 300))), port=port), tmp_path)
    missing = subprocess.run([tmp_path / "set-weights.sh"], capture_output=True, text=True, check=False, timeout=120)
    assert (missing.returncode, "cannot be asked" in missing.stderr) == (1, True)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([haproxy_binary(), *haproxy.command()[1:]], cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "haproxy.sock").exists():
            assert time.monotonic() < end
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.01)
        assert stat.S_IMODE((tmp_path / "haproxy.sock").stat().st_mode) == 0o600
        _switches(tmp_path, port)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _switches(folder: Path, port: int) -> None:
    def says(*backends: RouteBackend, also: tuple[Route, ...] = ()) -> tuple[int, str]:
        write(_files(Route(served_name="m", backends=backends), *also, port=port), folder)
        done = subprocess.run([folder / "set-weights.sh"], capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    a, b = _backend("a", 2001, 100), _backend("b", 2002, 900)
    assert says(a, b) == (0, "2 weights set, 0 servers without new requests\n")
    assert says(b) == (0, "1 weights set, 1 servers without new requests\n")
    for code, said in (says(a, _backend("b", 2003, 900)), says(a, b, also=(Route(served_name="n", backends=(a,)),))):
        assert code == 1
        assert said.startswith("nothing was changed: HAProxy must read the configuration again, because of model_")
