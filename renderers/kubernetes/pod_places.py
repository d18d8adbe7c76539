"""Where Pods may run: on the planned node, or anywhere in the pool with the planned spread where that cannot go wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from planner.plan import Desired, Replica
from renderers.kubernetes.kube_names import MODEL, POOL, dns_label
from renderers.kubernetes.kube_settings import KubernetesSettings
from renderers.yaml_document import Document


def pod_place(replica: Replica, desired: Desired, settings: KubernetesSettings) -> Document:
    """Node selector, and where Pods are only spread the rule that keeps replicas of a model apart as the plan does."""
    if settings.placement == "node":
        return {"nodeSelector": {settings.node_label: dns_label(replica.node)}}
    place: Document = {"nodeSelector": {POOL: dns_label(replica.pool)}}
    alike = [each for each in desired.replicas if each.served_name == replica.served_name and each.pool == replica.pool]
    if len(alike) < 2 or len({each.node for each in alike}) < len(alike):
        return place
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {MODEL: dns_label(replica.served_name)}}}
    # At any price could leave one without a place: others may have taken the room of the node that it was kept for.
    rule: Document = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return {**place, "affinity": {"podAntiAffinity": rule}}


def lacking_spread(desired: Desired, settings: KubernetesSettings) -> Iterator[str]:
    """Pools in which some way to place the Pods could leave one without room, so that they need their planned nodes."""
    if settings.placement == "node":
        return
    sizes: defaultdict[str, set[int]] = defaultdict(set)
    for replica in desired.replicas:
        sizes[replica.pool].add(len(replica.gpus))
    replicas = Counter(replica.served_name for replica in desired.replicas)
    apart = {model.served_name for model in desired.rules.models if model.spread_nodes and replicas[model.served_name] > 1}
    for pool in sorted(sizes):
        nodes = [node for node in desired.nodes if node.pool == pool]
        divided = [gpu for gpu in desired.gpus if gpu.pool == pool and gpu.mig_layout]
        counts = sorted({node.gpu_count for node in nodes})
        reason = None
        together = sorted({each.served_name for each in desired.replicas if each.pool == pool} & apart)
        if together:
            reason = (
                f"replicas of {together[0]} are on different machines (spread: nodes), and others may leave one of them no such machine"
            )
        elif divided:
            reason = f"GPU {divided[0].index} of {divided[0].node} is divided by MIG, and not every node is divided alike"
        elif len(counts) > 1:
            reason = f"its nodes have {' and '.join(map(str, counts))} GPUs"
        elif len(sizes[pool]) > 1:
            taken = " and ".join(map(str, sorted(sizes[pool])))
            reason = f"its replicas take {taken} GPUs, and small ones may leave no node free for a large one"
        elif counts and counts[0] % next(iter(sizes[pool])):
            reason = f"its nodes have {counts[0]} GPUs, which replicas of {next(iter(sizes[pool]))} do not fill"
        if reason:
            yield f"pools.{pool}: {reason}; use --set placement=node"
