"""A plan as a picture: one bar per GPU, its residents' memory beside each other, and the GPUs that stay free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from planner.plan import Desired, GpuPlan, GpuThroughput, Replica, gpu_throughputs
from ullage.views.plan.gpu_text import throughput_words
from ullage.views.plan.plan_text import fleet_line, unserved_line
from ullage.views.svg_text import cut, listed, text_width_px, wrapped
from ullage.views.words import MODE_WORDS

WIDTH_PX, BAR_HEIGHT_PX, ROW_PX, MARGIN_PX, GAP_PX = 980, 24, 50, 16, 10
BAR_PX = 680
HEAD_PX, HEAD_LINE_PX, LABEL_PX, NAMES_PX, LEGEND_PX = 16, 22, 12, 11, 136
# Longest name of a GPU at the left before it is cut.
MOST_LABEL_PX = 300
# Okabe and Ito's palette, told apart by people who see colours differently: weights, KV cache, overhead; and vermilion for what is wrong.
# The part of a KV cache that has grown beyond what the plan needs is a lighter blue.
WEIGHTS, KV, GROWN, OVERHEAD, FREE, WRONG = "#0072b2", "#56b4e9", "#b9def5", "#e69f00", "#eeeeee", "#b03a00"
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


def plan_svg(desired: Desired) -> str:
    """SVG 1.1 text; the same plan gives the same bytes."""
    replicas = {replica.name: replica for replica in desired.replicas}
    labels = [cut(_label(gpu), LABEL_PX, MOST_LABEL_PX) for gpu in desired.gpus]
    throughputs = gpu_throughputs(desired)
    words = [_words(gpu, throughputs.get((gpu.node, gpu.index))) for gpu in desired.gpus]
    left_px = MARGIN_PX + max([104, *(round(text_width_px(label, LABEL_PX)) + GAP_PX for label in labels)])
    width_px = max(
        WIDTH_PX, left_px + BAR_PX + GAP_PX + max((round(text_width_px(word, LABEL_PX)) for word in words), default=0) + MARGIN_PX
    )
    head, legend_px = _head(desired, width_px)
    top_px = legend_px + 32
    height_px = top_px + ROW_PX * len(desired.gpus) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width_px}" height="{height_px}" viewBox="0 0 {width_px} {height_px}" {FONT}>',
        f'<rect width="{width_px}" height="{height_px}" fill="white"/>',
        *head,
        *_legend(left_px, legend_px),
    ]
    for row, (gpu, label, word) in enumerate(zip(desired.gpus, labels, words, strict=True)):
        y_px = top_px + ROW_PX * row
        lines.append(_text(MARGIN_PX, y_px + 17, label, LABEL_PX, whole=_label(gpu)))
        lines += _gpu(gpu, [replicas[name] for name in gpu.replicas], left_px, y_px)
        lines.append(_text(left_px + BAR_PX + GAP_PX, y_px + 17, word, LABEL_PX))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _head(desired: Desired, width_px: int) -> tuple[list[str], int]:
    """The headline, what is not served first and in its own colour, and where the legend below it begins."""
    room_px = width_px - 2 * MARGIN_PX
    parts = [(unserved_line(desired), WRONG), (fleet_line(desired), "#000000")]
    lines = [(line, colour) for text, colour in parts if text for line in wrapped(text, HEAD_PX, room_px, bold=True)]
    drawn = [
        _text(MARGIN_PX, 28 + HEAD_LINE_PX * place, line, HEAD_PX, style=f' font-weight="bold" fill="{colour}"')
        for place, (line, colour) in enumerate(lines)
    ]
    return drawn, 44 + HEAD_LINE_PX * (len(lines) - 1)


def _text(x_px: int, y_px: int, shown: str, size_px: int, *, whole: str = "", style: str = "") -> str:
    """A line of text; whole is what it was before it was cut, to be read by pointing at it."""
    title = f"<title>{escape(whole)}</title>" if whole and whole != shown else ""
    return f'<text x="{x_px}" y="{y_px}" font-size="{size_px}"{style}>{escape(shown)}{title}</text>'


def _label(gpu: GpuPlan) -> str:
    return f"{gpu.node} GPU {gpu.index}"


def _words(gpu: GpuPlan, throughput: GpuThroughput | None) -> str:
    if not gpu.replicas:
        return "free"
    return ", ".join(word for word in (MODE_WORDS[gpu.mode], f"busy {gpu.busy_fraction:.0%}", throughput_words(throughput)) if word)


def _legend(left_px: int, y_px: int) -> Iterator[str]:
    words = ((WEIGHTS, "weights"), (KV, "KV cache needed"), (GROWN, "KV cache grown"), (OVERHEAD, "overhead"), (FREE, "free"))
    for place, (colour, word) in enumerate(words):
        x_px = left_px + LEGEND_PX * place
        yield f'<rect x="{x_px}" y="{y_px}" width="14" height="14" fill="{colour}" stroke="#999999" stroke-width="0.5"/>'
        yield _text(x_px + 20, y_px + 12, word, LABEL_PX)


def _gpu(gpu: GpuPlan, residents: Sequence[Replica], left_px: int, y_px: int) -> Iterator[str]:
    yield f'<rect x="{left_px}" y="{y_px}" width="{BAR_PX}" height="{BAR_HEIGHT_PX}" fill="{FREE}" stroke="#999999" stroke-width="0.5"/>'
    at_mib = 0
    for replica in residents:
        yield from _resident(replica, gpu, at_mib, left_px, y_px)
        at_mib += replica.ledger.total_mib
    if gpu.replicas:
        names = listed(gpu.replicas, NAMES_PX, BAR_PX)
        yield _text(left_px, y_px + BAR_HEIGHT_PX + 14, names, NAMES_PX, whole=" · ".join(gpu.replicas), style=' fill="#333333"')


def _resident(replica: Replica, gpu: GpuPlan, at_mib: int, left_px: int, y_px: int) -> Iterator[str]:
    ledger = replica.ledger
    overhead_mib = ledger.total_mib - ledger.weights_mib - ledger.kv_mib
    grown_mib = replica.kv_grown_mib
    floor = f" (floor {ledger.kv_mib - grown_mib} MiB)" if grown_mib else ""
    title = f"{replica.name}: weights {ledger.weights_mib} MiB, KV {ledger.kv_mib} MiB{floor}, overhead {overhead_mib} MiB"
    yield f"<g><title>{escape(title)}</title>"
    start_mib = at_mib
    parts = ((WEIGHTS, ledger.weights_mib), (KV, ledger.kv_mib - grown_mib), (GROWN, grown_mib), (OVERHEAD, overhead_mib))
    for colour, mib in parts:
        x_px, width_px = left_px + BAR_PX * at_mib / gpu.memory_mib, BAR_PX * mib / gpu.memory_mib
        yield f'<rect x="{x_px:.1f}" y="{y_px}" width="{width_px:.1f}" height="{BAR_HEIGHT_PX}" fill={quoteattr(colour)}/>'
        at_mib += mib
    x_px, width_px = left_px + BAR_PX * start_mib / gpu.memory_mib, BAR_PX * ledger.total_mib / gpu.memory_mib
    yield f'<rect x="{x_px:.1f}" y="{y_px}" width="{width_px:.1f}" height="{BAR_HEIGHT_PX}" fill="none" stroke="#000000" stroke-width="1"/>'
    yield "</g>"
