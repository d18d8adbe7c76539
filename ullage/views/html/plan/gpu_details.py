"""A row of GPUs that opens: name, bar and use in its summary, residents with rates and forecasts inside, a word on hover and focus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planner.plan import Desired, GpuThroughput, Replica, gpu_throughputs
from ullage.views.html.markup import Markup, element, joined
from ullage.views.html.number_words import count_words, gib_words, milliseconds_words, percent_words, range_words
from ullage.views.html.plan.gpu_bar import BarMaker, memory_parts
from ullage.views.html.plan.gpu_rows import GpuRow
from ullage.views.html.table_markup import html_table
from ullage.views.plan.gpu_text import throughput_words
from ullage.views.words import MODE_WORDS

_HEADS = ("no.", "replica", "requests/s", "TTFT", "TPOT", "weights", "KV needed", "KV grown", "overhead")


class RowMaker:
    """Makes the rows of one plan."""

    def __init__(self, desired: Desired) -> None:
        """Rows for the GPUs of this plan."""
        self._bars = BarMaker(desired)
        self._throughputs: Mapping[tuple[str, int], GpuThroughput] = gpu_throughputs(desired)
        self._levels = {item.name: item.level for item in desired.asleep}

    def row(self, row: GpuRow) -> Markup:
        """The row as a disclosure that a keyboard reaches and opens."""
        first = row.gpus[0]
        more = f" x {len(row.gpus)}" if len(row.gpus) > 1 else ""
        use = self.use_words(row)
        summary = element(
            "summary",
            element("span", f"{first.node} GPU {first.index}", element("b", more) if more else "", class_="n"),
            self._bars.bar(first, row.residents[0]),
            element("span", use, class_="u"),
            element("span", *self._who(row), class_="who"),
            element("span", _popover(row, use), class_="pop"),
        )
        return element("details", summary, element("div", *self._inside(row), class_="d"), class_="gpu")

    def use_words(self, row: GpuRow) -> str:
        """Mode, how busy and how many tokens/s, as a range where GPUs differ."""
        first = row.gpus[0]
        busy = range_words([percent_words(part) for part in sorted(gpu.busy_fraction for gpu in row.gpus)])
        tokens = "" if len(row.gpus) > 1 else throughput_words(self._throughputs.get((first.node, first.index)))
        return ", ".join(word for word in (MODE_WORDS[first.mode], f"busy {busy}", tokens) if word)

    def _who(self, row: GpuRow) -> list[Markup]:
        return [
            element("span", element("b", str(number)), f" {self._called(item)}") for number, item in enumerate(row.residents[0], start=1)
        ]

    def _called(self, item: Replica) -> str:
        place = f" ({item.mig.profile} at {item.mig.start})" if item.mig else f" ({item.threads} % of threads)" if item.threads else ""
        level = self._levels.get(item.name)
        return f"{item.served_name}{place}{'' if level is None else f' (asleep at level {level})'}"

    def _inside(self, row: GpuRow) -> list[Markup]:
        gpus, first = row.gpus, row.gpus[0]
        what = f"{len(gpus)} GPUs {first.gpu_type}" if len(gpus) > 1 else f"{first.node} GPU {first.index}, {first.gpu_type}"
        rows = [self._cells(number, items) for number, items in enumerate(zip(*row.residents, strict=True), start=1)]
        parts = [element("p", f"{what}. {_memory_words(row)}{_interference(first.interference)}")]
        parts.append(html_table(f"Residents of {first.node} GPU {first.index}", _HEADS, rows, numbers=(0, 2, 3, 4, 5, 6, 7, 8)))
        if len(gpus) > 1:
            names = ", ".join(f"{gpu.node} GPU {gpu.index}" for gpu in gpus)
            parts.append(element("p", f"The {len(gpus)} GPUs: {names}."))
        return parts

    def _cells(self, number: int, items: Sequence[Replica]) -> list[str]:
        first = items[0]
        name = first.name if len(items) == 1 else f"{first.served_name}, {count_words(len(items), 'replica')}"
        pooling = first.args.runner == "pooling"
        memory = ((_sorted_range([parts[place] for parts in map(memory_parts, items)])) for place in range(4))
        rate = range_words([f"{rate_rps:.2f}" for rate_rps in sorted(item.planned_rps for item in items)])
        capacity = range_words([f"{rate_rps:.2f}" for rate_rps in sorted(item.capacity_rps for item in items)])
        return [
            str(number),
            name,
            f"{rate} of {capacity}",
            range_words([milliseconds_words(time_s) for time_s in sorted(item.forecast.ttft_s for item in items)]),
            "-" if pooling else range_words([milliseconds_words(time_s) for time_s in sorted(item.forecast.tpot_s for item in items)]),
            *memory,
        ]


def _sorted_range(amounts_mib: Sequence[int]) -> str:
    return range_words([gib_words(mib) for mib in sorted(amounts_mib)])


def _memory_words(row: GpuRow) -> str:
    first = row.gpus[0]
    free = range_words([gib_words(mib) for mib in sorted(gpu.free_mib for gpu in row.gpus)])
    taken = f" Others hold {gib_words(first.taken_mib)}." if first.taken_mib else ""
    differ = " Their sizes differ a little; the bar is that of the first." if row.sizes_differ else ""
    return (
        f"{free} of {gib_words(first.memory_mib)} are free, of which {gib_words(first.headroom_mib)} are kept as headroom.{taken}{differ}"
    )


def _interference(kind: str) -> str:
    return "" if kind == "none" else f" What neighbours cost each other is {kind}."


def _popover(row: GpuRow, use: str) -> Markup:
    first = row.gpus[0]
    head = use if len(row.gpus) == 1 else f"{len(row.gpus)} GPUs alike, {use}"
    lines = [f"{head}; free {gib_words(first.free_mib)}"]
    lines += [f"{number} {_rate_and_forecast(item)}" for number, item in enumerate(row.residents[0], start=1)]
    return joined(lines, element("br"))


def _rate_and_forecast(item: Replica) -> str:
    return f"{item.served_name}: {item.planned_rps:.2f} requests/s, TTFT {milliseconds_words(item.forecast.ttft_s)}"
