"""Workloads with what the plan expects of them against their goals, in numbers and as small bars."""

from __future__ import annotations

from planner.plan import Attainment, Desired, WorkloadForecast
from ullage.views.html.markup import Markup, element, joined
from ullage.views.html.number_words import milliseconds_words, percent_words
from ullage.views.html.table_markup import html_table

# The scale of attainment begins here, or lower where something is: what is good lies close to 100 %.
_LEAST_SHOWN_FRACTION = 0.9


def slo_table(desired: Desired) -> Markup:
    """One row for each workload: rate, TTFT, TPOT, and the attainment under the worst stress that was simulated."""
    percent = f"p{desired.risk.attainment_fraction * 100:g}"
    heads = ["workload", "served by", "class", "requests/s", f"TTFT {percent} of goal", f"TPOT {percent} of goal"]
    simulated = any(row.simulated for row in desired.workloads)
    heads += ["goals met, worst simulated stress", "bears"] if simulated else []
    scale_fraction = _scale_fraction(desired)
    rows = [_cells(row, desired.risk.attainment_fraction, scale_fraction, simulated=simulated) for row in desired.workloads]
    return html_table("Workloads against their goals", heads, rows, numbers=(3,))


def _cells(row: WorkloadForecast, goal_fraction: float, scale_fraction: float, *, simulated: bool) -> list[str]:
    rate = f"{row.rate_rps:.2f}"
    if row.unserved_rps:
        rate = joined([rate, element("b", f" ({row.unserved_rps:.2f} unserved)", class_="bad")])
    cells = [row.name, row.served_name, row.latency_class, rate, _margin(row.ttft_s, row.ttft_slo_s), _margin(row.tpot_s, row.tpot_slo_s)]
    if simulated:
        worst = min(row.simulated, key=lambda item: (item.fraction, item.low_fraction), default=None)
        borne = "-" if row.kept_load_factor is None else f"x {row.kept_load_factor:g}"
        cells += ["-" if worst is None else _attained(worst, goal_fraction, scale_fraction), f"{borne}{_effort(row)}"]
    return cells


def _effort(row: WorkloadForecast) -> str:
    return " (best effort)" if row.best_effort else ""


def _margin(is_s: float | None, goal_s: float | None) -> str:
    """A forecast as the part of its goal that it uses; one beyond its goal fills the bar and says so."""
    if is_s is None or goal_s is None:
        return "-"
    words = f"{milliseconds_words(is_s)} of {milliseconds_words(goal_s)}"
    used_fraction = min(1.0, is_s / goal_s) if goal_s > 0 else 1.0
    over = is_s > goal_s
    filled = element("i", class_="over" if over else "used", style=f"flex:{used_fraction:.3f}")
    meter = element("span", filled, element("i", style=f"flex:{1 - used_fraction:.3f}"), class_="meter")
    return joined([meter, element("b", f"{words}: missed", class_="bad") if over else words], " ")


def _scale_fraction(desired: Desired) -> float:
    """Where the scale of attainment begins."""
    lows = [item.low_fraction for row in desired.workloads for item in row.simulated]
    least_fraction = min([_LEAST_SHOWN_FRACTION, *lows])
    return 0.0 if least_fraction < _LEAST_SHOWN_FRACTION - 0.2 else least_fraction


def _attained(item: Attainment, goal_fraction: float, scale_fraction: float) -> Markup:
    """The Wilson interval as a band with a line at the goal, and in numbers."""
    width_fraction = 1.0 - scale_fraction
    edges = [scale_fraction, item.low_fraction, item.fraction, item.high_fraction, 1.0]
    signs = ("", "low", "high", "")
    parts = [
        element("i", class_=sign or None, style=f"flex:{max(0.0, end - start) / width_fraction:.4f}")
        for sign, start, end in zip(signs, edges[:-1], edges[1:], strict=True)
    ]
    at_percent = max(0.0, goal_fraction - scale_fraction) / width_fraction * 100
    band = element("span", *parts, element("u", style=f"left:{at_percent:.1f}%"), class_="meter band")
    short = item.high_fraction < goal_fraction
    interval = f"[{percent_words(item.low_fraction, 1)}, {percent_words(item.high_fraction, 1)}]"
    words = f"{percent_words(item.fraction, 1)} {interval}, {item.stress}"
    return joined([band, element("b", words, class_="bad") if short else words], " ")


def attainment_legend(desired: Desired) -> Markup:
    """How to read the bars of the table; empty where nothing was simulated."""
    text = "Bars of TTFT and TPOT: the part of the goal that the forecast uses."
    if any(row.simulated for row in desired.workloads):
        goal = percent_words(desired.risk.attainment_fraction, 1)
        text += (
            f" Goals met: the part of simulated requests that met both goals, with its Wilson 95 % interval as a band from "
            f"{percent_words(_scale_fraction(desired))} to 100 %; the line is the goal of {goal}. "
            "Bears: the largest multiple of the load that was tried at which the goals are kept."
        )
    return element("p", text, class_="hint")
