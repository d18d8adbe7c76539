"""KEDA ScaledObjects inside what is planned: replicas beyond those that must run start when the others are full, and never more.

Which replica comes next is the plan's order of names. KEDA decides between no Pod and one by `activationThreshold`; a place holds one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from planner.plan import Desired, Replica
from renderers.kubernetes.kube_names import dns_label
from renderers.kubernetes.kube_settings import KubernetesSettings
from renderers.kubernetes.replica_objects import start_limit_s
from renderers.kubernetes.shared_objects import OURS
from renderers.yaml_document import Document


def lacking_scaling(settings: KubernetesSettings) -> Iterator[str]:
    """Routes that would go on sending requests to a replica that KEDA has stopped."""
    if settings.scaling == "keda" and settings.routing == "replicas":
        yield "--set scaling=keda: a stopped replica would keep its share of the requests; use --set routing=groups"


def scaled_replicas(desired: Desired, settings: KubernetesSettings) -> frozenset[str]:
    """Names of the replicas that KEDA may stop: all but the first of each model, and as many as the fleet file says must run."""
    if settings.scaling == "none":
        return frozenset()
    least = {rule.served_name: rule.min_replicas for rule in desired.rules.models}
    names: set[str] = set()
    for served_name, replicas in _by_model(desired).items():
        names |= {replica.name for replica in replicas[max(1, least.get(served_name, 0)) :]}
    return frozenset(names)


def scaled_object(replica: Replica, desired: Desired, settings: KubernetesSettings) -> Document:
    """Starts a replica when more requests run or wait than those before it in the order are planned to hold, and stops it later."""
    replicas = _by_model(desired)[replica.served_name]
    before = replicas[: replicas.index(replica)]
    held = sum(each.forecast.running_requests for each in before)
    model = json.dumps(replica.args.served_model_name)
    # Another namespace, staging say, may serve a model of the same name.
    chosen = f'{{namespace="{settings.namespace}", model_name={model}}}'
    query = f"sum(vllm:num_requests_running{chosen}) + sum(vllm:num_requests_waiting{chosen})"
    trigger = {
        "serverAddress": settings.prometheus,
        "query": query,
        # One Pod is all there is: the threshold of the autoscaler behind KEDA must never ask for a second.
        "threshold": "1000000000",
        "activationThreshold": f"{held:.3f}",
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": dns_label(replica.name), "labels": OURS},
        "spec": {
            "scaleTargetRef": {"name": dns_label(replica.name)},
            "minReplicaCount": 0,
            "maxReplicaCount": 1,
            "pollingInterval": 15,
            # Our choice: what a start may take is not worth less rest than as long again.
            "cooldownPeriod": 2 * start_limit_s(replica, settings),
            # Without figures everything runs, as planned.
            "fallback": {"failureThreshold": 4, "replicas": 1},
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    }


def _by_model(desired: Desired) -> dict[str, list[Replica]]:
    found: dict[str, list[Replica]] = {}
    for replica in sorted(desired.replicas, key=lambda replica: replica.name):
        found.setdefault(replica.served_name, []).append(replica)
    return found


def scaled(objects: Iterable[Document], replica: Replica, desired: Desired, settings: KubernetesSettings) -> tuple[Document, ...]:
    """The objects of a replica that KEDA scales; its Deployment does not say how many Pods there are, or GitOps would set it back."""
    kept: list[Document] = []
    for each in objects:
        free = {key: value for key, value in each["spec"].items() if key != "replicas"}
        kept.append({**each, "spec": free} if each["kind"] == "Deployment" else each)
    return (*kept, scaled_object(replica, desired, settings))
