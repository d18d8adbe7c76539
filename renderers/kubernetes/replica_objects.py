"""A replica as Kubernetes objects: a Deployment of one Pod, its Service, and the template of its claim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil
from typing import Any

from planner.plan import Replica
from planner.plan.local_paths import is_local
from renderers.engine_image import image_of
from renderers.kubernetes.kube_names import MODEL, dns_label
from renderers.kubernetes.kube_settings import KubernetesSettings
from renderers.kubernetes.pod_devices import PodDevices
from renderers.vllm import command, environment
from renderers.vllm.replica_start import SHUTDOWN_TIMEOUT_S, START_LIMIT, steady_limit_s, turns_limit_s
from renderers.yaml_document import Document

PORT = 8000
"""Where every engine listens: a Pod has an address of its own."""
_URL = f"http://127.0.0.1:{PORT}"
REPLICA, GROUP = "ullage.dev/replica", "ullage.dev/group"
WAVE = "argocd.argoproj.io/sync-wave"
"""Argo CD applies waves one after another, each when the one before is healthy."""
ROUTE_WAVE = "20"
"""Routes change when the engines that they name are ready."""
# Our choice: of a model one replica at a time, and more only where it has more than so many.
_ENGINE_WAVES = 16

START_FILES = "ullage-start"
"""Name of the ConfigMap with the scripts of probes and starts."""
_PROBE_S = 10
# Our choice: a slow line to the hub; what is faster is ready sooner.
_DOWNLOAD_MIB_PER_S = 50.0
# Our choice: as long as a cluster takes to give a node and to pull an image of several GB.
_PULL_S = 600
# Our choice: a first answer may compile kernels (renderers/vllm/ready.py waits as long).
_FIRST_ANSWER_S = 120
# Our choice: as long as endpoints take to leave the routers, before the engine is told to stop.
_SETTLE_S = 10
# What the programs of a container may say of themselves beyond their needs: nothing.
_CONFINED: Document = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def replica_objects(
    replica: Replica, devices: PodDevices, latency_class: str, place: Document, settings: KubernetesSettings
) -> tuple[Document, ...]:
    """Objects of one replica, its Pod in a place of pod_places; RenderError for arguments that its version of the engine does not take."""
    name = dns_label(replica.name)
    selector = {REPLICA: name}
    deployment: Document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels(replica), "annotations": _annotations(replica)},
        "spec": {
            "replicas": 1,
            # A second Pod would not fit beside the first.
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": _waits_s(replica, devices, start_limit_s(replica, settings)) + _PULL_S,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": labels(replica), "annotations": {"ullage.dev/served-name": replica.args.served_model_name}},
                "spec": {**_pod(replica, latency_class, devices, settings), **place},
            },
        },
    }
    service: Document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels(replica)},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    }
    return (deployment, service, *([devices.template] if devices.template else []))


def labels(replica: Replica) -> Document:
    """Labels of a replica's objects; they do not change while its name and its kind of place stay."""
    return {
        "app.kubernetes.io/name": "vllm",
        "app.kubernetes.io/managed-by": "ullage",
        MODEL: dns_label(replica.served_name),
        REPLICA: dns_label(replica.name),
        GROUP: group(replica),
    }


def group(replica: Replica) -> str:
    """Name of the group of a replica: those of one model on the same kind of place, and so as strong as each other."""
    place = replica.mode.replace("_", "-") if replica.mig is None else f"mig-{replica.mig.profile}"
    return dns_label(f"{dns_label(replica.served_name)}-{replica.pool}-{place}-{len(replica.gpus)}")


def _annotations(replica: Replica) -> Document:
    number = re.search(r"(\d{1,9})$", replica.name)
    wave = (int(number.group(1)) if number else 0) % _ENGINE_WAVES
    return {"ullage.dev/replica": replica.name, WAVE: str(1 + wave)}


def _pod(replica: Replica, latency_class: str, devices: PodDevices, settings: KubernetesSettings) -> Document:
    pod: dict[str, Any] = {
        "serviceAccountName": "ullage-engine",
        "automountServiceAccountToken": False,
        "priorityClassName": priority_class(latency_class, settings),
        "terminationGracePeriodSeconds": _SETTLE_S + 2 * SHUTDOWN_TIMEOUT_S,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    if devices.claims:
        pod["resourceClaims"] = list(devices.claims)
    pod["containers"] = [_container(replica, devices, settings)]
    pod["volumes"] = list(_volumes(devices, settings))
    return pod


def priority_class(latency_class: str, settings: KubernetesSettings) -> str:
    """Name of the PriorityClass of a latency class; the namespace keeps those of two fleets apart."""
    return f"ullage-{settings.namespace}-{latency_class}"


def _container(replica: Replica, devices: PodDevices, settings: KubernetesSettings) -> Document:
    inside = replica.model_copy(update={"args": replica.args.model_copy(update={"host": "0.0.0.0", "port": PORT})})  # noqa: S104
    words = list(command(inside))
    limit_s = start_limit_s(replica, settings)
    if devices.host_lock:
        turn = ["bash", "/etc/ullage/start-in-turn.sh", devices.host_lock, _URL, replica.args.served_model_name, str(limit_s)]
        words = [*turn, *words]
    full = ["python3", "/etc/ullage/ready.py", "--url", _URL, "--model", replica.args.served_model_name]
    waits = _waits_s(replica, devices, limit_s)
    return {
        "name": "vllm",
        "image": image_of(settings.image, replica),
        "command": [_unexpanded(word) for word in words],
        "env": list(_variables(inside, settings, limit_s)),
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": devices.resources,
        "securityContext": _CONFINED,
        "startupProbe": {
            "exec": {"command": full},
            "periodSeconds": _PROBE_S,
            "timeoutSeconds": _FIRST_ANSWER_S,
            "failureThreshold": ceil(waits / _PROBE_S),
        },
        # A busy engine would have a question for a token wait: here it must only be the right one.
        "readinessProbe": {"exec": {"command": [*full, "--names-only"]}, "periodSeconds": _PROBE_S, "timeoutSeconds": _PROBE_S},
        "livenessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_SETTLE_S)]}}},
        "volumeMounts": list(_mounts(devices, settings)),
    }


def _unexpanded(word: str) -> str:
    """A word of a command or a variable, of which Kubernetes shall expand nothing: it reads $$ as $, and $(NAME) as a variable."""
    return word.replace("$", "$$")


def start_limit_s(replica: Replica, settings: KubernetesSettings) -> int:
    """Seconds that a start may take once it is its turn; without a volume that keeps weights it downloads them first."""
    weights_mib = replica.ledger.weights_mib * len(replica.gpus)
    return steady_limit_s(replica, 0.0 if settings.cache_claim or is_local(replica.args.model) else weights_mib / _DOWNLOAD_MIB_PER_S)


def _waits_s(replica: Replica, devices: PodDevices, limit_s: int) -> int:
    """Seconds until a start counts as failed: one that shares its GPU waits for its turn."""
    return turns_limit_s(replica, limit_s) if devices.host_lock else limit_s


def _variables(inside: Replica, settings: KubernetesSettings, limit_s: int) -> Iterator[Document]:
    """Variables of the engine; the device plugin or driver says which GPUs there are, so the plan's numbers do not."""
    for name, value in {**environment(inside), START_LIMIT: str(limit_s)}.items():
        if name != "CUDA_VISIBLE_DEVICES":
            yield {"name": name, "value": _unexpanded(value)}
    for name in ("HF_TOKEN", "VLLM_API_KEY"):
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": settings.credentials_secret, "key": name, "optional": True}}}


def _volumes(devices: PodDevices, settings: KubernetesSettings) -> Iterator[Document]:
    yield {"name": "start", "configMap": {"name": START_FILES, "defaultMode": 0o555}}
    # Engines of several processes talk through shared memory; the 64 MiB that containers get are too little.
    yield {"name": "shared-memory", "emptyDir": {"medium": "Memory"}}
    # Without a claim the cache lives as long as the Pod: a container that is started again goes on with its download.
    claim = {"persistentVolumeClaim": {"claimName": settings.cache_claim}} if settings.cache_claim else {"emptyDir": {}}
    yield {"name": "cache", **claim}
    if settings.models_claim:
        yield {"name": "models", "persistentVolumeClaim": {"claimName": settings.models_claim, "readOnly": True}}
    if devices.host_lock:
        yield {"name": "turns", "hostPath": {"path": "/run/ullage", "type": "DirectoryOrCreate"}}


def _mounts(devices: PodDevices, settings: KubernetesSettings) -> Iterator[Document]:
    yield {"name": "start", "mountPath": "/etc/ullage", "readOnly": True}
    yield {"name": "shared-memory", "mountPath": "/dev/shm"}  # noqa: S108 -- a mount, not a temporary file
    yield {"name": "cache", "mountPath": "/root/.cache/huggingface"}
    if settings.models_claim:
        yield {"name": "models", "mountPath": settings.models_path, "readOnly": True}
    if devices.host_lock:
        yield {"name": "turns", "mountPath": "/run/ullage"}
