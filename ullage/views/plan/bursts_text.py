"""The playbook of a plan as text: what a burst of each workload needs, and whom it costs what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from planner.plan import Burst, BurstStep, Desired


def burst_lines(desired: Desired) -> Iterator[str]:
    """One line per workload and factor; one for all factors that a workload bears without harm to anybody."""
    goal_fraction = desired.risk.attainment_fraction
    if desired.playbook:
        lasts = sorted({item.lasts_s for item in desired.playbook})
        long = f"{lasts[0]:.0f}" if len(lasts) == 1 else f"{lasts[0]:.0f} to {lasts[-1]:.0f}"
        yield f"Bursts of one workload, of {long} s (policy.bursts; its goals count as kept with {goal_fraction * 100:g}%)"
    for workload, group in groupby(desired.playbook, key=lambda item: item.workload):
        items = list(group)
        quiet = [item for item in items if item.attainment_fraction >= goal_fraction and not item.late_rps]
        if quiet:
            yield f"  {workload} {', '.join(f'x{item.load_factor:g}' for item in quiet)}: absorbed as it is"
        yield from (f"  {burst_line(item, goal_fraction)}" for item in items if item not in quiet)


def burst_line(item: Burst, goal_fraction: float) -> str:
    """What it keeps as it is, whom it takes to keep more, and who is late then."""
    name = f"{item.workload} x{item.load_factor:g}"
    late = late_words(item.last_late_rps)
    if item.attainment_fraction >= goal_fraction:
        return f"{name}: absorbed as it is{late}"
    done = ", then ".join(step_words(step) for step in item.steps)
    if not item.steps:
        done = "no step that is allowed helps"
    end = f"keeps {item.attainment_fraction:.1%}; {done}"
    if item.steps:
        end += f": {item.last_fraction:.1%}"
    if item.last_fraction < goal_fraction:
        end += f"; NOT absorbed, {'at most' if item.kept_load_factor else 'not even'} x{item.kept_load_factor or 1:g} is"
    return f"{name}: {end}{late}"


def step_words(step: BurstStep) -> str:
    """Who is refused, sleeps, stops or wakes, what that costs and how long it takes."""
    match step.kind:
        case "throttle":
            return f"refuse {step.workload} ({step.refused_rps:.3g} requests/s, takes {step.takes_s:.0f} s)"
        case "sleep":
            return f"put {step.replica} to sleep (level {step.level}, takes {step.takes_s:.0f} s)"
        case _:
            return f"{step.kind} {step.replica} (takes {step.takes_s:.0f} s)"


def late_words(late_rps: Mapping[str, float]) -> str:
    """Who is late meanwhile; empty where nobody is."""
    if not late_rps:
        return ""
    return f"; late meanwhile: {', '.join(f'{rate_rps:.2g} requests/s of {name}' for name, rate_rps in sorted(late_rps.items()))}"


def step_lines(steps: Sequence[BurstStep]) -> Iterator[str]:
    """Each step in full, numbered from 1."""
    for number, step in enumerate(steps, start=1):
        yield f"  {number}. {step_words(step)}: keeps {step.attainment_fraction:.1%} then{late_words(step.late_rps)}"
        for freed in step.frees:
            memory = f"{freed.memory_mib} MiB, " if freed.memory_mib else ""
            yield f"     frees {memory}{freed.rate_rps:.3g} requests/s and {freed.busy_fraction:.0%} of the time of {freed.replica}"
        if step.memory_mib:
            yield f"     takes {step.memory_mib} MiB more of its GPU than asleep"
