"""The playbook of a plan: what to do when a workload suddenly gets a multiple of its planned load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from planner.plan.bounds import Fraction, PerSecond, PlanPart, Seconds

BurstFactor = Annotated[float, Field(gt=1, le=100)]


class FreedShare(PlanPart):
    """What a replica no longer gets when a workload is refused: requests/s, and the part of time that it was busy with them."""

    replica: str
    rate_rps: PerSecond
    busy_fraction: Fraction


class BurstStep(PlanPart):
    """Refuse all requests of a less urgent workload, which gives its part of the GPUs to the one with the burst.

    It takes takes_s until those of its requests that run have ended. refused_rps is what its clients lose. attainment_fraction is what the
    workload with the burst keeps of its goals once this step and those before it are done; late_rps are at most so many requests/s of
    others, by workload, that miss their goals then, of those that keep fewer of them than the plan promises.
    """

    kind: Literal["throttle"] = "throttle"
    workload: str
    frees: tuple[FreedShare, ...]
    takes_s: Seconds
    refused_rps: PerSecond
    attainment_fraction: Fraction
    late_rps: dict[str, PerSecond]


class Burst(PlanPart):
    """A workload with load_factor times its planned load: what it keeps of its goals as it is, and the steps, in order, that help it.

    It lasts lasts_s: a longer one may be worse. kept_load_factor is the largest multiple, of those tried, with which it keeps its goals
    once all who are less urgent are refused; 0 if none.
    """

    workload: str
    load_factor: BurstFactor
    lasts_s: Seconds
    attainment_fraction: Fraction
    late_rps: dict[str, PerSecond]
    steps: tuple[BurstStep, ...] = ()
    kept_load_factor: Annotated[float, Field(ge=0, le=100)]

    @property
    def last_fraction(self) -> float:
        """What it keeps of its goals when all steps are done."""
        return self.steps[-1].attainment_fraction if self.steps else self.attainment_fraction

    @property
    def last_late_rps(self) -> dict[str, float]:
        """Whose requests are late when all steps are done."""
        return self.steps[-1].late_rps if self.steps else self.late_rps
