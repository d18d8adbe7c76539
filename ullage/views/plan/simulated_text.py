"""What a plan's own simulation says of its promises."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Attainment, Desired
from planner.verification.plan_judge import KEPT_LOAD_FACTORS, falls_short, keeps


def simulated_lines(desired: Desired) -> Iterator[str]:
    """Per stress what the worst model keeps, and every model that falls short; nothing where nobody asked for a simulation."""
    found = {row.served_name: row.simulated for row in desired.workloads if row.simulated}
    if not found:
        return
    goal = f"{desired.risk.attainment_fraction * 100:g} %"
    short = sorted(name for name, items in found.items() if falls_short(items, desired.risk.attainment_fraction))
    unsure = sorted(name for name, items in found.items() if name not in short and not keeps(items, desired.risk.attainment_fraction))
    verdict = f"NOT CONFIRMED for {', '.join(short)}" if short else f"not sure for {', '.join(unsure)}" if unsure else "confirmed"
    yield f"Simulated, each GPU with its planned load: {verdict} (goals met by {goal} of the requests of each model)"
    for stress in dict.fromkeys(item.stress for items in found.values() for item in items):
        rows = {name: item for name, items in found.items() for item in items if item.stress == stress}
        worst = min(rows, key=lambda name: (rows[name].fraction, name))
        yield f"  {stress}: at least {_shown(rows[worst])} ({worst})"
    factors = {row.served_name: row.kept_load_factor for row in desired.workloads if row.kept_load_factor is not None}
    if factors:
        tightest = min(factors, key=lambda name: (factors[name], name))
        yield f"  margin: {_margin(tightest, factors[tightest])}"
    effort = sorted(row.name for row in desired.workloads if row.best_effort)
    if effort:
        yield f"  best effort: {', '.join(effort)} (the simulation denies that they keep their goals)"
    for name in short:
        for item in found[name]:
            if falls_short([item], desired.risk.attainment_fraction):
                yield f"  {name} falls short under {item.stress}: {_shown(item)}; relax its slo, lower its demand or add nodes"


def _margin(name: str, kept_load_factor: float) -> str:
    """What is known of the load at which the first model breaks."""
    if kept_load_factor >= KEPT_LOAD_FACTORS[-1]:
        return f"every model keeps its goals with {kept_load_factor:g} times the load"
    return f"{name} breaks first, {breaks_where(kept_load_factor)}"


def breaks_where(kept_load_factor: float) -> str:
    """The load at which a model breaks that keeps its goals with this multiple of it, and not with the next that was tried."""
    above = [factor for factor in KEPT_LOAD_FACTORS if factor > kept_load_factor]
    if not above:
        return f"above {kept_load_factor:g} times the load"
    if not kept_load_factor:
        return f"with less than {above[0]:g} times the load"
    return f"between {kept_load_factor:g} and {above[0]:g} times the load"


def _shown(item: Attainment) -> str:
    return f"{item.fraction:.2%} [{item.low_fraction:.2%}, {item.high_fraction:.2%}] of {item.requests} requests"
