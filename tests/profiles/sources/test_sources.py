"""What each importer reads out of a real file, and what it refuses by name."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from profiles.sources.source import Context
from profiles.store.measurements import LatencyPoint, Provenance, StartPoint
from tests.profiles.sources.samples import Sample, changed, read, sample, says
from ullage.plugins import SOURCES, load


def test_bench_serve() -> None:
    (point,) = sample("vllm-bench-serve").parse().latency
    assert point == LatencyPoint(
        model="tiny-llama",
        gpu="cpu",
        input_tokens=65,
        output_tokens=32,
        concurrency=8,
        rate_rps=13.53205027829609,
        ttft_s=0.16835722089999763,
        tpot_s=0.013155353915322526,
        request_s=0.576173192274996,
        requests=40,
        provenance=Provenance(kind="measured", source="vllm bench serve", date="2026-11-23", engine_version="0.32.0"),
    )


def test_bench_serve_reads_what_metadata_says_and_options_fill_the_rest() -> None:
    one = sample("vllm-bench-serve")
    raw = changed(one, engine_version="0.31.0", tensor_parallel_size="2", gpu="h100")
    (point,) = one.parse(raw, Context(quantization="fp8")).latency
    assert (point.model, point.gpu, point.tensor_parallel_size, point.quantization) == ("tiny-llama", "h100", 2, "fp8")
    assert point.provenance.engine_version == "0.31.0"
    assert "engine_version: the file says 0.31.0, --engine-version says 0.32.0" in says(one, raw)
    assert "gpu: the file does not say it; give --gpu" in says(one, json.dumps(without(one, "gpu")).encode(), Context())


def without(one: Sample, key: str) -> Mapping[str, Any]:
    return {name: value for name, value in json.loads(one.raw).items() if name != key}


def test_bench_serve_with_arrivals_at_a_rate_is_an_open_loop_until_the_limit_binds() -> None:
    one = sample("vllm-bench-serve")
    assert one.parse(changed(one, request_rate=14.0)).latency[0].concurrency is None
    assert one.parse(changed(one, request_rate=20.0)).latency[0].concurrency == 8
    assert one.parse(changed(one, max_concurrency=None)).latency[0].concurrency == 40


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"mean_ttft_ms": 0.168357}, "mean_ttft_ms: 0.168357 ms, but the 40 times in ttfts (s) have a mean of 168.357 ms"),
        ({"mean_tpot_ms": 0.0131553}, "mean_tpot_ms: 1.31553e-05 s is outside 0.0001 to 2; is it in another unit?"),
        ({"mean_tpot_ms": 13155.3}, "mean_tpot_ms: 13.1553 s is outside 0.0001 to 2; is it in another unit?"),
        ({"duration": 2955.9}, "request_throughput: 13.5321 requests/s over a duration of 2955.9 s are not the 40 completed requests"),
        ({"mean_e2el_ms": 576173.2}, "request_throughput: 13.5321 requests/s that take 576.173 s each are 7.8e+03 at a time"),
        ({"mean_ttft_ms": -1.0}, "mean_ttft_ms: must not be negative, is -1"),
        ({"total_output_tokens": float("nan")}, "total_output_tokens: must be a finite number, is nan"),
        ({"failed": 10}, "failed: 10 of 50 requests failed; measure again"),
        ({"completed": 0}, "completed: must be a whole number of at least 1, is 0"),
        ({"date": "yesterday"}, "date: 'yesterday' is no stamp like 20261123-203321"),
        ({"date": "20261332-203321"}, "date: '2026-13-32' is no date"),
    ],
)
def test_bench_serve_refuses(values: dict[str, object], field: str) -> None:
    one = sample("vllm-bench-serve")
    assert says(one, changed(one, **values)).startswith(f"{one.name}: {field}")


def test_bench_serve_appended_results_are_lines_and_may_not_mix_engine_versions() -> None:
    one = sample("vllm-bench-serve")
    lines = [changed(one, engine_version="0.31.0", max_concurrency=4, mean_e2el_ms=None), changed(one, engine_version="0.31.0")]
    context = Context(model="tiny-llama", gpu="cpu")
    assert len(one.parse(b"\n".join(lines), context).latency) == 2
    mixed = b"\n".join([lines[0], changed(one, engine_version="0.32.0")])
    assert "engine_version: mixed engine versions in one file: 0.31.0, 0.32.0" in says(one, mixed, context)
    assert "line 2: not JSON, or cut off" in says(one, lines[0] + b"\n" + lines[1][:-9], context)


def test_bench_throughput() -> None:
    one = sample("vllm-bench-throughput")
    (point,) = one.parse().latency
    assert (point.concurrency, point.rate_rps, point.ttft_s, point.tpot_s) == (40, 49.249452866891616, None, None)
    context = replace(one.context, output_tokens=128)
    assert "total_num_tokens: 3871 tokens are 96.8 per request, not 64 + 128" in says(one, one.raw, context)
    assert "input_tokens: the file does not say it; give --input-tokens" in says(one, one.raw, Context(gpu="cpu"))
    assert "requests_per_second: 49.2495 over 812.2 s" in says(one, changed(one, elapsed_time=812.2))


def test_bench_latency() -> None:
    one = sample("vllm-bench-latency")
    (point,) = one.parse().latency
    assert (point.concurrency, point.request_s, point.requests, point.tpot_s) == (8, 0.3973856045999128, 40, None)
    assert "batch_size: the file does not say it; give --concurrency" in says(one, one.raw, replace(one.context, concurrency=None))
    assert "avg_latency: 397.4 s, but the 5 latencies have a mean of 0.397386 s" in says(one, changed(one, avg_latency=397.4))
    assert "latencies[1]: must not be negative, is -2" in says(one, changed(one, latencies=[1.0, -2.0]))


def test_guidellm() -> None:
    (point,) = sample("guidellm").parse().latency
    assert (point.input_tokens, point.output_tokens, point.concurrency, point.requests) == (81, 32, 4, 20)
    assert point.ttft_s == pytest.approx(0.3556320309638977)
    # the inter-token latency, and not guidellm's time per output token (15.99 ms) which holds the first token
    assert point.tpot_s == pytest.approx(0.005030690470049458)
    assert point.in_engine_s == pytest.approx(0.3556320309638977 + 31 * 0.005030690470049458, rel=0.02)
    assert point.provenance == Provenance(kind="measured", source="guidellm", date="2026-11-23", engine_version="0.32.0")


@pytest.mark.parametrize(
    ("strategy", "concurrency"),
    [
        ({"type_": "synchronous"}, 1),
        ({"type_": "concurrent", "streams": 7}, 7),
        ({"type_": "throughput", "max_concurrency": None}, 20),
        ({"type_": "constant", "rate": 6.0}, None),
        ({"type_": "poisson", "rate": 6.0}, None),
    ],
)
def test_guidellm_strategies(strategy: dict[str, object], concurrency: int | None) -> None:
    one = sample("guidellm")
    report = json.loads(gzip.decompress(one.raw))
    report["benchmarks"][0]["config"]["strategy"] = strategy
    # a run of another length has another rate; without it the times alone are read
    report["benchmarks"][0]["metrics"]["requests_per_second"]["successful"]["mean"] = (concurrency or 4) / 0.52
    assert one.parse(json.dumps(report).encode()).latency[0].concurrency == concurrency


def test_guidellm_names_the_benchmark_and_the_field() -> None:
    one = sample("guidellm")
    report = json.loads(gzip.decompress(one.raw))
    report["benchmarks"][0]["metrics"]["inter_token_latency_ms"]["successful"]["mean"] = 5030.7
    text = says(one, json.dumps(report).encode())
    assert "benchmarks[0].metrics.inter_token_latency_ms.successful.mean: 5.0307 s is outside 0.0001 to 2" in text
    del report["benchmarks"][0]["metrics"]["time_to_first_token_ms"]["successful"]
    assert "benchmarks[0].metrics.time_to_first_token_ms.successful: missing" in says(one, json.dumps(report).encode())


@pytest.mark.parametrize("spelling", ["vllm:", "vllm_"])
def test_metrics_page_in_both_spellings(spelling: str) -> None:
    one = sample("vllm-metrics")
    text = gzip.decompress(one.raw).decode().replace("vllm:", spelling)
    (start,) = one.parse(text.encode()).starts
    assert start == StartPoint(
        model="tiny-llama",
        gpu="cpu",
        block_size=128,
        kv_bytes=268435456,
        kv_tokens=262144,
        kv_blocks=2048,
        max_concurrency=128.0,
        provenance=Provenance(kind="measured", source="vllm /metrics", engine_version="0.32.0"),
    )


def test_only_a_pool_that_the_engine_sized_itself_was_made_of_the_budget() -> None:
    one = sample("vllm-metrics")
    told = one.parse().starts[0]
    text = gzip.decompress(one.raw).decode().replace('kv_cache_memory_bytes="268435456"', 'kv_cache_memory_bytes="None"')
    found = one.parse(text.encode()).starts[0]
    assert (told.kv_bytes, told.kv_blocks, told.gpu_memory_utilization_fraction) == (268435456, 2048, None)
    assert (found.kv_bytes, found.kv_blocks, found.gpu_memory_utilization_fraction) == (None, 2048, 0.92)


def test_metrics_page_names_the_model_and_must_have_the_cache() -> None:
    one = sample("vllm-metrics")
    text = gzip.decompress(one.raw).decode()
    assert one.parse(one.raw, Context(gpu="cpu")).starts[0].model == "tiny-llama"
    kept = "\n".join(line for line in text.splitlines() if "cache_config_info" not in line)
    assert "vllm:cache_config_info: missing" in says(one, kept.encode())
    assert "several models on one page: other, tiny-llama" in says(
        one, text.replace('engine="0",model_name="tiny-llama"', 'model_name="other"', 1).encode(), Context(gpu="cpu")
    )
    assert "num_gpu_blocks: must not be negative, is -1" in says(one, text.replace('num_gpu_blocks="2048"', 'num_gpu_blocks="-1"').encode())


def test_vllm_log_through_the_table_of_sources() -> None:
    (start,) = sample("vllm-log").parse().starts
    assert start.gpu == "h100"
    assert start.weights_mib is not None
    assert start.kv_tokens is not None
    assert start.provenance.engine_version == "0.19.0"


def test_aiconfigurator_measured_rows() -> None:
    found = load("sources", SOURCES, "aiconfigurator").parse("fit.csv.gz", read("serving_measured_fit.csv.gz"), Context()).latency
    assert Counter(point.provenance.engine for point in found) == {"trtllm": 240, "sglang": 124, "vllm": 108}
    assert {point.provenance.kind for point in found} == {"measured"}
    assert found[0] == LatencyPoint(
        model="deepseek-ai/DeepSeek-V3",
        gpu="h200_sxm",
        tensor_parallel_size=8,
        quantization="fp8",
        input_tokens=1024,
        output_tokens=1024,
        concurrency=8,
        ttft_s=0.24486134874168783,
        tpot_s=0.01247241825473754,
        provenance=Provenance(
            kind="measured", source="aiconfigurator db-dump/2026-04-27", date="2026-03-25", engine="sglang", engine_version="0.5.9"
        ),
    )
    assert {point.attention_data_parallel_size for point in found} == {1, 8, 64}


def test_aiconfigurator_estimates_are_marked() -> None:
    found = sample("aiconfigurator").parse().latency
    assert {point.provenance.kind for point in found} == {"estimated"}
    assert [(point.concurrency, point.ttft_s, point.request_s) for point in found] == [(16, 0.3105, 6.42325), (32, 0.402, 7.6375)]
    assert {(point.quantization, point.kv_cache_dtype, point.gpu) for point in found} == {("fp8", "fp8", "h200_sxm")}


def test_aiconfigurator_names_row_and_column() -> None:
    one = sample("aiconfigurator")
    text = one.raw.decode()
    assert "row 3: tpot: 14.5 s is outside" in says(one, text.replace(",14.5,", ",14500,").encode())
    assert "row 2: gemm: unknown mode 'fp3'" in says(one, text.replace("fp8_block", "fp3", 1).encode())
    assert "disaggregated" in says(one, b"model,(p)tp,(d)tp\nx,1,1\n")
    assert "row 3: has 4 cells, the heading has 33" in says(one, text[: text.rindex(",0,32,")].encode() + b",0")


def test_inferno() -> None:
    found = sample("inferno").parse().latency
    assert {point.provenance.kind for point in found} == {"fitted"}
    first = [point for point in found if point.model == "llama-3.1-8b"]
    assert [point.concurrency for point in first] == [1, 2, 4, 8, 16, 32, 48]
    assert first[3].tpot_s == pytest.approx((6.5 + 0.06 * 8) / 1000)
    assert first[3].ttft_s == pytest.approx((6.4 + 0.0175 * 512 * 8) / 1000)
    other = [point for point in found if point.model == "llama-3.1-70b"]
    assert {(point.gpu, point.tensor_parallel_size, point.ttft_s) for point in other} == {("A100", 4, None)}
    assert [point.concurrency for point in other] == [1, 2, 4, 8]


def test_inferno_needs_lengths_and_refuses_the_other_formula() -> None:
    one = sample("inferno")
    assert "models[0].input_tokens: the file does not say it; give --input-tokens" in says(one, one.raw, Context())
    entry = {"name": "m", "acc": "H100", "maxBatchSize": 2, "perfParms": {"alpha": 1, "beta": 1, "gamma": 1}}
    assert "models[0].perfParms: three parameters of another formula" in says(one, changed(one, models=[entry]))
    assert "models[0].alpha: missing" in says(one, changed(one, models=[{"name": "m", "acc": "H100", "maxBatchSize": 2}]))
    assert "models: is empty" in says(one, changed(one, models=[]))


def test_csv() -> None:
    first, second = sample("csv").parse().latency
    assert (first.ttft_s, first.tpot_s, first.statistic, first.concurrency, first.requests) == (0.0855, 0.0091, "median", 8, 400)
    assert (second.ttft_s, second.rate_rps, second.concurrency, second.statistic) == (0.14, 4.5, None, "mean")
    assert second.provenance == Provenance(kind="measured", source="load test of team red", date="2026-05-04", engine_version="0.19.0")


HEADING = "model,gpu,input_tokens,output_tokens,concurrency,ttft_s,tpot_s\n"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (f"{HEADING}m,g,8,8,1,0.1,13.1\n", "row 2: tpot_s: 13.1 s is outside 0.0001 to 2; is it in another unit?"),
        (f"{HEADING}m,g,8,8,1,0.1,-0.01\n", "row 2: tpot_s: must not be negative, is -0.01"),
        (f"{HEADING}m,g,8,8,1,0.1,nan\n", "row 2: tpot_s: must be a finite number, is 'nan'"),
        (f"{HEADING}m,g,8,8,1,0.1,fast\n", "row 2: tpot_s: must be a finite number, is 'fast'"),
        (f"{HEADING}m,g,8,8,1,0,0.01\n", "row 2: ttft_s: must be above 0; leave the cell empty where nothing was measured"),
        (f"{HEADING}m,g,8,8,1,,\n", "row 2: ttft_s: the point has neither ttft_s nor tpot_s, request_s or rate_rps"),
        (f"{HEADING}m,g,8,0,1,0.1,0.01\n", "row 2: output_tokens: must be a whole number of at least 1, is 0"),
        (f"{HEADING}m,,8,8,1,0.1,0.01\n", "row 2: gpu: the file does not say it; give --gpu"),
        (f"{HEADING}m,g,8,8,1,0.1,0.01\nm,g,8\n", "row 3: has 3 cells, the heading has 7; is the file cut off?"),
        (HEADING, "has no rows below its heading"),
        ("model,gpu,input_tokens,output_tokens,ttft_s,ttft_s\nm,g,1,1,1,1\n", "row 1: a column stands there twice"),
        ("model,gpu,input_tokens,output_tokens,ttft_s,ttft_ms\nm,g,1,1,1,1\n", "row 2: ttft_ms: ttft_s is given too; keep one"),
        ("model,gpu,input_tokens,output_tokens,ttft_s,speed\nm,g,1,1,1,1\n", "row 2: speed: unknown column"),
        ("model,gpu,input_tokens,output_tokens,ttft_s,kind\nm,g,1,1,1,guessed\n", "row 2: kind: must be one of measured, fitted"),
        ("model,gpu,input_tokens,output_tokens,ttft_s,date\nm,g,1,1,1,May\n", "row 2: date: 'May' is no date; write YYYY-MM-DD"),
    ],
)
def test_csv_refuses(text: str, field: str) -> None:
    one = sample("csv")
    assert says(one, text.encode()).startswith(f"{one.name}: {field}")
