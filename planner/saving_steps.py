"""The saving of a plan step by step: whole GPUs for each model, then none while it sleeps, then simple sharing, then the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.plan import Desired, ModelReasons, PlannedWindow, Way

# Baselines as the certificate names them.
EXCLUSIVE, FIRST_FIT = "exclusive", "first-fit-decreasing"

_DAY_S, _WEEK_S = 86_400.0, 604_800.0


@dataclass(frozen=True, slots=True)
class SavingStep:
    """One way of serving the demand, what it costs, how much it leaves unserved, and what a reader should know of it."""

    title: str
    cost_usd_per_h: float
    unserved_rps: float
    note: str = ""


def saving_steps(desired: Desired) -> tuple[SavingStep, ...]:
    """The steps for which the plan has figures, from the dearest method to the plan itself, which is always the last.

    Exclusive and first-fit sharing are baselines of the certificate. Scale to zero is computed, where there are windows:

        cost = sum over models m of way(m) x on(m)
        on(m) = sum of length(w) over windows w with rate(m, w) > 0, divided by the whole time (a day, a week, or the trace)

    way(m) is the price of the cheapest exclusive way of m in the explanation. It is the mean over time, as if starts took none.
    """
    baselines = desired.certificate.baselines
    steps = []
    if found := baselines.get(EXCLUSIVE):
        note = "" if found.fits else "priced as if the pools were large enough"
        steps.append(SavingStep("Cheapest GPUs that fit, one model on each", found.cost_usd_per_h, found.unserved_rps, note))
    zero_usd_per_h = scale_to_zero_usd_per_h(desired)
    if zero_usd_per_h is not None and found:
        note = "mean over the windows, as if starts took no time; computed from the prices of each model alone"
        steps.append(SavingStep("Scale to zero: paid only in windows with requests", zero_usd_per_h, found.unserved_rps, note))
    if found := baselines.get(FIRST_FIT):
        note = "" if found.fits else "priced as if the pools were large enough"
        steps.append(SavingStep("First-fit sharing", found.cost_usd_per_h, found.unserved_rps, note))
    unserved_rps = sum(workload.unserved_rps for workload in desired.workloads)
    return (*steps, SavingStep("This plan", desired.cost_usd_per_h, unserved_rps))


def scale_to_zero_usd_per_h(desired: Desired) -> float | None:
    """The mean price of every model alone on its cheapest GPUs while it has requests.

    None without windows or such a way for each, and where a window stands for others: the plan does not say how long those are.
    """
    if not desired.windows or desired.explanation is None or any(window.stands_for > 1 for window in desired.windows):
        return None
    total_usd_per_h = 0.0
    for model in desired.explanation.models:
        way = cheapest_exclusive_way(model)
        if way is None:
            return None
        total_usd_per_h += way.usd_per_h * time_on_fraction(desired.windows, model.served_name)
    return total_usd_per_h


def cheapest_exclusive_way(model: ModelReasons) -> Way | None:
    """The cheapest of the ways in which a model has its GPUs for itself."""
    return min((way for way in model.ways if way.mode == "exclusive"), key=lambda way: way.usd_per_h, default=None)


def time_on_fraction(windows: Sequence[PlannedWindow], served_name: str) -> float:
    """The part of the time in which a model has requests; between windows nobody has any.

    The time is a day or, where windows go on for longer, a week; for traces it ends with the last window.
    """
    end_s = max(window.end_s for window in windows)
    clock = all(window.timeline == "clock" for window in windows)
    all_s = next((length_s for length_s in (_DAY_S, _WEEK_S) if end_s <= length_s), end_s) if clock else end_s
    on_s = sum(window.end_s - window.start_s for window in windows if window.rates_rps.get(served_name, 0.0) > 0)
    return on_s / all_s if all_s > 0 else 1.0
