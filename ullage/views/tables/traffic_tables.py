"""Results of requests as tables of flat rows; columns as in plan_tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from planner.simulation.traffic_metrics import BusyPart, GpuUse, Percentiles, Summary, WorkloadRow
from ullage.views.tables.move_table import TableRow

TRAFFIC_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "workloads": (
            *("workload", "requests", "errors", "attained", "attainment_fraction", "attainment_low_fraction", "attainment_high_fraction"),
            *("ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "tpot_p50_s", "tpot_p95_s", "tpot_p99_s"),
        ),
        "gpus": ("gpu", "busy_fraction", "kv_mean_fraction", "kv_peak_fraction", "tokens_per_s"),
        "utilisation": ("gpu", "start_s", "end_s", "busy_fraction"),
    }
)
"""Kind of table -> its columns, in their order. Quantiles of workloads with under 20 served requests are None."""


def result_rows(summary: Summary) -> list[TableRow]:
    """One row per workload, in order of name; the total is not one of them."""
    return [_workload(row) for row in summary.workloads]


def _workload(row: WorkloadRow) -> TableRow:
    return {
        "workload": row.workload,
        "requests": row.requests,
        "errors": row.errors,
        "attained": row.attained,
        "attainment_fraction": row.attainment_fraction,
        "attainment_low_fraction": row.attainment_low_fraction,
        "attainment_high_fraction": row.attainment_high_fraction,
        **_times("ttft", row.ttft),
        **_times("tpot", row.tpot),
    }


def _times(name: str, times: Percentiles | None) -> TableRow:
    return {
        f"{name}_p50_s": times.p50_s if times else None,
        f"{name}_p95_s": times.p95_s if times else None,
        f"{name}_p99_s": times.p99_s if times else None,
    }


def use_rows(gpus: Sequence[GpuUse]) -> list[TableRow]:
    """One row per GPU in use, over all of the time."""
    return _named(gpus, TRAFFIC_COLUMNS["gpus"])


def utilisation_rows(parts: Sequence[BusyPart]) -> list[TableRow]:
    """One row per GPU and part of the time."""
    return _named(parts, TRAFFIC_COLUMNS["utilisation"])


def _named(items: Iterable[object], columns: Sequence[str]) -> list[TableRow]:
    """The fields that are called like the columns."""
    return [{column: getattr(item, column) for column in columns} for item in items]
