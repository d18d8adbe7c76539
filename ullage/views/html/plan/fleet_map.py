"""The fleet to scale: each pool with its GPUs in use as bars, and those without residents as one line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from planner.plan import Desired, GpuPlan
from ullage.views.html.markup import Markup, element, listed_items
from ullage.views.html.number_words import count_words, gib_words
from ullage.views.html.plan.gpu_bar import PARTS
from ullage.views.html.plan.gpu_details import RowMaker
from ullage.views.html.plan.gpu_rows import GpuRow, gpu_rows

# Bars of one picture; further rows are lines of text, each pool with its part of the bars.
MOST_BARS = 360
_LEAST_BARS_OF_A_POOL = 20
# Nodes that are named where GPUs have no residents.
MOST_UNUSED_NODES = 6


def fleet_map(desired: Desired, level: int) -> Markup:
    """The pools under headings of this level."""
    rows = gpu_rows(desired)
    all_rows = sum(map(len, rows.values()))
    maker = RowMaker(desired)
    parts: list[Markup] = [_legend()]
    for pool, found in rows.items():
        gpus = [gpu for gpu in desired.gpus if gpu.pool == pool]
        bars = len(found) if all_rows <= MOST_BARS else max(_LEAST_BARS_OF_A_POOL, MOST_BARS * len(found) // all_rows)
        used = sum(1 for gpu in gpus if gpu.replicas)
        types = ", ".join(dict.fromkeys(gpu.gpu_type for gpu in gpus))
        parts.append(element(f"h{level}", f"Pool {pool}: {used:,} of {len(gpus):,} GPUs in use, {types}"))
        parts += [maker.row(row) for row in found[:bars]]
        parts += [_in_words(maker, found[bars:])] if found[bars:] else []
        parts += [element("p", line, class_="unused") for line in _unused_lines(gpus)]
    return element("div", *parts, class_="fleet")


def _legend() -> Markup:
    samples = (element("span", element("i", class_=sign), f" {word}") for sign, word in PARTS)
    return element("p", *samples, "Each bar is the memory of one GPU. Numbers stand for its residents.", class_="legend")


def _in_words(maker: RowMaker, rows: Sequence[GpuRow]) -> Markup:
    """Rows for which there is no room as bars."""
    gpus = sum(len(row.gpus) for row in rows)
    return element(
        "details",
        element("summary", f"{count_words(gpus, 'more GPU')} of this pool, as a list"),
        listed_items(_line(maker, row) for row in rows),
        class_="more",
    )


def _line(maker: RowMaker, row: GpuRow) -> str:
    names = ", ".join(f"{gpu.node} GPU {gpu.index}" for gpu in row.gpus)
    models = ", ".join(item.served_name for item in row.residents[0])
    return f"{names}: {models} ({maker.use_words(row)}; free {gib_words(row.gpus[0].free_mib)})"


def _unused_lines(gpus: Sequence[GpuPlan]) -> Iterator[str]:
    """The GPUs without residents: free, and those that others hold all or some of."""
    unused = [gpu for gpu in gpus if not gpu.replicas]
    free = [gpu for gpu in unused if not gpu.taken_mib]
    if free:
        yield f"{count_words(len(free), 'GPU')} free: {_spans(free)}"
    taken = [gpu for gpu in unused if gpu.taken_mib]
    if taken:
        held_mib = sum(gpu.taken_mib for gpu in taken)
        yield f"{count_words(len(taken), 'GPU')} without residents, where others hold {gib_words(held_mib)}: {_spans(taken)}"


def _spans(gpus: Sequence[GpuPlan]) -> str:
    """Nodes with the numbers of their GPUs, in spans; a long list is cut, since the plan file has it all."""
    by_node: defaultdict[str, list[int]] = defaultdict(list)
    for gpu in gpus:
        by_node[gpu.node].append(gpu.index)
    words = [f"{node} GPU {_numbers(indices)}" for node, indices in list(by_node.items())[:MOST_UNUSED_NODES]]
    left = len(by_node) - len(words)
    return ", ".join(words) + (f" and {count_words(left, 'more node')}" if left else "")


def _numbers(indices: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for index in sorted(indices):
        if spans and spans[-1][-1] == index - 1:
            spans[-1].append(index)
        else:
            spans.append([index])
    return ",".join(f"{span[0]}" if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)
