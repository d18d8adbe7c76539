"""What a measurement came to, as text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from profiles.latency.interference import factor_of
from profiles.store.measurements import LatencyPoint, PairPoint
from ullage.profiling.measure import Measured
from ullage.profiling.measure_pair import MeasuredPair
from ullage.profiling.worth import PlanPrice, Ranking, Worth
from ullage.views.words import table


def measured_text(found: Measured, store: Path) -> str:
    """The points, why lengths ended early, and what to look at; ends in a newline."""
    head = ("input", "output", "clients", "TTFT ms", "TPOT ms", "requests/s", "tokens/s", "requests")
    lines = [f"{found.model} on {found.gpu}, vLLM {found.engine_version}, max_model_len {found.max_model_len}"]
    if found.points:
        lines += table((head, *(_row(point) for point in found.points)))
    lines += [*found.stopped, *map(str, found.findings)]
    lines.append(
        f"{len(found.points)} points added to {store}, {found.known} were there already; "
        f"`ullage profile check --store {store}` checks all points"
    )
    return "\n".join(lines) + "\n"


def pair_text(found: MeasuredPair, store: Path) -> str:
    """The cells, the factor of each model and what to look at; ends in a newline."""
    lines = [f"{found.models[0]} and {found.models[1]} on {found.gpu}, {found.sharing}, vLLM {found.engine_version}"]
    if found.cells:
        lines += table((("model", "phase", "beside", "slowdown", "p90", "factor"), *(row for cell in found.cells for row in _sides(cell))))
    for model, factor in zip(found.models, found.factors, strict=True):
        lines.append(f"{model}: interference factor {factor:.2f}" if factor else f"{model}: no factor yet, phases are missing")
    lines += found.warnings
    lines.append(f"{len(found.cells)} pairs added to {store}, {found.known} were there already")
    return "\n".join(lines) + "\n"


def ranking_text(found: Ranking) -> str:
    """The missing measurements by their worth, and how much work that took; ends in a newline."""
    lines = [f"the plan costs {found.now.cost_usd_per_h:.2f} USD/h{_unserved(found.now)}"]
    if found.worths:
        head = ("what", "worth USD/h", "if fast", "if slow", "why")
        lines += table((head, *(_worth(each) for each in found.worths)))
        lines += ["to measure:", *(f"  {each.command}" for each in found.worths)]
    else:
        lines.append("all engines and pairs that this plan uses are measured")
    lines.append(f"examined {found.looked_into} of {found.missing} missing measurements (--limit), {found.plans} plans made")
    return "\n".join(lines) + "\n"


def ranking_json(found: Ranking) -> dict[str, Any]:
    """The same as plain values, with the differences."""
    plain = asdict(found)
    for row, worth in zip(plain["worths"], found.worths, strict=True):
        row |= {"swing_usd_per_h": worth.swing_usd_per_h, "swing_rps": worth.swing_rps}
    return plain


def _worth(worth: Worth) -> tuple[str, ...]:
    low, high = (f"{price.cost_usd_per_h:.2f}{_unserved(price)}" for price in (worth.low, worth.high))
    return (worth.what, f"{worth.swing_usd_per_h:.2f}", low, high, worth.why)


def _unserved(price: PlanPrice) -> str:
    return f", {price.unserved_rps:.3g}/s unserved" if price.unserved_rps else ""


def _sides(cell: PairPoint) -> list[tuple[str, ...]]:
    return [
        (
            side.model,
            side.phase,
            other.phase,
            f"{side.slowdown:.2f}",
            f"{side.slowdown_p90 or side.slowdown:.2f}",
            f"{factor_of(side.slowdown, cell.sharing):.2f}",
        )
        for side, other in ((cell.first, cell.second), (cell.second, cell.first))
    ]


def _row(point: LatencyPoint) -> tuple[str, ...]:
    rate_rps = point.rate_rps or 0.0
    return (
        str(point.input_tokens),
        str(point.output_tokens),
        str(point.concurrency),
        f"{(point.ttft_s or 0.0) * 1000:.1f}",
        "-" if point.tpot_s is None else f"{point.tpot_s * 1000:.2f}",
        f"{rate_rps:.3g}",
        f"{rate_rps * point.output_tokens:.0f}",
        str(point.requests),
    )
