"""The text of /metrics: vLLM's names, labels, types and help texts, filled with what the emulator counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# Bucket bounds as in /metrics of vLLM 0.32.0 (vllm/v1/metrics/loggers.py).
_TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_REQUEST_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_SLEEP_S = (0.01, 0.1, 1, 10, 30, 60, 120, 300, 600)
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)
_PARAMS_N = (1, 2, 5, 10, 20)

_FAMILIES = Path(__file__).with_name("metrics.tsv")

# Labels beside engine and model_name; the values are all that vLLM exports from the start.
_LABELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "vllm:num_requests_waiting_by_reason": ("reason", ("capacity", "deferred")),
    "vllm:engine_sleep_state": ("sleep_state", ("awake", "weights_offloaded", "discard_all")),
    "vllm:prompt_tokens_by_source_total": ("source", ("local_compute", "local_cache_hit", "external_kv_transfer")),
    "vllm:prompt_tokens_cached_by_source_total": ("source", ("device", "host", "p2p", "disk", "external_unspecified")),
    "vllm:request_success_total": ("finished_reason", ("stop", "length", "abort", "error", "repetition")),
    "vllm:admission_rejections_total": ("reason", ("max_num_queued_reqs", "max_num_queued_tokens")),
    "vllm:sleep_mode_operations_in_flight": ("operation", ("sleep", "wake")),
}
# These families carry only the labels named here.
_BARE = {"vllm:sleep_mode_operations_in_flight": (), "vllm:admission_rejections_total": ("model_name",)}


class Histogram:
    """Counts per bucket; `observe` is the hot path."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Upper bounds without +Inf."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def lines(self, name: str, labels: Mapping[str, str]) -> Iterator[str]:
        """Cumulative buckets, count and sum in the text format."""
        count = 0
        for bound, here in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += here
            le = "+Inf" if bound == float("inf") else repr(float(bound))
            yield f"{name}_bucket{_braces({**labels, 'le': le})} {float(count)}"
        yield f"{name}_count{_braces(labels)} {float(count)}"
        yield f"{name}_sum{_braces(labels)} {float(self.total)}"


def _braces(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{_escaped(labels[key])}"' for key in sorted(labels))
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def one_two_five(limit: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, ... up to a limit: vLLM's buckets for token counts.

    >>> one_two_five(100)
    (1, 2, 5, 10, 20, 50, 100)
    """
    bounds: list[int] = []
    power = 1
    while True:
        for step in (1, 2, 5):
            if step * power > limit:
                return tuple(bounds)
            bounds.append(step * power)
        power *= 10


class Metrics:
    """Everything one engine exports. Counters are floats in `values[family][label value]` ("" without further label)."""

    def __init__(self, model_name: str, max_model_len: int, cache_config: Mapping[str, str], created_s: float) -> None:
        """All families at zero; created_s is the epoch time of the start."""
        self._labels = {"engine": "0", "model_name": model_name}
        self._cache_config = {**cache_config, "engine": "0"}
        self._created_s = created_s
        self._families = _families()
        self.values: dict[str, dict[str, float]] = {
            name: dict.fromkeys(_LABELS.get(name, ("", ("",)))[1], 0.0) for name, kind, _ in self._families if kind in {"counter", "gauge"}
        }
        self.values["vllm:cache_config_info"] = {}
        tokens = one_two_five(max_model_len)
        self.iteration_tokens = Histogram(_STEP_TOKENS)
        self.ttft_s = Histogram(_TTFT_S)
        self.inter_token_s = Histogram(_TOKEN_S)
        self.time_per_output_token_s = Histogram(_TOKEN_S)
        self.e2e_s = Histogram(_REQUEST_S)
        self.queue_s = Histogram(_REQUEST_S)
        self.inference_s = Histogram(_REQUEST_S)
        self.prefill_s = Histogram(_REQUEST_S)
        self.decode_s = Histogram(_REQUEST_S)
        self.request_preemptions = Histogram(_PREEMPTIONS)
        self.prompt_tokens = Histogram(tokens)
        self.prefill_tokens = Histogram(tokens)
        self.generation_tokens = Histogram(tokens)
        self.max_generation_tokens = Histogram(tokens)
        self.max_tokens = Histogram(tokens)
        self.params_n = Histogram(_PARAMS_N)
        self.sleep_operations: dict[str, Histogram] = {}
        self.http_requests: dict[tuple[str, str, str], int] = {}

    def add(self, family: str, amount: float = 1.0, label: str = "") -> None:
        """Add to a counter or gauge."""
        self.values[family][label] += amount

    def sleep_operation(self, operation: str, duration_s: float) -> None:
        """Count one finished sleep or wake."""
        self.sleep_operations.setdefault(operation, Histogram(_SLEEP_S)).observe(duration_s)

    def text(self) -> str:
        """The whole page."""
        histograms = self._histograms()
        lines: list[str] = []
        for name, kind, help_text in self._families:
            lines += (f"# HELP {name} {help_text}", f"# TYPE {name} {kind}")
            if kind == "histogram":
                for labels, histogram in histograms[name]:
                    lines += histogram.lines(name, labels)
            elif name == "vllm:cache_config_info":
                lines.append(f"{name}{_braces(self._cache_config)} 1.0")
            else:
                lines += (f"{name}{_braces(labels)} {value}" for labels, value in self._series(name))
            if kind != "gauge":
                lines += self._created(name, kind, help_text, histograms)
        lines += self._http()
        return "\n".join(lines) + "\n"

    def _histograms(self) -> dict[str, list[tuple[dict[str, str], Histogram]]]:
        named = {
            "vllm:iteration_tokens_total": self.iteration_tokens,
            "vllm:time_to_first_token_seconds": self.ttft_s,
            "vllm:inter_token_latency_seconds": self.inter_token_s,
            "vllm:request_time_per_output_token_seconds": self.time_per_output_token_s,
            "vllm:e2e_request_latency_seconds": self.e2e_s,
            "vllm:request_queue_time_seconds": self.queue_s,
            "vllm:request_inference_time_seconds": self.inference_s,
            "vllm:request_prefill_time_seconds": self.prefill_s,
            "vllm:request_decode_time_seconds": self.decode_s,
            "vllm:request_num_preemptions": self.request_preemptions,
            "vllm:request_prompt_tokens": self.prompt_tokens,
            "vllm:request_prefill_kv_computed_tokens": self.prefill_tokens,
            "vllm:request_generation_tokens": self.generation_tokens,
            "vllm:request_max_num_generation_tokens": self.max_generation_tokens,
            "vllm:request_params_max_tokens": self.max_tokens,
            "vllm:request_params_n": self.params_n,
        }
        found = {name: [(self._labels, histogram)] for name, histogram in named.items()}
        found["vllm:sleep_mode_operation_duration_seconds"] = [
            ({"operation": operation}, histogram) for operation, histogram in sorted(self.sleep_operations.items())
        ]
        return found

    def _series(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        shared = self._labels if name not in _BARE else {key: self._labels[key] for key in _BARE[name]}
        label = _LABELS.get(name, ("", ()))[0]
        for value, amount in self.values[name].items():
            yield ({**shared, label: value} if label else shared), amount

    def _created(
        self, name: str, kind: str, help_text: str, histograms: dict[str, list[tuple[dict[str, str], Histogram]]]
    ) -> Iterator[str]:
        created = (name.removesuffix("_total") if kind == "counter" else name) + "_created"
        yield f"# HELP {created} {help_text}"
        yield f"# TYPE {created} gauge"
        series = histograms[name] if kind == "histogram" else list(self._series(name))
        for labels, _ in series:
            yield f"{created}{_braces(labels)} {self._created_s}"

    def _http(self) -> Iterator[str]:
        yield "# HELP http_requests_total Total number of requests by method, status and handler."
        yield "# TYPE http_requests_total counter"
        for (handler, method, status), count in sorted(self.http_requests.items()):
            yield f"http_requests_total{_braces({'handler': handler, 'method': method, 'status': status})} {float(count)}"


def _families() -> tuple[tuple[str, str, str], ...]:
    rows = [line.split("\t") for line in _FAMILIES.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return tuple((name, kind, help_text) for name, kind, help_text in rows)
