"""Routes of a plan for the Gateway API: one HTTPRoute per served name, with the plan's weights.

The name is in the header that body-based routing sets from the field `model` of a request's body (Gateway API Inference Extension).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from planner.plan import Replica, Route
from renderers.kubernetes.kube_names import MODEL, dns_label
from renderers.kubernetes.kube_settings import KubernetesSettings
from renderers.kubernetes.replica_objects import GROUP, PORT, ROUTE_WAVE, WAVE, group
from renderers.kubernetes.shared_objects import OURS
from renderers.manifest import RenderError
from renderers.yaml_document import Document

MODEL_HEADER = "X-Gateway-Model-Name"
_POOLS = "inference.networking.k8s.io"
# The port of an endpoint picker in the charts of the Gateway API Inference Extension.
_PICKER_PORT = 9002
# The CRD of HTTPRoute: a rule has at most so many backends, and a header's value so many characters.
_MOST_BACKENDS = 16
_LONGEST_HEADER = 4096


def route_objects(route: Route, replicas: Mapping[str, Replica], settings: KubernetesSettings) -> tuple[Document, ...]:
    """The HTTPRoute of a served name, and the Services or InferencePools that only it has. replicas are by name."""
    _check_header(route.served_name)
    if not route.backends:
        return (_http_route(route, [_service(_empty_name(route), 1)], settings), _empty(route))
    if settings.routing == "replicas":
        references = [_service(dns_label(each.replica), each.weight) for each in route.backends]
        _check_count(route, references, settings.routing)
        return (_http_route(route, references, settings),)
    weights = Counter[str]()
    for backend in route.backends:
        weights[group(replicas[backend.replica])] += backend.weight
    reference = _pool_reference if settings.routing == "inference-pools" else _service
    references = [reference(name, weight) for name, weight in sorted(weights.items())]
    _check_count(route, references, settings.routing)
    # An adapter is served by the replicas of its model, and so through the same Services.
    own = settings.routing == "groups" and replicas[route.backends[0].replica].served_name == route.served_name
    return (_http_route(route, references, settings), *(_service_of(name, {GROUP: name}) for name in sorted(weights) if own))


def _check_count(route: Route, references: Sequence[Document], routing: str) -> None:
    if len(references) > _MOST_BACKENDS:
        raise RenderError(
            f"route {route.served_name!r}: has {len(references)} backends, and a rule of an HTTPRoute takes {_MOST_BACKENDS}; use "
            + ("--set routing=groups" if routing == "replicas" else "fewer pools for this model")
        )


def inference_pools(replicas: Mapping[str, Replica]) -> tuple[Document, ...]:
    """An InferencePool for the replicas of each group: they are alike, and its endpoint picker chooses between them by their load."""
    return tuple(
        {
            "apiVersion": f"{_POOLS}/v1",
            "kind": "InferencePool",
            "metadata": {"name": name, "labels": OURS},
            "spec": {
                "selector": {"matchLabels": {GROUP: name}},
                "targetPorts": [{"number": PORT}],
                # Without a picker the gateway spreads requests itself.
                "endpointPickerRef": {"name": f"{name}-epp", "port": {"number": _PICKER_PORT}, "failureMode": "FailOpen"},
            },
        }
        for name in sorted({group(replica) for replica in replicas.values()})
    )


def _http_route(route: Route, references: list[Document], settings: KubernetesSettings) -> Document:
    matches: list[Document] = [
        {
            "path": {"type": "PathPrefix", "value": "/v1/"},
            "headers": [{"type": "Exact", "name": MODEL_HEADER, "value": route.served_name}],
        }
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": dns_label(route.served_name), "labels": OURS, "annotations": {WAVE: ROUTE_WAVE}},
        "spec": {
            "parentRefs": [{"name": settings.gateway, "namespace": settings.gateway_namespace}],
            # No limit: a stream lasts as long as its tokens.
            "rules": [{"matches": matches, "backendRefs": references, "timeouts": {"request": "0s"}}],
        },
    }


def _service(name: str, weight: int) -> Document:
    return {"name": name, "port": PORT, "weight": weight}


def _pool_reference(name: str, weight: int) -> Document:
    return {"group": _POOLS, "kind": "InferencePool", "name": name, "port": PORT, "weight": weight}


def _service_of(name: str, selector: Document) -> Document:
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": OURS},
        "spec": {"selector": selector, "ports": ports},
    }


def _empty_name(route: Route) -> str:
    return f"{dns_label(route.served_name)}-nobody"


def _empty(route: Route) -> Document:
    """A Service of nobody: the gateway then answers 503, and not 404 or 500."""
    return _service_of(_empty_name(route), {MODEL: dns_label(route.served_name)})


def _check_header(name: str) -> None:
    if not (name.isascii() and name.isprintable() and name.strip() == name and len(name) <= _LONGEST_HEADER):
        raise RenderError(
            f"route {name!r}: a header carries the model's name, and it takes printable ASCII only, at most {_LONGEST_HEADER} characters, "
            "no blanks at its ends; give the model another name"
        )
