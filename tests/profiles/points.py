"""Points for tests, by hand and drawn."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from profiles.store.measurements import LatencyPoint, Measurements, PairPoint, PairSide, Provenance, StartPoint


def measured(**values: Any) -> Provenance:
    return Provenance(**{"kind": "measured", "source": "a test", **values})


def point(**values: Any) -> LatencyPoint:
    base: dict[str, Any] = {
        "model": "meta-llama/Llama-3.1-8B",
        "gpu": "H100-SXM-80GB",
        "input_tokens": 1024,
        "output_tokens": 128,
        "concurrency": 8,
        "ttft_s": 0.09,
        "tpot_s": 0.0095,
        "provenance": measured(),
    }
    return LatencyPoint(**{**base, **values})


def start(**values: Any) -> StartPoint:
    base: dict[str, Any] = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100-SXM-80GB", "weights_mib": 15317.0, "provenance": measured()}
    return StartPoint(**{**base, **values})


def side(**values: Any) -> PairSide:
    base: dict[str, Any] = {"model": "a", "phase": "decode", "concurrency": 4, "input_tokens": 8, "output_tokens": 8, "slowdown": 1.4}
    return PairSide(**{**base, **values})


def pair(**values: Any) -> PairPoint:
    base: dict[str, Any] = {
        "first": side(),
        "second": side(model="b", slowdown=1.7),
        "gpu": "H100-SXM-80GB",
        "sharing": "mps",
        "provenance": measured(),
    }
    return PairPoint(**{**base, **values})


_names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12) | st.sampled_from(
    ["a/b", "a--b", "A/B", "..", "~", "null", "1.0", "yes", "pairs", "a: b"]
)
_versions = st.none() | st.sampled_from(["0.19.0", "0.9", "1.0", "nightly"])
_provenances = st.builds(
    Provenance,
    kind=st.sampled_from(["measured", "fitted", "estimated"]),
    source=_names,
    date=st.none() | st.dates().map(lambda day: day.isoformat()),
    engine=st.sampled_from(["vllm", "sglang"]),
    engine_version=_versions,
)
_counts = st.integers(1, 10**6)
_latency = st.builds(
    LatencyPoint,
    model=_names,
    gpu=_names,
    mig_profile=st.none() | st.just("1g.10gb"),
    tensor_parallel_size=st.integers(1, 8),
    quantization=st.none() | st.just("fp8"),
    input_tokens=_counts,
    output_tokens=_counts,
    concurrency=st.none() | st.integers(1, 64),
    ttft_s=st.none() | st.floats(5e-4, 3600),
    tpot_s=st.floats(1e-4, 2),
    provenance=_provenances,
)
_starts = st.builds(
    StartPoint,
    model=_names,
    gpu=_names,
    enforce_eager=st.none() | st.booleans(),
    weights_mib=st.floats(1e-9, 1e9),
    kv_bytes=st.none() | _counts,
    provenance=_provenances,
)
_sides = st.builds(
    PairSide,
    model=_names,
    phase=st.sampled_from(["prefill", "decode", "mixed"]),
    concurrency=_counts,
    input_tokens=_counts,
    output_tokens=_counts,
    slowdown=st.floats(0.8, 100),
    active_thread_fraction=st.none() | st.floats(0.01, 1),
)
_pairs = st.builds(
    PairPoint, first=_sides, second=_sides, gpu=_names, sharing=st.sampled_from(["time_shared", "mps"]), provenance=_provenances
)
measurements = st.builds(
    lambda latency, starts, pairs: Measurements() + Measurements(tuple(latency), tuple(starts), tuple(pairs)),
    st.lists(_latency, max_size=6),
    st.lists(_starts, max_size=4),
    st.lists(_pairs, max_size=3),
)
