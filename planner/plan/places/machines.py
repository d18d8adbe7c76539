"""The machines of a plan."""

from __future__ import annotations

from pydantic import Field

from planner.plan.bounds import Mib, PlanPart, Some


class NodePlan(PlanPart):
    """One machine: its name in the plan, the address its engines listen on, its GPUs, and what its host has for their engines.

    Its GPUs and its memory are divided evenly among its NUMA nodes.
    """

    name: str
    pool: str
    host: str
    gpu_type: str
    gpu_count: Some
    host_cores: Some
    host_memory_mib: Mib
    numa_nodes: Some = Field(default=1, exclude_if=lambda count: count == 1)
