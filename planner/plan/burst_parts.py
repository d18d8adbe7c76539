"""The playbook of a plan: what to do when a workload suddenly gets a multiple of its planned load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from planner.plan.bounds import Fraction, Mib, PerSecond, PlanPart, Seconds
from planner.plan.sleepers import SleepLevel

BurstFactor = Annotated[float, Field(gt=1, le=100)]


class FreedShare(PlanPart):
    """What a replica gives up in a step: requests/s, the part of time that it was busy with them, and memory of each of its GPUs."""

    replica: str
    rate_rps: PerSecond
    busy_fraction: Fraction
    memory_mib: Mib = Field(default=0, exclude_if=lambda mib: not mib)


class BurstStep(PlanPart):
    """One thing to do for the workload with the burst; it takes takes_s until it helps.

    throttle: refuse all requests of `workload`, which is less urgent and gives its part of the GPUs; refused_rps is what its clients lose.
    sleep, at `level`, and stop: a replica gives its memory; what it was still asked for goes to others of its model, and frees says what
    those before did not take from it. wake: a replica of the own model that sleeps in the plan takes memory_mib of each of its GPUs.

    attainment_fraction is what the workload with the burst keeps of its goals once this step and those before it are done; late_rps are at
    most so many requests/s of others, by workload, that miss their goals then, of those that keep fewer of them than the plan promises.
    Documents in which all steps throttle have none of the other fields.
    """

    kind: Literal["throttle", "sleep", "stop", "wake"] = "throttle"
    workload: str = Field(default="", exclude_if=lambda name: not name)
    replica: str = Field(default="", exclude_if=lambda name: not name)
    level: SleepLevel | None = Field(default=None, exclude_if=lambda level: level is None)
    memory_mib: Mib = Field(default=0, exclude_if=lambda mib: not mib)
    frees: tuple[FreedShare, ...]
    takes_s: Seconds
    refused_rps: PerSecond
    attainment_fraction: Fraction
    late_rps: dict[str, PerSecond]

    @property
    def refuses(self) -> tuple[str, ...]:
        """The workload that it refuses, if it does."""
        return (self.workload,) if self.kind == "throttle" else ()


class Burst(PlanPart):
    """A workload with load_factor times its planned load: what it keeps of its goals as it is, and the steps, in order, that help it.

    It lasts lasts_s: a longer one may be worse. kept_load_factor is the largest multiple, of those tried, with which it keeps its goals
    once all who are less urgent are refused, and with the replicas that the steps wake; 0 if none.
    """

    workload: str
    load_factor: BurstFactor
    lasts_s: Seconds
    attainment_fraction: Fraction
    late_rps: dict[str, PerSecond]
    steps: tuple[BurstStep, ...] = ()
    kept_load_factor: Annotated[float, Field(ge=0, le=100)]

    @property
    def refused(self) -> frozenset[str]:
        """Workloads that are refused when all steps are done."""
        return frozenset(name for step in self.steps for name in step.refuses)

    @property
    def last_fraction(self) -> float:
        """What it keeps of its goals when all steps are done."""
        return self.steps[-1].attainment_fraction if self.steps else self.attainment_fraction

    @property
    def last_late_rps(self) -> dict[str, float]:
        """Whose requests are late when all steps are done."""
        return self.steps[-1].late_rps if self.steps else self.late_rps
