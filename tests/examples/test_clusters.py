"""What the example repository gives to a cluster: overlays that build, and objects that Argo CD and Flux take."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from planner.plan import plan_from_json
from renderers import kubernetes
from renderers.files import write
from renderers.render_target import rendered
from tests.renderers.kubernetes.kube_checks import check, unknown_fields
from tests.tools import program

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gitops"
SCHEMAS = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((Path(__file__).parent / "schemas").glob("*.json"))]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The overlays beside what is rendered of the last plan."""
    plan = plan_from_json((EXAMPLE / "plans" / "3.json").read_text(encoding="utf-8"), "plan")
    write(rendered("kubernetes", kubernetes.TARGET, plan), tmp_path / "deploy" / "kubernetes")
    for path in EXAMPLE.glob("overlays/*/*.yaml"):
        copy = tmp_path / path.relative_to(EXAMPLE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def _built(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run([program("kubectl", "kubectl 1.21 or newer"), "kustomize", folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    objects = list(yaml.safe_load_all(done.stdout))
    for found in objects:
        check(found)
    return objects


def _pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]


def test_the_overlays_build_and_change_what_they_say(repository: Path) -> None:
    production, staging = (_built(repository / "overlays" / name) for name in ("production", "staging"))
    assert {pod["containers"][0]["image"] for pod in _pods(production)} == {"registry.example.org/vllm/vllm-openai:v0.32.0"}
    assert {pod["priorityClassName"] for pod in _pods(staging)} == {"ullage-ullage-background"}
    assert {each["metadata"].get("namespace") for each in staging if each["kind"] == "Deployment"} == {"ullage-staging"}
    gateways = [{each["spec"]["parentRefs"][0]["name"] for each in built if each["kind"] == "HTTPRoute"} for built in (production, staging)]
    assert gateways == [{"inference-gateway"}, {"staging-gateway"}]
    assert [each["metadata"]["name"] for each in staging if each["kind"] == "Namespace"] == ["ullage-staging"]
    assert len(_pods(production)) == len(_pods(staging)) == 4


@pytest.mark.parametrize("name", ["argo-cd", "flux"])
def test_the_objects_of_the_cluster_s_tools_are_ones_that_they_take(name: str) -> None:
    for found in yaml.safe_load_all((EXAMPLE / "clusters" / f"{name}.yaml").read_text(encoding="utf-8")):
        (schema,) = [each for each in SCHEMAS if (each["apiVersion"], each["kind"]) == (found["apiVersion"], found["kind"])]
        assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
        jsonschema.validate(found["spec"], schema["spec"])
        assert list(unknown_fields(found["spec"], schema["spec"], "spec")) == []
        source = found["spec"].get("source", found["spec"])
        assert "path" not in source or (EXAMPLE / source["path"] / "kustomization.yaml").exists()
