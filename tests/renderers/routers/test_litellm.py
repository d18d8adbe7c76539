from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.plan import Route, RouteBackend, RouterPlan
from renderers import litellm
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from tests.conftest import Golden
from tests.plans import time_shared_plan
from tests.renderers.conftest import ShellCheck

GOLDEN = Path(__file__).parents[1] / "golden" / "litellm"
ROUTER = RouterPlan(host="127.0.0.1", port=8080, admin_port=9901)


def _routes(*names: str) -> tuple[Route, ...]:
    backends = tuple(RouteBackend(replica=f"r{port}", host="::1", port=port, weight=weight) for port, weight in ((2001, 700), (2002, 300)))
    return tuple(Route(served_name=name, backends=backends) for name in names)


def _config(manifest: Manifest) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(manifest[0].text)
    return loaded


@pytest.mark.golden
def test_rendered_files_are_as_reviewed(golden: Golden) -> None:
    for file in litellm.render(time_shared_plan()):
        golden(GOLDEN / file.path, file.text)


def test_one_deployment_for_each_backend_with_its_weight() -> None:
    deployments = _config(litellm.render_routes(_routes("a b: #", "m"), ROUTER))["model_list"]
    assert [(each["model_name"], each["litellm_params"]["weight"]) for each in deployments] == [
        ("a b: #", 700), ("a b: #", 300), ("m", 700), ("m", 300),
    ]  # fmt: skip
    assert deployments[0]["litellm_params"] == {
        "model": "hosted_vllm/a b: #",
        "api_base": "http://[::1]:2001/v1",
        "api_key": "os.environ/VLLM_API_KEY",
        "weight": 700,
    }
    assert len({each["model_info"]["id"] for each in deployments}) == 4


@pytest.mark.parametrize("name", ["os.environ/HOME", "any*", "\N{GRINNING FACE}", "a\nb"])
def test_a_name_that_litellm_reads_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(RenderError, match="give the model another served name"):
        litellm.render_routes(_routes(name), ROUTER)


def test_start_script_passes_shellcheck(tmp_path: Path, shellcheck: ShellCheck) -> None:
    write(litellm.render(time_shared_plan()), tmp_path)
    shellcheck(tmp_path / "start.sh")


def test_litellm_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed by make: it takes 750 MB."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-" + "0123456789abcdef" * 2)
    pytest.importorskip("litellm", reason="litellm is not installed")
    from litellm.proxy.proxy_server import ProxyConfig  # noqa: PLC0415 -- where it is installed

    write(litellm.render_routes(_routes("m", "n"), ROUTER), tmp_path)
    loaded = asyncio.run(ProxyConfig().load_config(router=None, config_file_path=str(tmp_path / "config.yaml")))
    router = loaded[0]
    assert sorted(set(router.get_model_names())) == ["m", "n"]
    assert [each["litellm_params"]["weight"] for each in router.get_model_list("m")] == [700, 300]
