"""What the loss of a node does: who lives on it, how much it carries, and whose goals break without it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from planner.plan import Desired, Replica
from ullage.views.html.markup import Markup, element, listed_items
from ullage.views.html.table_markup import html_table
from ullage.views.plan.plan_text import node_loss_lines


def node_section(desired: Desired) -> Iterator[Markup]:
    """What is promised for the loss of nodes, and each node with replicas on it."""
    promised = [line.strip() for line in node_loss_lines(desired)]
    if promised:
        yield listed_items(promised)
    else:
        yield element("p", "No workload asks to survive the loss of a node (tolerate_nodes).")
    living: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in desired.replicas:
        living[replica.node].append(replica)
    broken: defaultdict[str, set[str]] = defaultdict(set)
    for workload in desired.workloads:
        for node in workload.breaking.nodes if workload.breaking else ():
            broken[node].add(workload.name)
    used = Counter(gpu.node for gpu in desired.gpus if gpu.replicas)
    rows = [
        [
            node.name,
            f"{used[node.name]} of {node.gpu_count}",
            f"{sum(replica.planned_rps for replica in living[node.name]):.2f}",
            _names([replica.name for replica in living[node.name]]),
            _names(sorted(broken[node.name])),
        ]
        for node in desired.nodes
        if living[node.name]
    ]
    if rows:
        heads = ("node", "GPUs in use", "planned requests/s", "replicas", "workloads whose goals break without it")
        yield html_table("Nodes with replicas", heads, rows, numbers=(2,))


def _names(names: list[str]) -> str:
    """A list that opens where it is long."""
    words = ", ".join(names) or "none"
    if len(names) <= 8:
        return words
    return element("details", element("summary", f"{len(names)}: {', '.join(names[:3])} …"), words)
