"""Measurements as text: what a store holds, points of a model, what an import did, a table for other tools."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from itertools import chain
from typing import Any

from profiles.sources.csv_table import ENGINE_COLUMNS, LOAD_COLUMNS, PROVENANCE_COLUMNS
from profiles.store.checks import answers, origin
from profiles.store.measurements import LatencyPoint, Measurements, PairPoint, Provenance, StartPoint, preferred
from ullage.profiling.imports import Imported
from ullage.views.words import table

# What one can do when there is nothing.
EMPTY = "the store is empty; `ullage profile import FILE... --store DIR` fills it\n"
CSV_COLUMNS = (*ENGINE_COLUMNS, *LOAD_COLUMNS, "ttft_s", "tpot_s", "request_s", "statistic", "requests", *PROVENANCE_COLUMNS)


def import_text(done: Imported) -> str:
    """One line per file, then what is new and what to look at; ends in a newline."""
    lines = [f"{file.name}: {counts(file.found)} ({file.kind})" for file in done.files]
    lines.append(f"new: {counts(done.new)}; {len(done.changed)} files of the store changed" if done.new else "nothing new")
    lines += [str(finding) for finding in done.findings]
    return "\n".join(lines) + "\n"


def import_json(done: Imported) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "files": [{"name": file.name, "kind": file.kind, **sizes(file.found)} for file in done.files],
        "new": sizes(done.new),
        "changed": list(done.changed),
        "findings": [asdict(finding) for finding in done.findings],
    }


def sizes(found: Measurements) -> dict[str, int]:
    """Number of points by kind."""
    return {section: len(points) for section, points in _sections(found)}


def counts(found: Measurements) -> str:
    """Number of points by kind in words, those there are none of left out."""
    words = {"latency": "latency points", "starts": "starts", "pairs": "pairs"}
    return ", ".join(f"{count} {words[section]}" for section, count in sizes(found).items() if count) or "no points"


def groups(found: Measurements) -> list[dict[str, Any]]:
    """One row per model (or pair), GPU type, engine and version: how many points, of which kinds, from when to when. Sorted."""
    rows: dict[tuple[str, str, str, str], list[tuple[str, Provenance]]] = defaultdict(list)
    for section, points in _sections(found):
        for point in points:
            source = point.provenance
            rows[_models(point), point.gpu, source.engine, source.engine_version or ""].append((section, source))
    return [
        {
            "model": model,
            "gpu": gpu,
            "engine": engine,
            "engine_version": version or None,
            **{section: sum(one == section for one, _ in points) for section in ("latency", "starts", "pairs")},
            "kinds": sorted({source.kind for _, source in points}),
            "first_date": min((source.date for _, source in points if source.date), default=None),
            "last_date": max((source.date for _, source in points if source.date), default=None),
        }
        for (model, gpu, engine, version), points in sorted(rows.items())
    ]


def _sections(found: Measurements) -> Iterator[tuple[str, Sequence[LatencyPoint | StartPoint | PairPoint]]]:
    yield "latency", found.latency
    yield "starts", found.starts
    yield "pairs", found.pairs


def _models(point: LatencyPoint | StartPoint | PairPoint) -> str:
    return " with ".join(sorted((point.first.model, point.second.model))) if isinstance(point, PairPoint) else point.model


def list_text(found: Measurements) -> str:
    """The groups as a table; ends in a newline."""
    if not found:
        return EMPTY
    heading = ("model", "GPU", "engine", "latency", "starts", "pairs", "kinds", "dates")
    rows = [
        (
            row["model"],
            row["gpu"],
            f"{row['engine']} {row['engine_version'] or '?'}",
            *(str(row[section]) for section in ("latency", "starts", "pairs")),
            ", ".join(row["kinds"]),
            _period(row["first_date"], row["last_date"]),
        )
        for row in groups(found)
    ]
    return "\n".join(table([heading, *rows])) + "\n"


def _period(first: str | None, last: str | None) -> str:
    if first is None or last is None:
        return "-"
    return first if first == last else f"{first} to {last}"


def show_text(found: Measurements) -> str:
    """Every point, in tables by kind; ends in a newline."""
    parts = (list(_latency_lines(found.latency)), list(_start_lines(found.starts)), list(_pair_lines(found.pairs)))
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _engine(point: LatencyPoint | StartPoint) -> tuple[str, ...]:
    gpu = point.gpu if point.mig_profile is None else f"{point.gpu} {point.mig_profile}"
    size = f"{point.tensor_parallel_size}" + (f"x{point.pipeline_parallel_size}" if point.pipeline_parallel_size > 1 else "")
    return (point.model, gpu, size, point.quantization or "own")


def _latency_lines(points: Sequence[LatencyPoint]) -> Iterator[str]:
    if not points:
        return iter(())
    heading = ("model", "GPU", "TP", "quant", "in", "out", "clients", "requests/s", "TTFT ms", "TPOT ms", "request s", "used", "provenance")
    used = {preferred(same) for same in answers(points)}
    rows = [
        (
            *_engine(point),
            str(point.input_tokens),
            str(point.output_tokens),
            _number(point.concurrency),
            _number(point.rate_rps),
            _ms(point.ttft_s),
            _ms(point.tpot_s),
            _number(point.request_s),
            "yes" if point in used else "no",
            origin(point.provenance),
        )
        for point in sorted(points, key=_order)
    ]
    return table([heading, *rows])


def _order(point: LatencyPoint | StartPoint) -> tuple[Any, ...]:
    load = (point.input_tokens, point.output_tokens, point.concurrency or 0) if isinstance(point, LatencyPoint) else ()
    return (*_engine(point), *load, repr(point))


def _start_lines(points: Sequence[StartPoint]) -> Iterator[str]:
    if not points:
        return iter(())
    heading = ("model", "GPU", "TP", "quant", "weights", "activation", "graphs MiB", "KV GiB", "KV tokens", "load s", "provenance")
    rows = [
        (
            *_engine(point),
            _number(point.weights_mib),
            _number(point.activation_mib),
            _number(point.cuda_graphs_mib),
            _number(point.kv_bytes / (1 << 30) if point.kv_bytes else None),
            _number(point.kv_tokens),
            _number(point.load_s),
            origin(point.provenance),
        )
        for point in sorted(points, key=_order)
    ]
    return table([heading, *rows])


def _pair_lines(points: Sequence[PairPoint]) -> Iterator[str]:
    if not points:
        return iter(())
    heading = ("model", "phase", "slowdown", "neighbour", "phase", "slowdown", "GPU", "sharing", "provenance")
    rows = [
        (
            *chain.from_iterable((side.model, side.phase, f"{side.slowdown:.2f}") for side in (point.first, point.second)),
            point.gpu,
            point.sharing,
            origin(point.provenance),
        )
        for point in sorted(points, key=repr)
    ]
    return table([heading, *rows])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value}" if isinstance(value, int) else f"{value:.4g}"


def _ms(value_s: float | None) -> str:
    return "-" if value_s is None else f"{value_s * 1000:.4g}"


def latency_csv(points: Sequence[LatencyPoint]) -> str:
    """A table with the columns that `ullage profile import --kind csv` reads; deterministic."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    own = {field.name for field in fields(LatencyPoint)}
    for point in sorted(points, key=_order):
        writer.writerow({name: getattr(point if name in own else point.provenance, name) for name in CSV_COLUMNS})
    return out.getvalue()


def as_json(found: Measurements) -> dict[str, Any]:
    """Every point as plain values, in a fixed order."""
    return {section: [asdict(point) for point in sorted(points, key=repr)] for section, points in _sections(found)}
