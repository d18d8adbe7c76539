"""How a Pod gets exactly the GPUs that the plan gives to its replica (docs/decisions/0017-gpus-on-kubernetes.md).

DRA: a GPU alone or for tensor parallelism is a claim template, a MIG instance one with its profile; a GPU that replicas share is one
ResourceClaim that all their Pods name, and so who shares with whom is the plan's. Device plugin: resources by name; it cannot say who
shares with whom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from planner.plan import Desired, Replica, is_shared
from renderers.kubernetes.kube_names import dns_label
from renderers.kubernetes.kube_settings import GpuAccess
from renderers.needs import Need, with_company
from renderers.yaml_document import Document

_DRA = {"apiVersion": "resource.k8s.io/v1"}
_CLAIM = "gpu"


@dataclass(frozen=True, slots=True)
class PodDevices:
    """What the Pod of a replica says of its GPUs, and the claim template that goes with it (None: none)."""

    resources: Document
    claims: tuple[Document, ...] = ()
    template: Document | None = None
    host_lock: str | None = field(default=None)
    """Name of the lock under which Pods that share a GPU start one after another; None where nobody shares."""


def pod_devices(replica: Replica, devices: GpuAccess, company: bool) -> PodDevices:
    """The GPUs of a replica that shares one with others now (company) or does not; call `lacking_devices` before.

    With DRA one that may share has the shared claim although it is alone: when others come, it stays as it is.
    """
    shared = shared_claim(replica)
    if devices == "device-plugin":
        limits = {_resource(replica, company): len(replica.gpus) if replica.mig is None else 1}
        return PodDevices({"limits": limits}, host_lock=shared if company else None)
    resources: Document = {"claims": [{"name": _CLAIM}]}
    if shared:
        return PodDevices(resources, ({"name": _CLAIM, "resourceClaimName": shared},), host_lock=shared)
    # What a template asks for cannot be changed, so another request is a template of another name.
    name = dns_label(f"{dns_label(replica.name)}-{_asked(replica)}")
    template: Document = {
        **_DRA,
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name},
        "spec": {"spec": {"devices": {"requests": [_request(replica)]}}},
    }
    return PodDevices(resources, ({"name": _CLAIM, "resourceClaimTemplateName": name},), template)


def _asked(replica: Replica) -> str:
    return f"gpu-{len(replica.gpus)}" if replica.mig is None else f"mig-{replica.mig.profile.replace('.', '-').replace('+', '-')}"


def shared_claim(replica: Replica) -> str | None:
    """Name of the claim of the GPU that a replica shares; None where it shares none."""
    return dns_label(f"{replica.node}-gpu-{replica.gpus[0]}") if is_shared(replica.mode) else None


def shared_claims(desired: Desired) -> Iterator[Document]:
    """One ResourceClaim for every GPU that replicas share, in the order of their names."""
    for name in sorted({name for replica in desired.replicas if (name := shared_claim(replica))}):
        yield {**_DRA, "kind": "ResourceClaim", "metadata": {"name": name}, "spec": {"devices": {"requests": [_whole(1)]}}}


def device_plugin_config(desired: Desired) -> Document | None:
    """What NVIDIA's device plugin must be told to share GPUs, None where nobody shares: as many shares as the most sharers of one GPU."""
    company = with_company(desired)
    sharers = Counter(shared_claim(replica) for replica in desired.replicas if replica.name in company)
    if not sharers:
        return None
    shares = {"name": "nvidia.com/gpu", "replicas": max(sharers.values())}
    return {"version": "v1", "sharing": {"timeSlicing": {"renameByDefault": True, "resources": [shares]}}}


def _whole(count: int) -> Document:
    return {"name": _CLAIM, "exactly": {"deviceClassName": "gpu.nvidia.com", "count": count}}


def _request(replica: Replica) -> Document:
    if replica.mig is None:
        return _whole(len(replica.gpus))
    # The attribute's name is the NVIDIA driver's.
    is_profile = f"device.attributes['gpu.nvidia.com'].profile == '{replica.mig.profile}'"
    return {"name": _CLAIM, "exactly": {"deviceClassName": "mig.nvidia.com", "selectors": [{"cel": {"expression": is_profile}}]}}


def _resource(replica: Replica, company: bool) -> str:
    if replica.mig is not None:
        # The device plugin's names under its strategy `mixed`; + is no character of a resource's name.
        return f"nvidia.com/mig-{replica.mig.profile.replace('+', '.')}"
    return "nvidia.com/gpu.shared" if company else "nvidia.com/gpu"


def _unrequestable(desired: Desired) -> Iterator[str]:
    gpu_types = {node.name: node.gpu_type for node in desired.nodes}
    for node in sorted({replica.node for replica in desired.replicas}):
        if gpu_types.get(node, "").upper().startswith("CPU"):
            yield f"nodes.{node}.gpu_type: {gpu_types[node]!r} is no GPU that a Pod can ask Kubernetes for"


def _taken(desired: Desired) -> Iterator[str]:
    for gpu in desired.gpus:
        if gpu.taken_mib:
            where = f"gpus.{gpu.node}/{gpu.index}.taken_mib"
            yield f"{where}: others hold {gpu.taken_mib} MiB of it, and Kubernetes does not choose a GPU by number"


REQUESTABLE = Need(_unrequestable, "plan with GPUs of NVIDIA, or choose another target")
NOTHING_TAKEN = Need(_taken, "move those others into the cluster or take `taken` out of the pool, and plan again")


def lacking_devices(desired: Desired, devices: GpuAccess) -> Iterator[str]:
    """What the device plugin cannot express: who shares a GPU with whom, where a node has more than one."""
    counts = {node.name: node.gpu_count for node in desired.nodes}
    company = with_company(desired) if devices == "device-plugin" else frozenset()
    for replica in desired.replicas:
        if replica.name in company and counts[replica.node] > 1:
            yield (
                f"replicas.{replica.name}.mode: it shares GPU {replica.gpus[0]} of {replica.node}, which has {counts[replica.node]} GPUs, "
                "and the device plugin does not let a Pod say with whom it shares; use --set devices=dra, or take time_shared out of the "
                "pool's `sharing`"
            )
