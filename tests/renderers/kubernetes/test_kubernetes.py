from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from planner.plan import Plan, Replica, WorkloadForecast
from renderers.files import write
from renderers.manifest import RenderError
from renderers.vllm import ready_limit_s
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, route, tensor_parallel_plan, time_shared_plan
from tests.renderers.kubernetes.kube_checks import KubeObject, base_of, check, one, pod, render
from tests.tools import program

GOLDEN = Path(__file__).parents[1] / "golden" / "kubernetes"
PLANS = {"time-shared": time_shared_plan, "mig": mig_plan, "tensor-parallel": tensor_parallel_plan}
SETTINGS: tuple[dict[str, str], ...] = ({}, {"routing": "inference-pools", "cache_claim": "models"}, {"devices": "device-plugin"})


@pytest.mark.golden
def test_rendered_trees_are_as_reviewed(golden: Golden) -> None:
    for file in render(time_shared_plan()):
        golden(GOLDEN / "time-shared" / file.path, file.text)


@pytest.mark.parametrize(
    ("name", "settings"),
    # The device plugin cannot share the GPUs of the first plan: see below.
    [(name, settings) for name in PLANS for settings in SETTINGS if (name, settings) != ("time-shared", {"devices": "device-plugin"})],
)
def test_every_object_is_one_that_kubernetes_takes(name: str, settings: dict[str, str]) -> None:
    objects = base_of(PLANS[name](), **settings)
    for found in objects:
        check(found)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))


def test_a_field_that_no_schema_knows_is_found() -> None:
    objects = base_of(time_shared_plan())
    monitor, claim = one(objects, "PodMonitor", "ullage-engines"), one(objects, "ResourceClaim", "h100-0-gpu-0")
    http = one(objects, "HTTPRoute", "llama-8b")
    monitor["spec"]["podMetricsEndpoints"][0]["prot"] = "http"
    claim["spec"]["devices"]["request"] = []
    http["spec"]["rules"][0]["backendRefs"][0]["weigth"] = 5
    for broken in (monitor, http):
        with pytest.raises(AssertionError, match=r"prot|weigth"):
            check(broken)
    with pytest.raises(kubernetes_validate.ValidationError, match="'request' was unexpected"):
        check(claim)


@pytest.mark.parametrize("name", PLANS)
def test_kustomize_builds_the_overlay_and_gives_the_namespace(name: str, tmp_path: Path) -> None:
    write(render(PLANS[name](), namespace="inference"), tmp_path)
    done = subprocess.run(
        [program("kubectl", "kubectl 1.21 or newer"), "kustomize", tmp_path / "overlays" / "default"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    wished = base_of(PLANS[name](), namespace="inference")
    assert len(built) == len(wished) + 1
    for found in built:
        cluster_wide = found["kind"] in {"Namespace", "PriorityClass"}
        assert found["metadata"].pop("namespace", None) == (None if cluster_wide else "inference")
        if found["kind"] != "Namespace":
            assert found == one(wished, found["kind"], found["metadata"]["name"])


def test_replicas_share_a_gpu_exactly_where_the_plan_says_so() -> None:
    objects = base_of(time_shared_plan())
    claims = {name: pod(objects, name)["resourceClaims"] for name in ("llama-8b-0", "qwen3-8b-0", "llama-8b-1", "mistral-7b-0")}
    assert claims["llama-8b-0"] == claims["qwen3-8b-0"] == [{"name": "gpu", "resourceClaimName": "h100-0-gpu-0"}]
    assert claims["llama-8b-1"] == claims["mistral-7b-0"] == [{"name": "gpu", "resourceClaimName": "h100-0-gpu-1"}]
    assert [each["metadata"]["name"] for each in objects if each["kind"] == "ResourceClaim"] == ["h100-0-gpu-0", "h100-0-gpu-1"]


def test_whole_gpus_and_mig_instances_are_claimed_by_number_and_profile() -> None:
    objects = base_of(tensor_parallel_plan())
    request = one(objects, "ResourceClaimTemplate", "llama-70b-0-gpu-2")["spec"]["spec"]["devices"]["requests"]
    assert request == [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}}]
    objects = base_of(mig_plan())
    (request,) = one(objects, "ResourceClaimTemplate", "qwen3-8b-0-mig-3g-40gb")["spec"]["spec"]["devices"]["requests"]
    assert request["exactly"]["deviceClassName"] == "mig.nvidia.com"
    assert request["exactly"]["selectors"] == [{"cel": {"expression": "device.attributes['gpu.nvidia.com'].profile == '3g.40gb'"}}]


def test_the_device_plugin_gives_resources_by_name_and_shares_only_where_a_node_has_one_gpu() -> None:
    limits = {
        name: pod(base_of(plan, devices="device-plugin"), name)["containers"][0]["resources"]["limits"]
        for plan, name in ((tensor_parallel_plan(), "llama-70b-0"), (mig_plan(), "qwen3-8b-0"), (_one_gpu(), "llama-8b-0"))
    }
    assert limits == {
        "llama-70b-0": {"nvidia.com/gpu": 2},
        "qwen3-8b-0": {"nvidia.com/mig-3g.40gb": 1},
        "llama-8b-0": {"nvidia.com/gpu.shared": 1},
    }
    (config,) = [file.text for file in render(_one_gpu(), devices="device-plugin") if file.path == "device-plugin-config.yaml"]
    shares = {"name": "nvidia.com/gpu", "replicas": 2}
    assert yaml.safe_load(config) == {"version": "v1", "sharing": {"timeSlicing": {"renameByDefault": True, "resources": [shares]}}}
    with pytest.raises(RenderError, match=r"replicas\.llama-8b-0\.mode: it shares GPU 0 of h100-0, which has 2 GPUs.*devices=dra"):
        render(time_shared_plan(), devices="device-plugin")


def _one_gpu() -> Plan:
    return plan_of((replica("llama-8b-0"), replica("qwen3-8b-0", "qwen3-8b", args={"port": 8101})), gpu_count=1)


def test_probes_ask_for_the_model_and_a_token_and_wait_as_long_as_the_profile_says() -> None:
    slow = replica("r", mode="exclusive", start_s=700.0)
    container = pod(base_of(plan_of((slow,), gpu_count=1), cache_claim="models"), "r")["containers"][0]
    words = ["python3", "/etc/ullage/ready.py", "--url", "http://127.0.0.1:8000", "--model", "llama-8b"]
    assert container["startupProbe"]["exec"]["command"] == words
    # 15317 MiB at 512 MiB/s, 120 s of reserve and 700 s are 850 s: the next multiple of 300 is 900.
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] == 900
    assert container["readinessProbe"]["exec"]["command"] == [*words, "--names-only"]
    assert {"name": "VLLM_ENGINE_READY_TIMEOUT_S", "value": "900"} in container["env"]


def test_a_start_without_a_volume_for_weights_has_the_time_to_download_them() -> None:
    large, _ = tensor_parallel_plan().desired.replicas
    spec = pod(base_of(tensor_parallel_plan()), "llama-70b-0")
    probe = spec["containers"][0]["startupProbe"]
    # 2 x 67290 MiB at 50 MiB/s are 2692 s, beside the 432 s that the start itself may take.
    assert ready_limit_s(large) == 432
    assert probe["periodSeconds"] * probe["failureThreshold"] == 3300
    assert {"name": "cache", "emptyDir": {}} in spec["volumes"]


def test_the_engine_listens_in_its_pod_and_gets_secrets_by_reference_only() -> None:
    container = pod(base_of(mig_plan()), "llama-8b-0")["containers"][0]
    words = container["command"]
    assert words[:3] == ["vllm", "serve", "meta-llama/Meta-Llama-3.1-8B"]
    assert (words[words.index("--host") + 1], words[words.index("--port") + 1]) == ("0.0.0.0", "8000")
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"] if "valueFrom" in each}
    assert secrets == {"HF_TOKEN": "ullage-credentials", "VLLM_API_KEY": "ullage-credentials"}
    assert "CUDA_VISIBLE_DEVICES" not in {each["name"] for each in container["env"]}


def test_the_latency_class_decides_who_goes_first() -> None:
    plan = mig_plan()
    background = plan.desired.workloads[1].model_copy(update={"latency_class": "background"})
    workloads: tuple[WorkloadForecast, ...] = (plan.desired.workloads[0], background)
    plan = plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": workloads})})
    objects = base_of(plan, namespace="llm")
    assert [pod(objects, name)["priorityClassName"] for name in ("llama-8b-0", "qwen3-8b-0")] == [
        "ullage-llm-interactive",
        "ullage-llm-background",
    ]
    values = [each["value"] for each in objects if each["kind"] == "PriorityClass"]
    assert values == sorted(values, reverse=True)


def _many(count: int) -> tuple[Plan, tuple[Replica, ...]]:
    ledger = replica("r").ledger.model_copy(update={"weights_mib": 900, "kv_mib": 64, "total_mib": 1000, "start_peak_mib": 1000})
    forecast = replica("r").forecast.model_copy(update={"busy_fraction": 0.01})
    many = tuple(replica(f"llama-8b-{index}", ledger=ledger, forecast=forecast, args={"port": 8100 + index}) for index in range(count))
    plan = plan_of(many, gpu_count=1)
    weighted = route("llama-8b", *((each, 10 + index) for index, each in enumerate(many)))
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"routes": (weighted,)})}), many


def test_a_route_has_the_plan_s_weights_replica_by_replica() -> None:
    plan, _ = _many(16)
    references = one(base_of(plan, routing="replicas"), "HTTPRoute", "llama-8b")["spec"]["rules"][0]["backendRefs"]
    assert {each["name"]: each["weight"] for each in references} == {f"llama-8b-{index}": 10 + index for index in range(16)}
    with pytest.raises(RenderError, match=r"route 'llama-8b': has 17 backends.*takes 16; use --set routing=groups"):
        render(_many(17)[0], routing="replicas")


def test_replicas_of_one_kind_are_a_group_with_the_sum_of_their_weights() -> None:
    plan, many = _many(40)
    other = replica("llama-8b-40", gpus=(0,), mode="exclusive", args={"port": 8190}, ledger=many[0].ledger, forecast=many[0].forecast)
    desired = plan.desired
    weights = (*desired.routes[0].backends, *route("llama-8b", (other, 7)).backends)
    routes = (desired.routes[0].model_copy(update={"backends": weights}),)
    objects = base_of(plan.model_copy(update={"desired": desired.model_copy(update={"replicas": (*many, other), "routes": routes})}))
    references = one(objects, "HTTPRoute", "llama-8b")["spec"]["rules"][0]["backendRefs"]
    members = [_members(objects, reference["name"]) for reference in references]
    assert [(len(names), reference["weight"]) for names, reference in zip(members, references, strict=True)] == [
        (1, 7),
        (40, sum(range(10, 50))),
    ]


def _members(objects: list[KubeObject], service: str) -> list[str]:
    """Names of the Pods that a Service reaches."""
    selector = one(objects, "Service", service)["spec"]["selector"].items()
    pods = [each for each in objects if each["kind"] == "Deployment"]
    return [each["metadata"]["name"] for each in pods if selector <= each["spec"]["template"]["metadata"]["labels"].items()]


def test_replicas_change_one_after_another_and_routes_at_the_end() -> None:
    objects = base_of(time_shared_plan())
    waves = {
        each["metadata"]["name"]: int(each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for each in objects
        if each["kind"] in {"Deployment", "HTTPRoute"}
    }
    assert (waves["llama-8b-0"], waves["llama-8b-1"], waves["llama-8b"]) == (1, 2, 20)


def test_a_model_without_replicas_has_a_route_to_nobody() -> None:
    plan = mig_plan()
    desired = plan.desired.model_copy(update={"routes": (*plan.desired.routes, route("gone"))})
    objects = base_of(plan.model_copy(update={"desired": desired}))
    (reference,) = one(objects, "HTTPRoute", "gone")["spec"]["rules"][0]["backendRefs"]
    assert one(objects, "Service", reference["name"])["spec"]["selector"] == {"ullage.dev/model": "gone"}


def test_inference_pools_hold_replicas_of_one_kind_with_their_weights() -> None:
    objects = base_of(time_shared_plan(), routing="inference-pools")
    (reference,) = one(objects, "HTTPRoute", "llama-8b")["spec"]["rules"][0]["backendRefs"]
    assert (reference["kind"], reference["weight"]) == ("InferencePool", 1000)
    selector = one(objects, "InferencePool", reference["name"])["spec"]["selector"]["matchLabels"]
    members = [
        each["metadata"]["name"]
        for each in objects
        if each["kind"] == "Deployment" and selector.items() <= each["metadata"]["labels"].items()
    ]
    assert members == ["llama-8b-0", "llama-8b-1"]
    sources = one(objects, "NetworkPolicy", "ullage-engines")["spec"]["ingress"][0]["from"]
    assert sources[-1] == {"podSelector": {}}, "an endpoint picker lies beside the engines"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"namespace": "Team_A"}, ["--set namespace='Team_A'", "a-z0-9"]),
        ({"namespace": "a" * 64}, ["--set namespace", "63"]),
        ({"devices": "hami"}, ["--set devices='hami'", "dra"]),
        ({"image": "a b"}, ["--set image", "an image without a tag"]),
        ({"image": "repo/vllm:v1"}, ["--set image", "an image without a tag"]),
        ({"node_label": "kubernetes.io/hostname"}, ["--set node_label", "a key of your own"]),
        ({"node_label": "topology.kubernetes.io/zone"}, ["--set node_label", "a key of your own"]),
        ({"node_label": "ullage.dev/pool"}, ["--set node_label", "a key of your own"]),
        ({"cache_claim": "A"}, ["--set cache_claim='A'", "is no name in Kubernetes"]),
    ],
)
def test_settings_that_kubernetes_would_refuse_are_refused(settings: dict[str, str], words: list[str]) -> None:
    with pytest.raises(RenderError) as refused:
        render(mig_plan(), **settings)
    assert [word for word in words if word not in str(refused.value)] == []


def _changed(**node: Any) -> Plan:
    plan = mig_plan()
    nodes = (plan.desired.nodes[0].model_copy(update=node),)
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"nodes": nodes})})


def test_what_kubernetes_cannot_give_is_refused_with_field_and_reason() -> None:
    with pytest.raises(RenderError, match=r"nodes\.h100-0\.gpu_type: 'CPU-x86-8GiB' is no GPU"):
        render(_changed(gpu_type="CPU-x86-8GiB"))
    plan = mig_plan()
    gpus = (plan.desired.gpus[0].model_copy(update={"taken_mib": 512}),)
    with pytest.raises(RenderError, match=r"gpus\.h100-0/0\.taken_mib: others hold 512 MiB"):
        render(plan.model_copy(update={"desired": plan.desired.model_copy(update={"gpus": gpus})}))
    with pytest.raises(RenderError, match=r"replicas\.r\.args\.enable_sleep_mode.*take `sleep` off"):
        render(plan_of((replica("r", args={"enable_sleep_mode": True}),), gpu_count=1))
    with pytest.raises(RenderError, match="a header carries the model's name"):
        render(plan_of((replica("r", "modèle"),), gpu_count=1))


def test_another_port_or_forecast_changes_no_pod() -> None:
    before = render(plan_of((replica("r"),), gpu_count=1))
    moved = plan_of((replica("r", start_s=70.0, capacity_rps=3.0, planned_rps=1.0, args={"port": 8177}),), gpu_count=1)
    assert {file.path for file, other in zip(before, render(moved), strict=True) if file != other} == set()


def test_what_cannot_be_changed_in_place_gets_another_name() -> None:
    one_gpu = base_of(plan_of((replica("r", mode="exclusive"),), gpu_count=2))
    two_gpus = base_of(plan_of((replica("r", mode="tensor_parallel", gpus=(0, 1)),), gpu_count=2))
    fixed = {
        "Deployment": ("spec", "selector"),
        "ResourceClaim": ("spec",),
        "ResourceClaimTemplate": ("spec",),
        "PriorityClass": ("value",),
    }
    seen = set()
    for before in one_gpu:
        for after in two_gpus:
            same = (before["kind"], before["metadata"]["name"]) == (after["kind"], after["metadata"]["name"])
            path = fixed.get(before["kind"], ())
            if same and path:
                found = [before, after]
                for key in path:
                    found = [each[key] for each in found]
                assert found[0] == found[1]
                seen.add(before["kind"])
    assert seen == {"Deployment", "PriorityClass"}
    templates = [
        [each["metadata"]["name"] for each in objects if each["kind"] == "ResourceClaimTemplate"] for objects in (one_gpu, two_gpus)
    ]
    assert templates == [["r-gpu-1"], ["r-gpu-2"]]
