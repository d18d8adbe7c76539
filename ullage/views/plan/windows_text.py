"""The windows in which workloads are planned together, and what that saves."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired, PlannedWindow
from ullage.plugins import PEAKS

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOUR_S, DAY_S = 3600, 86_400


def window_lines(desired: Desired) -> Iterator[str]:
    """One line per window with the rate of all models together; nothing where all demand is constant."""
    if not desired.windows:
        return
    names = sorted({name for window in desired.windows for name in window.rates_rps})
    peaks_rps = sum(max(window.rates_rps.get(name, 0.0) for window in desired.windows) for name in names)
    yield f"Windows planned together (peaks of all models added up: {peaks_rps:.2f} requests/s)"
    weekly = any(window.start_s >= DAY_S for window in desired.windows)
    for window in desired.windows:
        more = f", and for {window.stands_for - 1} that ask for no more" if window.stands_for > 1 else ""
        yield f"  {_when(window, weekly)}  {sum(window.rates_rps.values()):.2f} requests/s{more}"
    peaks = desired.certificate.baselines.get(PEAKS)
    if peaks is not None:
        gpus, usd_per_h = peaks.gpus - desired.gpus_used, peaks.cost_usd_per_h - desired.cost_usd_per_h
        yield f"  planning them together saves {gpus} {'GPU' if gpus == 1 else 'GPUs'} ({usd_per_h:.2f} USD/h) against the sum of peaks"


def _when(window: PlannedWindow, weekly: bool) -> str:
    if window.timeline != "clock":
        return f"{window.start_s:.0f}-{window.end_s:.0f} s of {window.timeline}"
    day = f"{DAYS[int(window.start_s // DAY_S) % len(DAYS)]} " if weekly else ""
    return f"{day}{time_words(window.start_s % DAY_S)}-{time_words(window.end_s % DAY_S or DAY_S)}"


def time_words(second_s: float) -> str:
    """A time of the day."""
    return f"{int(second_s // _HOUR_S):02}:{int(second_s % _HOUR_S // 60):02}"
