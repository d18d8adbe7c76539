"""policy.disruption_budget and policy.rollout as people write them."""

from __future__ import annotations

from pydantic import Field

from planner.spec.clock import stretches_of
from planner.spec.field_types import Count, Days, Hours, Moment, Name, Number
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


class DeclaredRollout(Declared):
    """How changed replicas are let in."""

    canary_fraction: Number = Field(
        0.1,
        alias="canary",
        ge=0.001,
        le=1,
        description="Part of a model's requests that its changed replicas get while they are watched, as long as others serve it.",
    )
    window_s: Moment = Field(
        0.0,
        alias="window",
        description="How long changed replicas are watched. If one dies, hangs or keeps its goals less often than the others, the change "
        "is taken back. Default: 0s, they are let in at once.",
        examples=["5min"],
        json_schema_extra={"default": "0s"},
    )
