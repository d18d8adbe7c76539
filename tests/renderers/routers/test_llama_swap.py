from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import pytest
import yaml

from planner.plan import LoraModule, Plan, RouteBackend
from renderers import llama_swap
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from renderers.render_target import rendered
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, route, tensor_parallel_plan, time_shared_plan
from tests.ports import free_ports
from tests.renderers.conftest import ShellCheck
from tests.renderers.fake_mps import FakeMps
from tests.renderers.launchers.test_slurm import LIMIT_S, fake
from tests.renderers.mps_plans import mps_plan
from tests.renderers.routers.llama_swap_config import CONFIG

GOLDEN = Path(__file__).parents[1] / "golden" / "llama-swap"
HOSTILE = "a b\"c' $(touch pwned) `touch pwned` ;touch pwned ${PORT} \n# ü"


def render(plan: Plan, **settings: str) -> Manifest:
    return rendered("llama-swap", llama_swap.TARGET, plan, settings)


def config(plan: Plan, **settings: str) -> dict[str, Any]:
    """The configuration, of which nothing is unknown."""
    found: dict[str, Any] = yaml.safe_load(next(file.text for file in render(plan, **settings) if file.path == "config.yaml"))
    jsonschema.Draft7Validator(CONFIG).validate(found)
    return found


def shared_plan(*ports: int) -> Plan:
    """Two models on one GPU and a third on another."""
    one, two, three = ports or (8100, 8101, 8102)
    llama = replica("llama-8b-0", args={"port": one})
    qwen = replica("qwen3-8b-0", "qwen3-8b", "Qwen/Qwen3-8B", args={"port": two}, start_s=0.2)
    alone = {"gpus": (1,), "mode": "exclusive", "start_s": 75.5}
    return plan_of(
        (llama, qwen, replica("mistral-7b-0", "mistral-7b", "mistralai/Mistral-7B-v0.3", args={"port": three}, **alone)), gpu_count=2
    )


@pytest.mark.golden
def test_the_configuration_is_as_reviewed(golden: Golden) -> None:
    (file,) = [file for file in render(shared_plan(), ttl="600") if file.path == "config.yaml"]
    golden(GOLDEN / file.path, file.text)


@pytest.mark.parametrize(
    "plan", [shared_plan(), mps_plan(), mig_plan(), tensor_parallel_plan()], ids=["time-shared", "mps", "mig", "tensor-parallel"]
)
def test_the_configuration_is_one_of_llama_swap(plan: Plan, tmp_path: Path, shellcheck: ShellCheck) -> None:
    found = config(plan)
    assert sorted(found["models"]) == sorted(each.served_name for each in plan.desired.replicas)
    assert found["hooks"]["on_startup"]["preload"] == list(found["models"])
    write(render(plan), tmp_path)
    shellcheck(*sorted(tmp_path.rglob("*.sh")))


def test_a_fault_is_found() -> None:
    found = config(shared_plan())
    found["models"]["llama-8b"]["checkEndpont"] = "/health"
    with pytest.raises(jsonschema.ValidationError, match="checkEndpont"):
        jsonschema.Draft7Validator(CONFIG).validate(found)


def test_all_of_the_plan_may_be_loaded_at_once_and_slow_starts_stay() -> None:
    matrix = config(shared_plan())["matrix"]
    assert list(matrix["sets"].values()) == [" & ".join(matrix["vars"])]
    assert sorted(matrix["vars"].values()) == ["llama-8b", "mistral-7b", "qwen3-8b"]
    assert {matrix["vars"][name]: cost for name, cost in matrix["evict_costs"].items()} == {"llama-8b": 62, "mistral-7b": 76, "qwen3-8b": 1}


def test_adapters_are_other_names_of_their_model() -> None:
    modules = (LoraModule(name="legal", path="org/legal"),)
    one = replica("r", mode="exclusive", args={"lora_modules": modules, "max_loras": 1, "max_lora_rank": 8})
    plan = plan_of((one,), gpu_count=1)
    backend = RouteBackend(replica="r", host=one.host, port=one.args.port, weight=1000)
    routes = (*plan.desired.routes, route("legal").model_copy(update={"backends": (backend,)}))
    plan = plan.model_copy(update={"desired": plan.desired.model_copy(update={"routes": routes})})
    assert config(plan)["models"]["llama-8b"]["aliases"] == ["legal"]


def test_a_model_with_two_servers_is_refused() -> None:
    with pytest.raises(RenderError, match=r"routes\.llama-8b\.backends: there are 2, and llama-swap runs one server for a model"):
        render(time_shared_plan())


def test_two_nodes_are_refused() -> None:
    two = (replica("a", mode="exclusive"), replica("b", "qwen3-8b", mode="exclusive", node="h100-1"))
    with pytest.raises(RenderError, match="2 nodes"):
        render(plan_of(two, gpu_count=1))


def test_names_in_which_something_would_be_replaced_are_refused() -> None:
    with pytest.raises(RenderError, match=r"replicas\.r\.args\.served_model_name: .*rename the model"):
        render(plan_of((replica("r", HOSTILE, mode="exclusive"),), gpu_count=1))


def test_hostile_values_are_in_scripts_alone() -> None:
    one = replica(HOSTILE, mode="exclusive", args={"model": f"/m/{HOSTILE}", "revision": HOSTILE})
    (model,) = config(plan_of((one,), gpu_count=1))["models"].values()
    assert len(shlex.split(model["cmd"])) == 2
    assert "$" not in json.dumps(model)


@pytest.mark.parametrize("setting", ["folder=etc", "turns=/a b", "ttl=-1"])
def test_settings_are_checked(setting: str) -> None:
    name, _, value = setting.partition("=")
    with pytest.raises(RenderError, match=f"--set {name}="):
        render(mig_plan(), **{name: value})


def test_its_commands_start_servers_that_answer_where_it_asks(tmp_path: Path) -> None:
    plan = shared_plan(*free_ports(3))
    write(render(plan, folder=str(tmp_path), turns=str(tmp_path)), tmp_path)
    _start_and_stop_all(tmp_path, fake(tmp_path))


def test_its_commands_start_servers_that_join_mps(tmp_path: Path) -> None:
    ports = free_ports(3)
    desired = mps_plan().desired
    moved = [(each, each.args.model_copy(update={"port": port})) for each, port in zip(desired.replicas, ports, strict=True)]
    plan = plan_of(tuple(each.model_copy(update={"args": args}) for each, args in moved), gpu_count=2)
    environment = fake(tmp_path)
    mps = FakeMps(tmp_path)
    with TemporaryDirectory(prefix="turns-", dir="/tmp") as turns:
        write(render(plan, folder=str(tmp_path), turns=turns), tmp_path)
        try:
            _start_and_stop_all(tmp_path, environment)
        finally:
            mps.end()
        assert sorted(mps.events()) == [f"start -d {turns}/mps-gpu{gpu} GPU-0000000{gpu} all" for gpu in (0, 1)]
        calls = [json.loads((tmp_path / f"call-{port}.json").read_text())["environment"] for port in ports]
    assert [call["CUDA_MPS_PIPE_DIRECTORY"] for call in calls] == [f"{turns}/mps-gpu{gpu}" for gpu in (0, 0, 1)]
    assert [call["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] for call in calls] == ["60", "40", "50"]


def _start_and_stop_all(folder: Path, fakes: dict[str, str]) -> None:
    found = yaml.safe_load((folder / "config.yaml").read_text())
    environment = {**os.environ, **fakes}
    running = []
    try:
        for model in found["models"].values():
            variables = dict(each.split("=", 1) for each in model.get("env", []))
            words = shlex.split(model["cmd"])
            running.append(subprocess.Popen(words, env={**environment, **variables}, cwd="/", start_new_session=True))
        for model in found["models"].values():
            _until_healthy(model["proxy"] + model["checkEndpoint"])
        # As it unloads them: a signal to the process that it started.
        for process in running:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(LIMIT_S) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _until_healthy(url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            opener.open(url, timeout=LIMIT_S).close()
        except OSError:
            assert time.monotonic() < end, f"{url} never answered"
            time.sleep(0.05)
        else:
            return
