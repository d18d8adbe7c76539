"""How far the forecasts of workloads are from their goals, in ms and per cent."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan import Desired, WorkloadForecast
from ullage.views.plan.markdown_text import Markdown, bold, escaped, name_code


def left_fraction(workload: WorkloadForecast) -> float:
    """The part of the tightest goal that the forecast leaves; below 0 it is missed. 0 where nothing serves the workload."""
    pairs = ((workload.ttft_s, workload.ttft_slo_s), (workload.tpot_s, workload.tpot_slo_s))
    if workload.ttft_s is None:
        return 0.0
    return min(1 - is_s / goal_s for is_s, goal_s in pairs if is_s is not None and goal_s)


def margin_heads(desired: Desired) -> tuple[str, ...]:
    """Heads of the columns of `margin_cells`."""
    percent = f"p{desired.risk.attainment_fraction * 100:g}"
    return (
        "workload",
        "served by",
        "requests/s",
        f"TTFT {percent} / goal",
        "left",
        f"TPOT {percent} / goal",
        "left",
        "bears",
        "unserved/s",
    )


def margin_cells(workload: WorkloadForecast) -> Sequence[str]:
    """Forecast, goal and what is left of it."""
    return (
        name_code(workload.name),
        name_code(workload.served_name),
        f"{workload.rate_rps:.2f}",
        *_pair(workload.ttft_s, workload.ttft_slo_s),
        *_pair(workload.tpot_s, workload.tpot_slo_s),
        "-" if workload.kept_load_factor is None else f"x{workload.kept_load_factor:g}",
        bold(f"{workload.unserved_rps:.2f}") if workload.unserved_rps else "-",
    )


def _pair(is_s: float | None, goal_s: float | None) -> tuple[str, Markdown]:
    return against(is_s, goal_s), left_words(is_s, goal_s)


def against(is_s: float | None, goal_s: float | None) -> str:
    """Forecast and goal in ms."""
    if goal_s is None:
        return "-"
    return f"{'-' if is_s is None else f'{is_s * 1000:.0f}'} / {goal_s * 1000:.0f} ms"


def left_words(is_s: float | None, goal_s: float | None) -> Markdown:
    """What is left of the goal in per cent; a missed one stands out."""
    if is_s is None or not goal_s:
        return escaped("-")
    left = 1 - is_s / goal_s
    return bold(f"missed by {-left:.0%}") if left < 0 else escaped(f"{left:.0%}")
