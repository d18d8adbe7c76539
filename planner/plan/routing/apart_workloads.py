"""Workloads that have replicas of their own although they ask for a model that others share: the router's rule, and why."""

from __future__ import annotations

from planner.plan.bounds import Money, PerSecond, PlanPart, WholeNumber


class WorkloadRoute(PlanPart):
    """Requests for a model that name this workload go to the route of served_name, whose engines answer to the model's name too."""

    workload: str
    model: str
    served_name: str


class ApartWorkloads(PlanPart):
    """Workloads of one priority of a model with replicas of their own, called served_name, and why.

    shared_usd_per_h and apart_usd_per_h are costs of the whole fleet with all workloads of the model on shared replicas and with these
    apart, as the quick engine finds them (in a verified plan: as simulation confirms them), and the lost rates those of all workloads that
    have no replica or are late beyond what the goal allows.
    """

    model: str
    priority: WholeNumber
    workloads: tuple[str, ...]
    served_name: str
    shared_usd_per_h: Money
    shared_lost_rps: PerSecond
    apart_usd_per_h: Money
    apart_lost_rps: PerSecond
    reason: str
