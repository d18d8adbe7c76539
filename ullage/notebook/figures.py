"""Figures of plans and simulations. Importing this module needs matplotlib; the figures belong to nobody's pyplot state."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from ullage.notebook.frames import lacking
from ullage.views.plan.gpu_bars import GpuBar, gpu_bars
from ullage.views.plan.plan_svg import FREE, KV, OVERHEAD, WEIGHTS, WRONG
from ullage.views.plan.plan_text import headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from planner.plan import Desired
    from planner.simulation.traffic_metrics import WorkloadRow
    from ullage.traffic.simulate import SimulatedPlan

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise lacking("plot()", "matplotlib") from error

_WIDTH_IN, _BAR_IN, _LEAST_IN = 10.0, 0.28, 2.2
TAKEN = "#999999"
# Longest label beside an axis, in letters.
_MOST_LETTERS = 48
# More lines than these are a tangle: beyond it the mean and the range are drawn.
_MOST_LINES = 10


class ShownFigure(Figure):
    """A figure that a notebook draws by itself, without pyplot."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", bbox_inches="tight")
        return file.getvalue()


def plan_figure(desired: Desired) -> Figure:
    """One stacked bar per GPU, first GPU on top: weights, KV cache, overhead, what others hold, free, in GiB.

    GPUs that are alike share a bar where there are many; see ullage.views.plan.gpu_bars.
    """
    bars = gpu_bars(desired)
    figure = ShownFigure(figsize=(_WIDTH_IN, max(_LEAST_IN, 1.2 + _BAR_IN * len(bars))), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(bars))
    left_gib = [0.0] * len(bars)
    for name, colour, parts_gib in _parts(bars):
        axes.barh(places, parts_gib, left=left_gib, color=colour, label=name, edgecolor="white", linewidth=0.5)
        left_gib = [left + part for left, part in zip(left_gib, parts_gib, strict=True)]
    axes.set_yticks(places, [_cut(bar.label) for bar in bars], parse_math=False)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel("memory in GiB" if all(bar.count == 1 for bar in bars) else "memory in GiB per GPU, mean of alike GPUs")
    axes.set_title(headline(desired), loc="left", fontsize="medium", wrap=True, parse_math=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _parts(bars: Sequence[GpuBar]) -> list[tuple[str, str, list[float]]]:
    """Name, colour and GiB of each part, in the order in which they are stacked; what others hold only where they do."""
    parts = [
        ("weights", WEIGHTS, [bar.weights_gib for bar in bars]),
        ("KV cache", KV, [bar.kv_gib for bar in bars]),
        ("overhead", OVERHEAD, [bar.overhead_gib for bar in bars]),
        ("taken by others", TAKEN, [bar.taken_gib for bar in bars]),
        ("free", FREE, [bar.free_gib for bar in bars]),
    ]
    return [part for part in parts if part[0] != "taken by others" or any(part[2])]


def simulation_figure(found: SimulatedPlan) -> Figure:
    """Attainment per workload with its 95 % interval above, how busy each GPU is over time below."""
    rows = [row for row in found.summary.workloads if row.attainment_fraction is not None]
    figure = ShownFigure(figsize=(_WIDTH_IN, 3.6 + max(1.0, _BAR_IN * len(rows))), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(max(1.0, _BAR_IN * len(rows)), 2.0))
    _draw_attainment(above, rows)
    _draw_utilisation(below, found)
    return figure


def _draw_attainment(axes: Axes, rows: Sequence[WorkloadRow]) -> None:
    shares = [row.attainment_fraction or 0.0 for row in rows]
    below = [share - (row.attainment_low_fraction or 0.0) for share, row in zip(shares, rows, strict=True)]
    above = [(row.attainment_high_fraction or 0.0) - share for share, row in zip(shares, rows, strict=True)]
    places = range(len(rows))
    axes.errorbar(shares, places, xerr=[below, above], fmt="o", color=WEIGHTS, ecolor=KV, capsize=3)
    axes.set_yticks(places, [_cut(row.workload) for row in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(right=1.005)
    axes.set_xlabel("share of requests that met both goals, with its 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_utilisation(axes: Axes, found: SimulatedPlan) -> None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for part in found.utilisation:
        lines.setdefault(part.gpu, []).append(((part.start_s + part.end_s) / 2, part.busy_fraction))
    if len(lines) <= _MOST_LINES:
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=_plain(_cut(name)), linewidth=1.2)
    else:
        columns = list(zip(*lines.values(), strict=True))
        middle_s = [column[0][0] for column in columns]
        shares = [[share for _, share in column] for column in columns]
        axes.fill_between(middle_s, list(map(min, shares)), list(map(max, shares)), color=KV, alpha=0.4, label="least to most busy GPU")
        axes.plot(middle_s, [sum(column) / len(column) for column in shares], color=WRONG, label=f"mean of {len(lines)} GPUs")
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel("seconds")
    axes.set_ylabel("busy")
    if lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _cut(label: str) -> str:
    return label if len(label) <= _MOST_LETTERS else f"{label[: _MOST_LETTERS - 1]}…"


def _plain(label: str) -> str:
    """A label that is neither hidden (a leading underscore) nor set as mathematics (dollar signs)."""
    return " " + label.replace("$", r"\$")
