"""A plan as a picture: one bar per GPU, its residents' memory beside each other, and the GPUs that stay free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from planner.plan import Desired, GpuPlan, Replica
from ullage.views.plan_text import headline
from ullage.views.words import MODE_WORDS

WIDTH_PX, BAR_HEIGHT_PX, ROW_PX, LEFT_PX, TOP_PX = 980, 24, 50, 120, 76
BAR_PX = WIDTH_PX - LEFT_PX - 180
# Okabe and Ito's palette, told apart by people who see colours differently: weights, KV cache, overhead.
WEIGHTS, KV, OVERHEAD, FREE = "#0072b2", "#56b4e9", "#e69f00", "#eeeeee"
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


def plan_svg(desired: Desired) -> str:
    """SVG 1.1 text; the same plan gives the same bytes."""
    replicas = {replica.name: replica for replica in desired.replicas}
    height_px = TOP_PX + ROW_PX * len(desired.gpus) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height_px}" viewBox="0 0 {WIDTH_PX} {height_px}" {FONT}>',
        f'<rect width="{WIDTH_PX}" height="{height_px}" fill="white"/>',
        f'<text x="16" y="28" font-size="16" font-weight="bold">{escape(headline(desired))}</text>',
        *_legend(),
    ]
    for row, gpu in enumerate(desired.gpus):
        lines += _gpu(gpu, [replicas[name] for name in gpu.replicas], TOP_PX + ROW_PX * row)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _legend() -> Iterator[str]:
    for place, (colour, word) in enumerate(((WEIGHTS, "weights"), (KV, "KV cache"), (OVERHEAD, "overhead"), (FREE, "free"))):
        x_px = LEFT_PX + 110 * place
        yield f'<rect x="{x_px}" y="44" width="14" height="14" fill="{colour}" stroke="#999999" stroke-width="0.5"/>'
        yield f'<text x="{x_px + 20}" y="56" font-size="12">{word}</text>'


def _gpu(gpu: GpuPlan, residents: Sequence[Replica], y_px: int) -> Iterator[str]:
    yield f'<text x="16" y="{y_px + 17}" font-size="12">{escape(gpu.node)} GPU {gpu.index}</text>'
    yield f'<rect x="{LEFT_PX}" y="{y_px}" width="{BAR_PX}" height="{BAR_HEIGHT_PX}" fill="{FREE}" stroke="#999999" stroke-width="0.5"/>'
    at_mib = 0
    for replica in residents:
        yield from _resident(replica, gpu, at_mib, y_px)
        at_mib += replica.ledger.total_mib
    names = " · ".join(gpu.replicas)
    yield f'<text x="{LEFT_PX}" y="{y_px + BAR_HEIGHT_PX + 14}" font-size="11" fill="#333333">{escape(names)}</text>'
    words = f"{MODE_WORDS[gpu.mode]}, busy {gpu.busy_fraction:.0%}" if residents else "free"
    yield f'<text x="{LEFT_PX + BAR_PX + 10}" y="{y_px + 17}" font-size="12">{words}</text>'


def _resident(replica: Replica, gpu: GpuPlan, at_mib: int, y_px: int) -> Iterator[str]:
    ledger = replica.ledger
    overhead_mib = ledger.total_mib - ledger.weights_mib - ledger.kv_mib
    title = f"{replica.name}: weights {ledger.weights_mib} MiB, KV {ledger.kv_mib} MiB, overhead {overhead_mib} MiB"
    yield f"<g><title>{escape(title)}</title>"
    start_mib = at_mib
    for colour, mib in ((WEIGHTS, ledger.weights_mib), (KV, ledger.kv_mib), (OVERHEAD, overhead_mib)):
        x_px, width_px = LEFT_PX + BAR_PX * at_mib / gpu.memory_mib, BAR_PX * mib / gpu.memory_mib
        yield f'<rect x="{x_px:.1f}" y="{y_px}" width="{width_px:.1f}" height="{BAR_HEIGHT_PX}" fill={quoteattr(colour)}/>'
        at_mib += mib
    x_px, width_px = LEFT_PX + BAR_PX * start_mib / gpu.memory_mib, BAR_PX * ledger.total_mib / gpu.memory_mib
    yield f'<rect x="{x_px:.1f}" y="{y_px}" width="{width_px:.1f}" height="{BAR_HEIGHT_PX}" fill="none" stroke="#000000" stroke-width="1"/>'
    yield "</g>"
