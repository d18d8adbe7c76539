"""Results of simulate and replay as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.simulation.traffic_metrics import GpuUse, Percentiles, Summary, WorkloadRow
from ullage.views.words import table


def traffic_text(summary: Summary, gpus: Sequence[GpuUse]) -> str:
    """One line per workload and per GPU; a dash where there are under 20 requests; then why requests failed. Ends in a newline."""
    rows = [
        ("workload", "requests", "errors", "TTFT p50", "p95", "p99 ms", "TPOT p50", "p95", "p99 ms", "SLO attainment"),
        *(_row(row) for row in summary.workloads if row.requests),
        _row(summary.total),
    ]
    lines = ["Workloads", *table(rows)]
    if summary.error_causes:
        lines.append("  errors: " + ", ".join(f"{count} x {cause}" for cause, count in summary.error_causes))
    if gpus:
        lines += ["", "GPUs", *_gpu_lines(gpus)]
    return "\n".join(lines) + "\n"


def attainment(row: WorkloadRow) -> str:
    """Share of requests that met both goals, with its 95 % interval and count."""
    if row.attainment_fraction is None or row.attainment_low_fraction is None or row.attainment_high_fraction is None:
        return "-"
    return f"{row.attainment_fraction:.2%} [{row.attainment_low_fraction:.2%}, {row.attainment_high_fraction:.2%}] of {row.requests}"


def _row(row: WorkloadRow) -> tuple[str, ...]:
    return (row.workload, str(row.requests), str(row.errors), *_times(row.ttft), *_times(row.tpot), attainment(row))


def _times(times: Percentiles | None) -> tuple[str, str, str]:
    if times is None:
        return ("-", "-", "-")
    return (f"{times.p50_s * 1000:.0f}", f"{times.p95_s * 1000:.0f}", f"{times.p99_s * 1000:.0f}")


def _gpu_lines(gpus: Sequence[GpuUse]) -> Iterator[str]:
    rows = [("GPU", "busy", "KV mean", "KV peak", "tokens/s")]
    rows.extend(
        (
            gpu.gpu,
            "-" if gpu.busy_fraction is None else f"{gpu.busy_fraction:.0%}",
            f"{gpu.kv_mean_fraction:.0%}",
            f"{gpu.kv_peak_fraction:.0%}",
            f"{gpu.tokens_per_s:.0f}",
        )
        for gpu in gpus
    )
    return table(rows)
