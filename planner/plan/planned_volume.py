"""When a volume of requests is worked on, so that it is done by its deadline."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.plan.bounds import PerSecond, PlanPart, Seconds

# A billion requests a day are a hundred times more than the largest services have.
Requests = Annotated[float, Field(ge=0, le=1e9)]


class VolumeWindow(PlanPart):
    """A rate at which a volume is worked on, from start_s to end_s."""

    start_s: Seconds
    end_s: Seconds
    rate_rps: PerSecond


class PlannedVolume(PlanPart):
    """A workload of so many requests every every_s (a day or a week), and when they are worked on.

    Times count from midnight UTC, Monday's for a week: released_s is when work may begin, deadline_s when it must be done, and done_s when
    the planned work ends; both may lie beyond the day or week. windows are what is planned, of a day or a week, and repeat after cycle_s.
    missed_requests of them are not done in those windows, for what the replicas can carry beside the other workloads of their model.
    """

    requests: Requests
    every_s: Seconds
    released_s: Seconds
    deadline_s: Seconds
    done_s: Seconds
    cycle_s: Seconds
    windows: tuple[VolumeWindow, ...]
    missed_requests: Requests = 0.0
