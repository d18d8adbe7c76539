"""What requests experienced and how much of each engine and GPU was used; one set of formulas for simulation and live replay."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Below 20 requests a p95 is the largest value by definition of the nearest rank: report none instead of a maximum in disguise.
MIN_REQUESTS_FOR_QUANTILES = 20

# Two-sided 95 % point of the standard normal distribution.
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as its client saw it.

    ttft_s: arrival to first output token. tpot_s: (last - first output token) / (output_tokens - 1), None for one output token.
    replica is None when nothing took the request; error is None when it was served in full, else a short reason.
    """

    workload: str
    served_name: str
    replica: str | None
    arrival_s: float
    input_tokens: int
    output_tokens: int
    ttft_s: float | None
    tpot_s: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles in seconds."""

    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """Results of one workload, or of all of them.

    ttft and tpot are over served requests and None under MIN_REQUESTS_FOR_QUANTILES of them. attainment_fraction is the share of all
    requests that meet both goals, with its Wilson 95 % interval; the three are None without requests.
    """

    workload: str
    requests: int
    errors: int
    ttft: Percentiles | None
    tpot: Percentiles | None
    attained: int
    attainment_fraction: float | None
    attainment_low_fraction: float | None
    attainment_high_fraction: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One row per workload in order of name, the total, and how many requests failed for which reason, most frequent first."""

    workloads: tuple[WorkloadRow, ...]
    total: WorkloadRow
    error_causes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class EngineUse:
    """How much of one replica was used over the observed time.

    busy_fraction: share of time with a step in flight. KV fractions: held blocks over usable blocks, time-weighted mean and peak.
    tokens_per_s: computed tokens, that is generated ones plus prompt tokens not found in the prefix cache.
    """

    replica: str
    busy_fraction: float
    kv_mean_fraction: float
    kv_peak_fraction: float
    tokens_per_s: float
    preemptions: int


@dataclass(frozen=True, slots=True)
class GpuUse:
    """How much of one GPU was used over the observed time.

    busy_fraction: share of its compute (MIG: slices weighted by their size) and of the time in which an engine computed. KV mean: over its
    engines, weighted by the memory of their pools; KV peak: the highest of any of them. tokens_per_s: of its engines, a tensor-parallel
    engine counting in equal parts for each of its GPUs. busy_fraction is None where it cannot be observed (live, on real GPUs).
    """

    gpu: str
    busy_fraction: float | None
    kv_mean_fraction: float
    kv_peak_fraction: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class BusyPart:
    """How busy one GPU was from start_s to end_s; busy_fraction as in GpuUse, over that time."""

    gpu: str
    start_s: float
    end_s: float
    busy_fraction: float


def quantile(ordered: Sequence[float], permille: int) -> float:
    """Nearest-rank quantile of values in ascending order: the smallest with at least permille/1000 of all at or below it.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 500)
    2.0
    """
    if not ordered:
        raise ValueError("a quantile of no values does not exist")
    return ordered[max(0, -(-permille * len(ordered) // 1000) - 1)]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson score interval at 95 % for a share of successes (E. B. Wilson, JASA 22, 1927); raises ValueError without trials.

    >>> [round(end, 4) for end in wilson_interval(99, 100)]
    [0.9455, 0.9982]
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes of {trials} trials is no share")
    share = successes / trials
    z_squared = _Z_95 * _Z_95
    scale = 1 + z_squared / trials
    centre = (share + z_squared / (2 * trials)) / scale
    half = _Z_95 * math.sqrt(share * (1 - share) / trials + z_squared / (4 * trials * trials)) / scale
    # At the two ends the exact bounds are 0 and 1; rounding must not push them inside or out.
    return (0.0 if successes == 0 else max(0.0, centre - half), 1.0 if successes == trials else min(1.0, centre + half))


def meets_slo(record: RequestRecord, ttft_slo_s: float, tpot_slo_s: float) -> bool:
    """Whether a request meets both goals; an error is a miss, and a request with one output token has only a TTFT."""
    if record.error is not None or record.ttft_s is None or record.ttft_s > ttft_slo_s:
        return False
    return record.tpot_s is None or record.tpot_s <= tpot_slo_s


def summarise(records: Iterable[RequestRecord], slos: Mapping[str, tuple[float, float]]) -> Summary:
    """Results per workload and in total; slos: workload -> (TTFT goal, TPOT goal) in seconds, every workload gets a row.

    Raises ValueError for a record of a workload without goals.
    """
    by_workload: dict[str, list[RequestRecord]] = {name: [] for name in sorted(slos)}
    for record in records:
        if record.workload not in by_workload:
            raise ValueError(f"a request of workload {record.workload!r}, which has no SLO here; known: {', '.join(by_workload) or 'none'}")
        by_workload[record.workload].append(record)
    attained = {name: sum(meets_slo(record, *slos[name]) for record in rows) for name, rows in by_workload.items()}
    everything = [record for rows in by_workload.values() for record in rows]
    causes = Counter(record.error for record in everything if record.error is not None)
    return Summary(
        tuple(_row(name, rows, attained[name]) for name, rows in by_workload.items()),
        _row("total", everything, sum(attained.values())),
        tuple(sorted(causes.items(), key=lambda item: (-item[1], item[0]))),
    )


def _row(name: str, records: Sequence[RequestRecord], attained: int) -> WorkloadRow:
    served = [record for record in records if record.error is None]
    low, high = wilson_interval(attained, len(records)) if records else (None, None)
    return WorkloadRow(
        workload=name,
        requests=len(records),
        errors=len(records) - len(served),
        ttft=_percentiles([record.ttft_s for record in served if record.ttft_s is not None]),
        tpot=_percentiles([record.tpot_s for record in served if record.tpot_s is not None]),
        attained=attained,
        attainment_fraction=attained / len(records) if records else None,
        attainment_low_fraction=low,
        attainment_high_fraction=high,
    )


def _percentiles(values_s: list[float]) -> Percentiles | None:
    if len(values_s) < MIN_REQUESTS_FOR_QUANTILES:
        return None
    values_s.sort()
    return Percentiles(quantile(values_s, 500), quantile(values_s, 950), quantile(values_s, 990))
