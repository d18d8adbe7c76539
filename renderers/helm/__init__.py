"""The objects of the target kubernetes as a Helm chart: what a release may say for itself stands in values.yaml."""

from __future__ import annotations

import json

from planner.plan import Plan
from renderers.kubernetes import NEEDS, kube_objects, node_files
from renderers.kubernetes.kube_settings import KubernetesSettings
from renderers.manifest import File, Manifest, RenderError
from renderers.render_target import RenderTarget
from renderers.yaml_document import Document, yaml_text

# Name in values.yaml -> field of the settings. Devices, routing and labels change which objects there are, so they are set at rendering.
_VALUES = {
    "image": "image",
    "credentialsSecret": "credentials_secret",
    "gateway": "gateway",
    "gatewayNamespace": "gateway_namespace",
    "monitoringNamespace": "monitoring_namespace",
}


def render(plan: Plan, settings: KubernetesSettings) -> Manifest:
    """A chart; RenderError as for the target kubernetes. Its namespace is the release's."""
    if settings.namespace != KubernetesSettings().namespace:
        raise RenderError(
            f"--set namespace={settings.namespace!r}: a chart is installed into the namespace of its release: helm install -n"
        )
    mark = _mark(plan)
    marked = {field: f"{mark}{name}{mark}" for name, field in _VALUES.items()}
    blank = settings.model_copy(update={**marked, "namespace": f"{mark}namespace{mark}"})
    values: dict[str, str] = {name: getattr(settings, field) for name, field in _VALUES.items()}
    return (
        File("Chart.yaml", yaml_text(_chart())),
        File("values.yaml", yaml_text(values)),
        File("values.schema.json", _schema()),
        *(File(f"templates/{path}", _templated(yaml_text(*objects), mark)) for path, objects in kube_objects(plan.desired, blank)),
        *node_files(plan.desired, settings),
    )


def _mark(plan: Plan) -> str:
    """A word that stands nowhere in the plan: what is between two of them is filled in by Helm."""
    text = plan.desired.model_dump_json()
    number = 0
    while f"chartvalue{number}:" in text:
        number += 1
    # With a colon a text always stands in quotes, so that no value of a release is read as a number or a truth.
    return f"chartvalue{number}:"


def _templated(text: str, mark: str) -> str:
    # What looks like an action in the plan is no action.
    text = text.replace("{{", '{{ "{{" }}').replace(f"{mark}namespace{mark}", "{{ .Release.Namespace }}")
    for name in _VALUES:
        text = text.replace(f"{mark}{name}{mark}", f"{{{{ .Values.{name} }}}}")
    return text


def _chart() -> Document:
    return {
        "apiVersion": "v2",
        "name": "ullage-engines",
        "description": "vLLM engines and routes of an ullage plan.",
        "type": "application",
        "version": "0.1.0",
    }


def _schema() -> str:
    """What values may be: as the settings at rendering. Helm checks them, so that no value leaves the place it is put in."""
    fields = KubernetesSettings.model_json_schema()["properties"]
    kept = ("type", "pattern", "maxLength")
    properties = {name: {key: fields[field][key] for key in kept if key in fields[field]} for name, field in _VALUES.items()}
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": properties, "required": list(_VALUES)}
    return json.dumps(schema, indent=2) + "\n"


TARGET = RenderTarget(render, needs=NEEDS, settings=KubernetesSettings)
