"""`vllm bench throughput --output-json` and `vllm bench latency --output-json`: runs without a server.

Neither file names the GPU, the engine version or the lengths of the requests; latency does not name the batch size either. All of them are
options of the import.
"""

from __future__ import annotations

import math
from statistics import fmean

from profiles.sources.engine_fields import engine_fields, needed, provenance, settled
from profiles.sources.reading import SourceRecord, json_records, one_run
from profiles.sources.source import Context, Opened, Source
from profiles.store.measurements import LatencyPoint, Measurements

# The tool rounds nothing; tokenizers add a token here and there.
_AGREEMENT_FRACTION = 0.1


def _has(opened: Opened, keys: set[str]) -> bool:
    return isinstance(opened.json, dict) and keys <= opened.json.keys()


def recognises_throughput(opened: Opened) -> bool:
    """Whether it is a result of `vllm bench throughput`."""
    return _has(opened, {"elapsed_time", "num_requests", "requests_per_second"})


def recognises_latency(opened: Opened) -> bool:
    """Whether it is a result of `vllm bench latency`."""
    return _has(opened, {"avg_latency", "latencies", "percentiles"})


def parse_throughput(name: str, raw: bytes, context: Context) -> Measurements:
    """One LatencyPoint per run: the rate that was completed when all requests were there from the start; no times."""
    return one_run(name, Measurements(latency=tuple(_throughput(record, context) for record in json_records(name, raw))))


def parse_latency(name: str, raw: bytes, context: Context) -> Measurements:
    """One LatencyPoint per run: the mean time of a whole batch, from its start to its last token."""
    return one_run(name, Measurements(latency=tuple(_latency(record, context) for record in json_records(name, raw))))


def _lengths(record: SourceRecord, context: Context) -> tuple[int, int]:
    found = [
        needed(record, field, settled(record, field, record.optional_count(field), said, field), field)
        for field, said in (("input_tokens", context.input_tokens), ("output_tokens", context.output_tokens))
    ]
    return found[0], found[1]


def _throughput(record: SourceRecord, context: Context) -> LatencyPoint:
    requests, elapsed_s, rate_rps = record.count("num_requests"), record.amount("elapsed_time"), record.amount("requests_per_second")
    input_tokens, output_tokens = _lengths(record, context)
    if not math.isclose(rate_rps * elapsed_s, requests, rel_tol=_AGREEMENT_FRACTION):
        raise record.error("requests_per_second", f"{rate_rps:g} over {elapsed_s:g} s (elapsed_time) are not {requests} requests")
    total_tokens = record.count("total_num_tokens")
    if not math.isclose(total_tokens, requests * (input_tokens + output_tokens), rel_tol=_AGREEMENT_FRACTION):
        raise record.error(
            "total_num_tokens",
            f"{total_tokens} tokens are {total_tokens / requests:.1f} per request, not {input_tokens} + {output_tokens}; "
            "give the lengths that were run",
        )
    fields = engine_fields(record, context, model_key="model_id")
    source = provenance(record, context, "vllm bench throughput")
    return record.build(
        lambda: LatencyPoint(
            **fields,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=requests,
            rate_rps=rate_rps,
            requests=requests,
            provenance=source,
        ),
        {"rate_rps": "requests_per_second"},
    )


def _latency(record: SourceRecord, context: Context) -> LatencyPoint:
    input_tokens, output_tokens = _lengths(record, context)
    batch = settled(record, "batch_size", record.optional_count("batch_size"), context.concurrency, "concurrency")
    listed = record.items("latencies")
    times = SourceRecord(record.file, {f"[{place}]": value for place, value in enumerate(listed)}, f"{record.prefix}latencies")
    mean_s = fmean(times.amount(key) for key in times.values) if listed else 0.0
    said_s = record.amount("avg_latency")
    if not listed or not math.isclose(mean_s, said_s, rel_tol=_AGREEMENT_FRACTION):
        raise record.error("avg_latency", f"{said_s:g} s, but the {len(listed)} latencies have a mean of {mean_s:g} s")
    fields = engine_fields(record, context, model_key="model_id")
    source = provenance(record, context, "vllm bench latency")
    concurrency = needed(record, "batch_size", batch, "concurrency")
    return record.build(
        lambda: LatencyPoint(
            **fields,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=concurrency,
            request_s=record.seconds("avg_latency", 1.0),
            requests=concurrency * len(listed),
            provenance=source,
        ),
        {"request_s": "avg_latency"},
    )


THROUGHPUT = Source("results of vllm bench throughput (JSON)", recognises_throughput, parse_throughput)
LATENCY = Source("results of vllm bench latency (JSON)", recognises_latency, parse_latency)
