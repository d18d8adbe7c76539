"""What would fail or hurt in a cluster is said when it is rendered."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from planner.plan import Plan
from renderers import helm, slurm
from renderers.engine_image import image_of
from renderers.files import write
from renderers.manifest import RenderError
from renderers.render_target import rendered
from tests.plans import mig_plan, plan_of, replica, time_shared_plan
from tests.renderers.conftest import ShellCheck
from tests.renderers.kubernetes.kube_checks import base_of, one, pod, render


@pytest.mark.parametrize(
    ("version", "image"),
    [("0.32.0", "v0.32.0"), ("v0.32.0", "v0.32.0"), ("0.32.0+cpu", "v0.32.0"), ("0.12.0.post2", "v0.12.0.post2"), ("0.32", "v0.32")],
)
def test_an_image_is_tagged_by_its_release(version: str, image: str) -> None:
    assert image_of("repo", replica("r", engine_version=version)) == f"repo:{image}"


@pytest.mark.parametrize("version", ["nightly", "0.34.0.dev12+gabc", "0.32.0rc1"])
def test_what_is_no_release_has_no_image(version: str) -> None:
    with pytest.raises(RenderError, match=f"replica 'r', engine_version: '{version.replace('+', '.')}' is no release"):
        image_of("repo", replica("r", engine_version=version))


def _clashing() -> Plan:
    """A model whose replica is called like the group of another."""
    return plan_of((replica("a-0", "a", mode="exclusive"), replica("a-h100-exclusive-1", "b", mode="exclusive", gpus=(1,))), gpu_count=2)


def test_two_things_of_one_name_are_refused() -> None:
    with pytest.raises(RenderError, match=r"Service 'a-h100-exclusive-1': stands for two things.*give one of the models"):
        render(_clashing())


def test_two_replicas_of_one_name_do_not_hide_each_other() -> None:
    plan = plan_of((replica("r"), replica("s", gpus=(1,), args={"port": 8101})), gpu_count=2)
    twice = tuple(each.model_copy(update={"name": "r"}) for each in plan.desired.replicas)
    with pytest.raises(RenderError, match="Deployment 'r', Service 'r': stands for two things"):
        render(plan.model_copy(update={"desired": plan.desired.model_copy(update={"replicas": twice, "routes": ()})}))


def test_a_chart_has_the_namespace_of_its_release() -> None:
    with pytest.raises(RenderError, match=r"--set namespace='llm': .*helm install -n"):
        rendered("helm", helm.TARGET, mig_plan(), {"namespace": "llm"})


# A cluster of a thousand nodes, of which the first is the planned one: more than a pipe holds.
KUBECTL = """#!/usr/bin/env bash
if [[ "$1" == get ]]; then
  printf 'gpu-node-7 127.0.0.1 gpu-node-7.example.org\\n'
  for number in $(seq 1000); do printf 'node-%s 10.1.2.3 node-%s.a-domain-with-a-long-name.example.org\\n' "$number" "$number"; done
else
  printf '%s\\n' "$*" >>labels
fi
"""


def test_nodes_of_a_large_cluster_are_found_by_their_address(tmp_path: Path, shellcheck: ShellCheck) -> None:
    write(render(time_shared_plan()), tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").write_text(KUBECTL)
    (tmp_path / "bin" / "kubectl").chmod(0o755)
    shellcheck(tmp_path / "label-nodes.sh")
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for arguments, node in (((), "gpu-node-7"), (("h100-0=mine",), "mine")):
        done = subprocess.run(
            ["bash", "label-nodes.sh", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        expected = f"label --overwrite node {node} ullage.dev/node=h100-0 ullage.dev/pool=h100"
        assert (tmp_path / "labels").read_text().splitlines()[-1] == expected
    done = subprocess.run(
        ["bash", "label-nodes.sh", "h100-9=x"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "h100-9: no such node in the plan; it has h100-0\n")


def test_local_models_need_a_volume_that_holds_them() -> None:
    local = plan_of(
        (
            replica(
                "r",
                args={"model": "/models/own", "lora_modules": ({"name": "a", "path": "/models/a"},), "max_loras": 1, "max_lora_rank": 8},
            ),
        ),
        gpu_count=1,
    )
    with pytest.raises(RenderError, match=r"replicas\.r\.args\.model: no Pod has '/models/own'.*models_claim=CLAIM"):
        render(local)
    with pytest.raises(RenderError, match=r"'/models/own' is not below /srv"):
        render(local, models_claim="weights", models_path="/srv")
    spec = pod(base_of(local, models_claim="weights"), "r")
    mounts = {each["name"]: each for each in spec["containers"][0]["volumeMounts"]}
    assert mounts["models"] == {"name": "models", "mountPath": "/models", "readOnly": True}


def test_one_that_may_share_but_is_alone_shares_with_nobody() -> None:
    alone = plan_of((replica("a"), replica("b", gpus=(1,), args={"port": 8101})), gpu_count=2)
    assert pod(base_of(alone, devices="device-plugin"), "a")["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    # With DRA it keeps the claim of the GPU, so that it stays as it is when others come.
    assert pod(base_of(alone), "a")["resourceClaims"] == [{"name": "gpu", "resourceClaimName": "h100-0-gpu-0"}]
    assert rendered("slurm", slurm.TARGET, alone)


def test_what_a_cluster_does_not_have_can_be_left_out() -> None:
    kinds = {each["kind"] for each in base_of(mig_plan(), monitoring="none")}
    assert "PodMonitor" not in kinds
    policy = one(base_of(mig_plan(), proxy_namespace="envoy-gateway-system"), "NetworkPolicy", "ullage-engines")
    names = [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in policy["spec"]["ingress"][0]["from"]]
    assert names == ["envoy-gateway-system", "monitoring"]
