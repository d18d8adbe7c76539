"""Kubernetes by kustomize: a base with one folder per kind of thing, and an overlay that gives the namespace.

Layout: `base/replicas/NAME.yaml`, `base/models/NAME.yaml` (routes and disruption budgets), `base/shared/*.yaml`,
`overlays/default/`, `label-nodes.sh`. The same objects become a chart in `renderers.helm`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from planner.plan import Desired, Plan, is_shared
from planner.plan.local_paths import local_paths
from renderers.kubernetes.kube_names import POOL, dns_label
from renderers.kubernetes.kube_settings import KubernetesSettings
from renderers.kubernetes.pod_devices import NOTHING_TAKEN, REQUESTABLE, device_plugin_config, lacking_devices, pod_devices, shared_claims
from renderers.kubernetes.pod_places import lacking_spread, pod_place
from renderers.kubernetes.replica_objects import replica_objects
from renderers.kubernetes.route_objects import inference_pools, route_objects
from renderers.kubernetes.scaling_objects import lacking_scaling, scaled, scaled_replicas
from renderers.kubernetes.shared_objects import (
    account,
    disruption_budgets,
    latency_class,
    network_policy,
    pod_monitor,
    priorities,
    start_files,
)
from renderers.manifest import File, Manifest, RenderError
from renderers.needs import NO_MPS, NO_RELATIVE_PATHS, NO_SLEEP_MODE, NO_SPLIT_PROMPTS, NOBODY_APART, NOBODY_ASLEEP, with_company
from renderers.render_target import RenderTarget
from renderers.templates import template
from renderers.yaml_document import Document, yaml_text

NEEDS = (REQUESTABLE, NOTHING_TAKEN, NO_MPS, NO_RELATIVE_PATHS, NOBODY_ASLEEP, NO_SLEEP_MODE, NO_SPLIT_PROMPTS, NOBODY_APART)
"""What a plan must have to be rendered for Kubernetes, whatever the packaging."""


def render(plan: Plan, settings: KubernetesSettings) -> Manifest:
    """Base and overlay; RenderError for devices that Kubernetes cannot give as planned and for arguments the engine does not take."""
    groups = kube_objects(plan.desired, settings)
    base: Document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [path for path, _ in groups],
    }
    overlay: Document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": settings.namespace,
        "resources": ["namespace.yaml", "../../base"],
    }
    return (
        *(File(f"base/{path}", yaml_text(*objects)) for path, objects in groups),
        File("base/kustomization.yaml", yaml_text(base)),
        File("overlays/default/namespace.yaml", yaml_text(_namespace(plan.desired, settings))),
        File("overlays/default/kustomization.yaml", yaml_text(overlay)),
        *node_files(plan.desired, settings),
    )


def kube_objects(desired: Desired, settings: KubernetesSettings) -> tuple[tuple[str, tuple[Document, ...]], ...]:
    """Objects of a plan by the path of the file they belong to, sorted by path: the one model of both packagings."""
    problems = [
        *lacking_devices(desired, settings.devices),
        *lacking_spread(desired, settings),
        *lacking_models(desired, settings),
        *lacking_scaling(settings),
    ]
    if problems:
        raise RenderError("\n".join(problems))
    groups = [(path, objects) for path, objects in _groups(desired, settings) if objects]
    _refuse_equal_names(objects for _, objects in groups)
    return tuple(sorted(groups, key=lambda group: group[0]))


def lacking_models(desired: Desired, settings: KubernetesSettings) -> Iterator[str]:
    """Local paths that no volume of a Pod holds."""
    for replica in desired.replicas:
        for field, path in local_paths(replica.args):
            if not settings.models_claim:
                yield f"replicas.{replica.name}.args.{field}: no Pod has {path!r}; name a volume that holds it: --set models_claim=CLAIM"
            elif not path.startswith(f"{settings.models_path}/"):
                where = f"replicas.{replica.name}.args.{field}"
                yield f"{where}: {path!r} is not below {settings.models_path}, where models are mounted; set models_path"


def _refuse_equal_names(groups: Iterable[tuple[Document, ...]]) -> None:
    names = Counter((found["kind"], found["metadata"]["name"]) for objects in groups for found in objects)
    twice = [f"{kind} {name!r}" for (kind, name), count in sorted(names.items()) if count > 1]
    if twice:
        raise RenderError(f"{', '.join(twice)}: stands for two things of this plan; give one of the models or replicas another name")


def _groups(desired: Desired, settings: KubernetesSettings) -> Iterator[tuple[str, tuple[Document, ...]]]:
    by_name = {replica.name: replica for replica in desired.replicas}
    company = with_company(desired)
    may_stop = scaled_replicas(desired, settings)
    for replica in desired.replicas:
        place = pod_place(replica, desired, settings)
        devices = pod_devices(replica, settings.devices, replica.name in company)
        objects = replica_objects(replica, devices, latency_class(replica, desired), place, settings)
        if replica.name in may_stop:
            objects = scaled(objects, replica, desired, settings)
        yield f"replicas/{dns_label(replica.name)}.yaml", objects
    budgets = {budget["metadata"]["name"]: budget for budget in disruption_budgets(desired)}
    for route in desired.routes:
        name = dns_label(route.served_name)
        budget = [budgets.pop(name)] if name in budgets else []
        yield f"models/{name}.yaml", (*route_objects(route, by_name, settings), *budget)
    yield "shared/disruption-budgets.yaml", tuple(budgets.values())
    yield "shared/account.yaml", account()
    yield "shared/network-policy.yaml", network_policy(settings)
    yield "shared/pod-monitor.yaml", pod_monitor() if settings.monitoring == "pod-monitor" else ()
    yield "shared/priorities.yaml", priorities(settings)
    yield "shared/start-files.yaml", start_files()
    if settings.devices == "dra":
        yield "shared/gpus.yaml", tuple(shared_claims(desired))
    if settings.routing == "inference-pools":
        yield "shared/inference-pools.yaml", inference_pools(by_name)


def _namespace(desired: Desired, settings: KubernetesSettings) -> Document:
    # Replicas that share a GPU start in turn by a lock on their node, which is a hostPath; the others keep to the baseline.
    locks = desired.replicas if settings.devices == "dra" else [each for each in desired.replicas if each.name in with_company(desired)]
    level = "privileged" if any(is_shared(replica.mode) for replica in locks) else "baseline"
    labels = {"pod-security.kubernetes.io/enforce": level}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace, "labels": labels}}


def node_files(desired: Desired, settings: KubernetesSettings) -> tuple[File, ...]:
    """What nodes need before Pods find their GPUs there."""
    config = device_plugin_config(desired) if settings.devices == "device-plugin" else None
    shares = [File("device-plugin-config.yaml", yaml_text(config))] if config else []
    return (File("label-nodes.sh", _node_labels(desired, settings), executable=True), *shares)


def _node_labels(desired: Desired, settings: KubernetesSettings) -> str:
    """The script that gives the planned names of the nodes to those of the cluster."""
    used = {replica.node for replica in desired.replicas}
    nodes = [(node.name, node.host, dns_label(node.name), dns_label(node.pool)) for node in desired.nodes if node.name in used]
    return template("kubernetes", "label-nodes.sh.j2").render(nodes=nodes, label=settings.node_label, pool_label=POOL)


TARGET = RenderTarget(render, needs=NEEDS, settings=KubernetesSettings)
