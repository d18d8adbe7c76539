"""Which nodes of a plan are one machine: a host may be a node of several pools that divide its GPUs."""

from __future__ import annotations

from planner.hosts import address_of, is_loopback
from planner.plan import Desired


def machine_names(desired: Desired) -> dict[str, str]:
    """The machine of each node, by names of nodes: its address; the node itself where it is emulated on this machine."""
    return {node.name: node.name if is_loopback(node.host) else address_of(node.host) for node in desired.nodes}
