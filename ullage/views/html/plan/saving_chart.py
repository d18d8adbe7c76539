"""The saving of a plan as a waterfall: the dearest method first, and what each further step takes off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from planner.plan import Desired
from planner.saving_steps import SavingStep, saving_steps
from ullage.views.html.markup import Markup, element
from ullage.views.html.table_markup import html_table
from ullage.views.plan.gpu_text import saving_line

WIDTH_PX, ROW_PX, BAR_HEIGHT_PX = 900, 46, 18
# Room for the figure behind a bar.
_FIGURE_PX = 190
_SCALE_PX = WIDTH_PX - _FIGURE_PX


def saving_chart(desired: Desired) -> Iterator[Markup]:
    """The picture, the same in a table, and what of the saving rests on measurements."""
    steps = saving_steps(desired)
    if len(steps) > 1:
        yield _waterfall(steps)
        rows = [
            [step.title, f"{step.cost_usd_per_h:,.2f}", change, f"{step.unserved_rps:.2f}", step.note]
            for step, change in zip(steps, _changes(steps), strict=True)
        ]
        yield html_table("The saving step by step", ("step", "USD/h", "change", "unserved requests/s", "note"), rows, numbers=(1, 2, 3))
    else:
        yield element("p", "The plan has no baselines to compare with.")
    saving = desired.sharing_saving
    if saving is not None and saving.measured_gpus + saving.assumed_gpus:
        yield element("p", f"Of the whole, {saving_line(saving).strip()}.")


def _changes(steps: Sequence[SavingStep]) -> list[str]:
    return ["", *(f"{after.cost_usd_per_h - before.cost_usd_per_h:+,.2f}" for before, after in pairwise(steps))]


def _waterfall(steps: Sequence[SavingStep]) -> Markup:
    most_usd_per_h = max(step.cost_usd_per_h for step in steps) or 1.0
    rows: list[Markup] = []
    for place, (step, change) in enumerate(zip(steps, _changes(steps), strict=True)):
        before_usd_per_h = steps[place - 1].cost_usd_per_h if place else 0.0
        rows += _row(step, change, before_usd_per_h / most_usd_per_h, step.cost_usd_per_h / most_usd_per_h, place, last=step is steps[-1])
    words = "; ".join(f"{step.title} {step.cost_usd_per_h:,.2f} USD/h" for step in steps)
    height_px = ROW_PX * len(steps)
    return element(
        "svg", *rows, viewBox=f"0 0 {WIDTH_PX} {height_px}", role="img", aria_label=f"Waterfall of cost: {words}", class_="falls"
    )


def _row(step: SavingStep, change: str, before: float, after: float, place: int, *, last: bool) -> Iterator[Markup]:
    """The name of a step, what it takes off or adds beside what is left, and the cost in figures. Places are parts of the scale."""
    top_px = ROW_PX * place
    bar_px = top_px + 20
    yield element("text", step.title, x="0", y=f"{top_px + 14}", class_="name")
    whole = last or not place
    yield _rect(0.0, after, bar_px, "own" if whole else "left")
    if place:
        yield _rect(min(before, after), max(before, after), bar_px, "less" if after <= before else "more")
    figure = f"{step.cost_usd_per_h:,.2f} USD/h{f' ({change})' if change else ''}"
    end_px = _SCALE_PX * (max(before, after) if place else after)
    yield element("text", figure, x=f"{end_px + 8:.1f}", y=f"{bar_px + 14}")


def _rect(start: float, end: float, y_px: int, sign: str) -> Markup:
    return element(
        "rect",
        x=f"{_SCALE_PX * start:.1f}",
        y=str(y_px),
        width=f"{_SCALE_PX * (end - start):.1f}",
        height=str(BAR_HEIGHT_PX),
        class_=sign,
    )
