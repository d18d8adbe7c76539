from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
import yaml

from planner.plan import Plan
from renderers import helm, kubernetes
from renderers.manifest import File
from renderers.render_target import rendered
from tests.conftest import Golden
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.renderers.kubernetes.kube_checks import objects_of

GOLDEN = Path(__file__).parents[1] / "golden" / "helm"
_ACTION = re.compile(r"\{\{ (?:\"(\{\{)\"|\.Values\.(\w+)|(\.Release\.Namespace)) \}\}")


def _filled(text: str, values: Mapping[str, str], namespace: str) -> str:
    """What Helm makes of a template that has no actions but those of the renderer."""

    def fill(found: re.Match[str]) -> str:
        literal, value, _ = found.groups()
        return literal or (values[value] if value else namespace)

    assert "{{" not in _ACTION.sub("", text), "an action that this test does not know"
    return _ACTION.sub(fill, text)


def _chart(plan: Plan, **settings: str) -> dict[str, File]:
    return {file.path: file for file in rendered("helm", helm.TARGET, plan, settings)}


@pytest.mark.golden
def test_the_chart_is_as_reviewed(golden: Golden) -> None:
    for path, file in _chart(mig_plan()).items():
        golden(GOLDEN / path, file.text)


HOSTILE = '{{ .Release.Name }}\nx: {{- fail "no" }} $(HF_TOKEN) \' " : #'


@pytest.mark.parametrize(
    "plan",
    [
        time_shared_plan(),
        mig_plan(),
        tensor_parallel_plan(),
        plan_of((replica("r", args={"model": HOSTILE, "revision": HOSTILE}),), gpu_count=1),
    ],
    ids=["time-shared", "mig", "tensor-parallel", "hostile"],
)
@pytest.mark.parametrize(
    "settings",
    [{}, {"image": "registry.local:5000/vllm", "gateway": "123", "gateway_namespace": "on", "monitoring_namespace": "null"}],
    ids=["plain", "words-of-yaml"],
)
def test_chart_and_base_are_the_same_objects(plan: Plan, settings: dict[str, str]) -> None:
    chart = _chart(plan, **settings)
    values = yaml.safe_load(chart["values.yaml"].text)
    jsonschema.validate(values, json.loads(chart["values.schema.json"].text))
    namespace = "ullage"
    filled = [_filled(file.text, values, namespace) for path, file in chart.items() if path.startswith("templates/")]
    base = [file.text for file in rendered("kubernetes", kubernetes.TARGET, plan, settings) if file.path.startswith("base/")]
    assert objects_of(filled) == objects_of(base)


def test_values_that_would_leave_their_place_are_refused_by_the_schema() -> None:
    chart = _chart(mig_plan())
    schema = json.loads(chart["values.schema.json"].text)
    values = yaml.safe_load(chart["values.yaml"].text)
    for name in values:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**values, name: 'x"\n  evil: true'}, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in values.items() if key != name}, schema)


def test_a_plan_that_knows_the_mark_gets_another_one() -> None:
    model = "chartvalue0:imagechartvalue0:"
    chart = _chart(plan_of((replica("r", args={"model": model}),), gpu_count=1))
    assert model in chart["templates/replicas/r.yaml"].text
