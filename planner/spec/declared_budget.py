"""policy.disruption_budget as people write it."""

from __future__ import annotations

from pydantic import Field

from planner.spec.clock import stretches_of
from planner.spec.field_types import Count, Days, Hours, Name
from planner.spec.part import Declared


class DeclaredMaintenance(Declared):
    """Hours in which replicas that serve may be stopped."""

    hours_s: Hours = Field(
        alias="hours", description="Hours of the day, UTC. An end that is not later goes past midnight.", examples=["02:00-06:00"]
    )
    days: Days | None = Field(None, description="Days of the week on which the hours begin. Default: every day.", examples=["sat,sun"])

    @property
    def stretches_s(self) -> list[tuple[float, float]]:
        """Seconds of a day, or since Monday 00:00 where days are named."""
        return stretches_of(self.hours_s, self.days)


class DeclaredBudget(Declared):
    """How much changes may disturb. What has died or hangs is replaced at any time."""

    max_concurrent: Count | None = Field(
        None, description="Largest number of replicas that leave at once, those that are down counted. Default: no limit."
    )
    min_available: dict[Name, Count] = Field(
        default_factory=dict,
        description="Ready replicas that a workload keeps while something is changed, by workload. Default: what `min_replicas` says.",
        examples=[{"chat": 2}],
    )
    protected: tuple[Name, ...] = Field(
        (), description="Workloads whose replicas are stopped by no unattended change. Default: none.", examples=[["chat"]]
    )
    windows: tuple[DeclaredMaintenance, ...] = Field(
        (), max_length=100, description="Maintenance windows: replicas that serve are stopped then only. Default: at any time."
    )
