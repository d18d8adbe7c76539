"""A schedule as text: when which plan holds, what that saves, and what the changes do."""

from __future__ import annotations

from collections.abc import Iterator

from planner.demand.windows import CLOCK
from planner.schedule.timetable import PhaseTime, Schedule, SchedulePhase
from ullage.views.plan.windows_text import DAY_S, DAYS, time_words
from ullage.views.words import MIB_PER_GIB, table


def schedule_text(schedule: Schedule) -> str:
    """The whole schedule, a line per phase and per change."""
    return "\n".join(_lines(schedule)) + "\n"


def _lines(schedule: Schedule) -> Iterator[str]:
    phases = len(schedule.phases)
    if phases == 1:
        yield "One plan at all times: no change in between would pay for itself"
    else:
        yield f"{phases} phases, {schedule.usd_per_h:.2f} USD/h on average ({_saving(schedule)})"
    yield ""
    yield from table(
        [["phase", "when", "GPUs", "nodes", "USD/h", "asleep", "unserved/s"], *(_row(schedule, phase) for phase in schedule.phases)]
    )
    if phases > 1:
        yield ""
        yield "Changes into each phase, from the one before it"
        yield from (f"  {phase.name}: {_change(phase)}" for phase in schedule.phases)
    yield from (f"warning: the change into {phase.name}: {text}" for phase in schedule.phases for text in phase.waits)
    asleep = [line for phase in schedule.phases for line in _sleepers(phase)]
    if asleep:
        yield from ("", "Asleep", *asleep)


def _sleepers(phase: SchedulePhase) -> Iterator[str]:
    for item in phase.sleepers:
        together = f", {item.together_s:.1f} s if all on its machine do" if item.together_s > item.wake_s else ""
        told = "a request may wake it" if item.on_request else f"no request may wake it: {item.why_not}"
        yield f"  {phase.name}: {item.replica} at level {item.level} wakes in {item.wake_s:.1f} s{together}; {told}"


def _saving(schedule: Schedule) -> str:
    often = "in all of the time" if not schedule.repeats else "each day" if schedule.end_s <= DAY_S else "each week"
    switches = f" (starts of nodes for {schedule.switches_usd:.2f} USD {often} are counted)" if schedule.switches_usd else ""
    gpus = "GPU" if schedule.single_gpus == 1 else "GPUs"
    single = f"one plan at all times costs {schedule.single_usd_per_h:.2f} USD/h on {schedule.single_gpus} {gpus}"
    if schedule.single_unserved_rps:
        single += f" and leaves {schedule.single_unserved_rps:.3g} requests/s unserved"
    return f"{single}; the phases save {schedule.saved_fraction:.0%}{switches}"


def _row(schedule: Schedule, phase: SchedulePhase) -> list[str]:
    nodes = ", ".join(f"{name} {count}" for name, count in sorted(phase.nodes.items()) if count)
    return [
        phase.name,
        _when(schedule, phase),
        str(phase.gpus),
        nodes or "-",
        f"{phase.usd_per_h:.2f}",
        str(len(phase.sleepers) or "-"),
        f"{phase.unserved_rps:.2f}" if phase.unserved_rps else "-",
    ]


def _change(phase: SchedulePhase) -> str:
    counts = (("wakes", phase.wakes), ("starts", phase.starts), ("sleeps", phase.sleeps), ("stops", phase.stops))
    moved = ", ".join(f"{name} {count}" for name, count in counts if count)
    if not moved:
        return "nothing starts, stops, sleeps or wakes"
    loads = f", {phase.loads_mib / MIB_PER_GIB:.1f} GiB of weights loaded" if phase.loads_mib else ""
    early = f", begins {phase.lead_s:.0f} s early" if phase.lead_s else ""
    late = "; ".join(f"{name} up to {late_s:.0f} s late" for name, late_s in sorted(phase.late_s.items()))
    return f"{moved}{loads}; at most {phase.change_s:.0f} s{early}{f'; {late}' if late else ''}"


def _when(schedule: Schedule, phase: SchedulePhase) -> str:
    if [(time.start_s, time.end_s) for time in phase.times] == [(0.0, schedule.end_s)]:
        return "always"
    weekly = schedule.end_s > DAY_S
    shown = [_time(time, weekly) if schedule.timeline == CLOCK else f"{time.start_s:.0f}-{time.end_s:.0f} s" for time in phase.times]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _time(time: PhaseTime, weekly: bool) -> str:
    day = f"{DAYS[int(time.start_s // DAY_S) % len(DAYS)]} " if weekly else ""
    until = f"{DAYS[int(time.end_s // DAY_S) % len(DAYS)]} " if weekly and time.end_s - time.start_s > DAY_S else ""
    return f"{day}{time_words(time.start_s % DAY_S)}-{until}{time_words(time.end_s % DAY_S)}"
