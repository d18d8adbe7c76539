"""The configuration for Ray Serve LLM; where Ray itself is installed, its own classes read it."""

from __future__ import annotations

import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.plan import LoraModule, Plan, Replica
from planner.plan.extra_args import ExtraArg
from renderers import ray
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from renderers.render_target import rendered
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.renderers.conftest import ShellCheck

GOLDEN = Path(__file__).parents[1] / "golden" / "ray"
# Names of the fields of Ray's classes, read out of the version that it names: test_the_fields_are_those_of_ray compares.
FIELDS = json.loads(Path(__file__).with_name("ray_fields.json").read_text(encoding="utf-8"))
HOSTILE = "a b\"c' $(touch pwned) `x`\nproxy_location: Disabled\n\\ # ü ${HOME}"


def render(plan: Plan) -> Manifest:
    return rendered("ray", ray.TARGET, plan)


def serve_config(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(next(file.text for file in render(plan) if file.path == "serve.yaml"))
    return found


def models(plan: Plan) -> dict[str, dict[str, Any]]:
    (application,) = serve_config(plan)["applications"]
    return {each["model_loading_config"]["model_id"]: each for each in application["args"]["llm_configs"]}


def resources(plan: Plan) -> dict[str, dict[str, float]]:
    """Of each node, as its script gives them to Ray."""
    found = {}
    for file in render(plan):
        if file.path.startswith("nodes/"):
            words = shlex.split(file.text.splitlines()[-1])
            (text,) = [word.removeprefix("--resources=") for word in words if word.startswith("--resources=")]
            found[Path(file.path).stem] = json.loads(text)
    return found


def alone(name: str, node: str = "h100-0", gpu: int = 0, **changes: Any) -> Replica:
    return replica(name, mode="exclusive", node=node, gpus=(gpu,), **changes)


def spread() -> Plan:
    """A model with two replicas on one node and one on another, and a model on the other alone."""
    three = (alone("a"), alone("b", gpu=1, args={"port": 8101}), alone("c", node="h100-1"))
    return plan_of((*three, replica("q", "qwen3-8b", "Qwen/Qwen3-8B", mode="exclusive", node="h100-1", gpus=(1,))), gpu_count=2)


def test_unknown_fields_are_none() -> None:
    config = serve_config(spread())
    (application,) = config["applications"]
    assert set(config) <= set(FIELDS["classes"]["ServeDeploySchema"])
    assert set(config["http_options"]) <= set(FIELDS["classes"]["HTTPOptionsSchema"])
    assert set(application) <= set(FIELDS["classes"]["ServeApplicationSchema"])
    for model in application["args"]["llm_configs"]:
        assert set(model) <= set(FIELDS["classes"]["LLMConfig"])
        assert set(model["model_loading_config"]) <= set(FIELDS["classes"]["ModelLoadingConfig"])
        assert set(model["placement_group_config"]) <= set(FIELDS["classes"]["PlacementGroupConfig"])
        assert set(model["deployment_config"]) <= set(FIELDS["classes"]["DeploymentSchema"])


@pytest.mark.golden
def test_files_are_as_reviewed(golden: Golden) -> None:
    for file in render(tensor_parallel_plan()):
        golden(GOLDEN / file.path, file.text)


def test_replicas_are_held_on_their_nodes() -> None:
    has, wants = resources(spread()), models(spread())
    assert has == {
        "h100-0": {"ullage-model-llama-8b": 2, "ullage-node-h100-0": 1000},
        "h100-1": {"ullage-model-llama-8b": 1, "ullage-node-h100-1": 1000},
    }
    assert wants["llama-8b"]["placement_group_config"]["bundles"] == [{"GPU": 1, "ullage-model-llama-8b": 1}]
    assert wants["llama-8b"]["deployment_config"]["num_replicas"] == 3
    assert wants["qwen3-8b"]["placement_group_config"]["bundles"] == [{"GPU": 1, "ullage-node-h100-1": 1}]


def test_nodes_give_ray_the_gpus_of_the_plan_alone(tmp_path: Path, shellcheck: ShellCheck) -> None:
    write(render(plan_of((alone("a", gpu=2),), gpu_count=4)), tmp_path)
    script = tmp_path / "nodes" / "h100-0.sh"
    shellcheck(script)
    assert "export CUDA_VISIBLE_DEVICES=2\n" in script.read_text()
    assert "--num-gpus=1 " in script.read_text()


def test_values_are_what_python_takes() -> None:
    extra = (
        ExtraArg(flag="enable-prefix-caching", value="false"),
        ExtraArg(flag="seed", value="7"),
        ExtraArg(flag="speculative-config", value='{"method": "ngram", "num_speculative_tokens": 2}'),
    )
    one = alone("r", args={"extra_args": extra, "hf_overrides": '{"is_causal": false}', "enforce_eager": True})
    arguments = models(plan_of((one,), gpu_count=1))["llama-8b"]["engine_kwargs"]
    assert arguments["enable_prefix_caching"] is False
    assert (arguments["seed"], arguments["enforce_eager"], arguments["hf_overrides"]) == (7, True, {"is_causal": False})
    assert arguments["speculative_config"]["num_speculative_tokens"] == 2
    assert not {"host", "port", "served_model_name", "model", "shutdown_timeout"} & set(arguments)


def test_hostile_values_stay_values() -> None:
    plan = plan_of(
        (replica("r", HOSTILE, mode="exclusive", node=HOSTILE, args={"model": f"/m/{HOSTILE}", "revision": HOSTILE}),), gpu_count=1
    )
    assert serve_config(plan)["proxy_location"] == "HeadOnly"
    (model,) = models(plan).values()
    assert model["model_loading_config"] == {"model_id": HOSTILE, "model_source": f"/m/{HOSTILE}"}
    assert model["engine_kwargs"]["revision"] == HOSTILE


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (time_shared_plan(), r"replicas\.mistral-7b-0\.mode: it shares GPU 1"),
        (mig_plan(), r"replicas\.llama-8b-0\.mig: it has a MIG instance \(4g\.40gb\)"),
        (plan_of((alone("r", args={"model": "./own"}),), gpu_count=1), r"replicas\.r\.args\.model"),
        (
            plan_of((alone("a"), alone("b", gpu=1, args={"port": 8101, "max_num_seqs": 8})), gpu_count=2),
            r"replicas\.b\.args\.max_num_seqs: 8, but 64 for a",
        ),
        (
            plan_of(
                (alone("r", args={"lora_modules": (LoraModule(name="l", path="org/l"),), "max_loras": 1, "max_lora_rank": 8}),), gpu_count=1
            ),
            r"replicas\.r\.args\.lora_modules: Ray loads adapters from a bucket",
        ),
    ],
    ids=["time-shared", "mig", "relative path", "unlike replicas", "adapters"],
)
def test_what_ray_cannot_express_is_refused(plan: Plan, says: str) -> None:
    with pytest.raises(RenderError, match=says):
        render(plan)


def of_ray(module: str) -> Any:
    """A module of Ray; it is too large for the tests' requirements (`pip install 'ray[serve]' pyarrow` beside them)."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"Ray is not installed, on purpose: it is larger than everything else together ({error})")


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("plan", [tensor_parallel_plan(), spread()], ids=["tensor-parallel", "spread"])
def test_the_classes_of_ray_take_it(plan: Plan) -> None:
    schema = of_ray("ray.serve.schema")
    configs = of_ray("ray.llm._internal.serve.core.configs.llm_config")
    placement = of_ray("ray.llm._internal.common.placement")
    schema.ServeDeploySchema.model_validate(serve_config(plan))
    for name, model in models(plan).items():
        assert configs.LLMConfig.model_validate(model).model_id == name
        placement.PlacementGroupConfig.model_validate(model["placement_group_config"])
        schema.DeploymentSchema.model_validate(model["deployment_config"])


@pytest.mark.filterwarnings("ignore")
def test_the_fields_are_those_of_ray() -> None:
    version = of_ray("ray").__version__
    if version != FIELDS["ray"]:
        pytest.skip(f"the fields are those of Ray {FIELDS['ray']}, this is {version}")
    schema = of_ray("ray.serve.schema")
    configs = of_ray("ray.llm._internal.serve.core.configs.llm_config")
    placement = of_ray("ray.llm._internal.common.placement")
    for name, fields in FIELDS["classes"].items():
        kind = next(getattr(module, name) for module in (schema, configs, placement) if hasattr(module, name))
        assert sorted(kind.model_fields) == fields
