"""The schedule: which plan holds when, what that saves, and what the changes between them cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from planner.plan import SleepLevel
from planner.plan.bounds import Money, PerSecond, PlanPart, Seconds, WholeNumber

# The schedule's own file in its folder.
SCHEDULE_FILE = "schedule.json"


class PhaseTime(PlanPart):
    """A stretch of the schedule's time in which a phase holds."""

    start_s: Seconds
    end_s: Seconds


class PhaseSleeper(PlanPart):
    """A replica that sleeps in a phase. It is back after wake_s, or after together_s if all sleepers of its machine wake at once.

    on_request: a request that nobody expected may wake it, because nobody serves its model then, all of its memory is free, and the wake
    fits into slack_s, what the tightest TTFT goal of its model leaves; why_not says what is against it. The router asks for that.
    """

    replica: str
    level: SleepLevel
    wake_s: Seconds
    together_s: Seconds
    slack_s: Seconds
    on_request: bool
    why_not: str = ""


class SchedulePhase(PlanPart):
    """A plan that holds at some times: its file in the schedule's folder, and the SHA-256 of what it desires.

    nodes are those in use by pool; sleepers are its replicas that are asleep. The change from the phase before it takes change_s at most.
    It begins lead_s before the phase does, as far as it only adds to what is there, and late_s is for how long a model that the phase asks
    for has no ready replica all the same. loads_mib are the weights that it loads, and starts, wakes, sleeps and stops count its actions.
    waits says what of it the disruption budget keeps from happening in time.
    """

    name: str
    plan: str
    desired_sha256: str
    times: Annotated[tuple[PhaseTime, ...], Field(min_length=1)]
    usd_per_h: Money
    gpus: WholeNumber
    nodes: dict[str, WholeNumber]
    unserved_rps: PerSecond
    sleepers: tuple[PhaseSleeper, ...]
    lead_s: Seconds
    change_s: Seconds
    late_s: dict[str, Seconds]
    loads_mib: WholeNumber
    starts: WholeNumber
    wakes: WholeNumber
    sleeps: WholeNumber
    stops: WholeNumber
    waits: tuple[str, ...] = Field(default=(), exclude_if=lambda waits: not waits)


class Schedule(PlanPart):
    """Phases by the time at which they first begin, over end_s of a timeline; repeats: after the end it begins anew.

    usd_per_h is the mean cost, switches counted; switches_usd what these cost in all of the time; single_usd_per_h what the one plan costs
    that holds at all times, of the same engine and of the same confidence, single_gpus its GPUs and single_unserved_rps what it leaves
    unserved.
    """

    schema_version: Literal[1] = 1
    timeline: str
    end_s: Seconds
    repeats: bool
    phases: Annotated[tuple[SchedulePhase, ...], Field(min_length=1)]
    usd_per_h: Money
    switches_usd: Money
    single_usd_per_h: Money
    single_gpus: WholeNumber
    single_unserved_rps: PerSecond = Field(default=0.0, exclude_if=lambda rps: not rps)
    changes: WholeNumber

    @property
    def saved_fraction(self) -> float:
        """The part of the one plan's cost that the schedule saves."""
        return 1.0 - self.usd_per_h / self.single_usd_per_h if self.single_usd_per_h else 0.0

    def at(self, time_s: float) -> SchedulePhase:
        """The phase that holds at a time of the timeline, or towards which the change has begun.

        Before the first and after the last of a time that does not repeat itself the nearest one holds.
        """
        now_s = time_s % self.end_s if self.repeats else min(max(time_s, 0.0), self.end_s)
        for phase in self.phases:
            for time in phase.times:
                ahead_s = (time.start_s - now_s) % self.end_s if self.repeats else time.start_s - now_s
                if 0.0 < ahead_s <= phase.lead_s:
                    return phase
        for phase in self.phases:
            if any(time.start_s <= now_s < time.end_s for time in phase.times):
                return phase
        return max(self.phases, key=lambda phase: max(time.end_s for time in phase.times))
