"""What all replicas of a fleet share on Kubernetes: account, priorities, who may reach them, scripts, monitoring, disruption budgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from planner.plan import Desired, Replica
from renderers.kubernetes.kube_names import MODEL, dns_label
from renderers.kubernetes.kube_settings import KubernetesSettings
from renderers.kubernetes.replica_objects import START_FILES, priority_class
from renderers.templates import package_text
from renderers.yaml_document import Document

OURS: Document = {"app.kubernetes.io/managed-by": "ullage"}
"""Label of everything that is rendered."""
# Our choice: far below the classes of the system (2,000,000,000), and far enough apart for others to fit between them.
_PRIORITIES = {"interactive": 100_000, "standard": 10_000, "background": 1_000}


def account() -> tuple[Document, ...]:
    """The account of the engines. They call no API of Kubernetes: it has no role, and its token is not mounted."""
    metadata = {"name": "ullage-engine", "labels": OURS}
    return ({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},)


def priorities(settings: KubernetesSettings) -> tuple[Document, ...]:
    """One PriorityClass for each latency class: in need of room the interactive ones come first; background Pods displace nobody."""
    return tuple(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": priority_class(name, settings), "labels": OURS},
            "value": value,
            "preemptionPolicy": "Never" if name == "background" else "PreemptLowerPriority",
            "description": f"Engines of the latency class {name}.",
        }
        for name, value in _PRIORITIES.items()
    )


def latency_class(replica: Replica, desired: Desired) -> str:
    """The most urgent class of those that a replica serves; standard where none of its models has demand."""
    classes = {workload.latency_class for workload in desired.workloads if workload.served_name in replica.args.names}
    return next((name for name in _PRIORITIES if name in classes), "standard")


def network_policy(settings: KubernetesSettings) -> tuple[Document, ...]:
    """Only the namespaces of the gateway's proxies and of the monitoring reach the engines, and endpoint pickers beside them."""
    sources: list[Document] = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in dict.fromkeys((settings.proxy_namespace or settings.gateway_namespace, settings.monitoring_namespace))
    ]
    if settings.routing == "inference-pools":
        # An endpoint picker lies in the namespace of its pool and reads the engines' metrics.
        sources.append({"podSelector": {}})
    spec: Document = {
        "podSelector": {"matchLabels": OURS},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": sources, "ports": [{"port": "http", "protocol": "TCP"}]}],
    }
    metadata = {"name": "ullage-engines", "labels": OURS}
    return ({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec},)


def start_files() -> tuple[Document, ...]:
    """The scripts of probes and starts."""
    scripts = {"ready.py": package_text("vllm/ready.py"), "start-in-turn.sh": package_text("vllm/start-in-turn.sh")}
    return ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": START_FILES, "labels": OURS}, "data": scripts},)


def pod_monitor() -> tuple[Document, ...]:
    """Has the Prometheus operator read the metrics of every engine."""
    spec: Document = {
        "selector": {"matchLabels": OURS},
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }
    metadata = {"name": "ullage-engines", "labels": OURS}
    return ({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": metadata, "spec": spec},)


def disruption_budgets(desired: Desired) -> Iterator[Document]:
    """Per served model how many replicas may be evicted at once: as the fleet's disruption budget says, else one."""
    budget = desired.rules.disruption_budget
    counts = Counter(replica.served_name for replica in desired.replicas)
    for name in sorted(counts):
        least = budget.min_available.get(name, 0)
        limit = {"maxUnavailable": 0} if name in budget.protected else {"minAvailable": least} if least else {"maxUnavailable": 1}
        yield {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": dns_label(name), "labels": OURS},
            "spec": {**limit, "selector": {"matchLabels": {MODEL: dns_label(name)}}},
        }
