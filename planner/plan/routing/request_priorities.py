"""Priorities of the requests of workloads that share replicas: the engines take the most urgent ones first."""

from __future__ import annotations

from planner.plan.bounds import PlanPart, WholeNumber

# A request says in this header which workload it belongs to.
WORKLOAD_HEADER = "x-ullage-workload"


class RequestPriority(PlanPart):
    """vLLM's `priority` of the requests of a workload for a model: those with a smaller one go first, 0 is the most urgent.

    Engines take it from the request's body and refuse it unless they run with --scheduling-policy priority.
    """

    workload: str
    model: str
    priority: WholeNumber
