"""Strict checks of Kubernetes objects: the published schemas of its own kinds, those of the CRDs for the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import kubernetes_validate
import yaml

from planner.plan import Plan
from renderers import kubernetes
from renderers.manifest import Manifest
from renderers.render_target import rendered

KubeObject: TypeAlias = dict[str, Any]

# DRA is stable (resource.k8s.io/v1) since 1.34.
VERSIONS = ("1.34", "1.37")
_SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((Path(__file__).parent / "schemas").glob("*.json"))}


def objects_of(texts: Iterable[str]) -> list[KubeObject]:
    """All objects of YAML files."""
    return [found for text in texts for found in yaml.safe_load_all(text) if found["kind"] != "Kustomization"]


def check(found: KubeObject) -> None:
    """Fails for a field that the API does not know, lacks or takes otherwise."""
    schema = _SCHEMAS.get(found["kind"])
    if schema is None:
        for version in VERSIONS:
            kubernetes_validate.validate(found, version, strict=True)
        return
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert found["apiVersion"] == schema["apiVersion"]
    jsonschema.validate(found["spec"], schema["spec"])
    unknown = list(unknown_fields(found["spec"], schema["spec"], "spec"))
    assert unknown == [], f"the CRD does not know {unknown}"


def unknown_fields(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """Fields that a CRD does not know: an API server drops them in silence."""
    if isinstance(value, dict) and "properties" in schema and not schema.get("additionalProperties"):
        for key, each in value.items():
            if key in schema["properties"]:
                yield from unknown_fields(each, schema["properties"][key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from unknown_fields(each, schema.get("items", {}), f"{path}.{index}")


def render(plan: Plan, **settings: str) -> Manifest:
    return rendered("kubernetes", kubernetes.TARGET, plan, settings)


def base_of(plan: Plan, **settings: str) -> list[KubeObject]:
    return objects_of(file.text for file in render(plan, **settings) if file.path.startswith("base/"))


def one(objects: list[KubeObject], kind: str, name: str) -> KubeObject:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod(objects: list[KubeObject], name: str) -> dict[str, Any]:
    spec: dict[str, Any] = one(objects, "Deployment", name)["spec"]["template"]["spec"]
    return spec
