"""What a Prometheus server is asked about vLLM's requests, and what it answers to `/api/v1/query_range`.

Counters and histograms are asked for as rates over the step before each time, so a restart of an engine (a reset) counts as what it is.
Both spellings are summed, `vllm:name` and `vllm_name`: where a series has both, with equal labels, it counts once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profiles.sources.prometheus_text import PREFIXES

REQUESTS = "request_success_total"
INPUT_TOKENS, OUTPUT_TOKENS = "prompt_tokens_total", "generation_tokens_total"
INPUT_LENGTHS, OUTPUT_LENGTHS = "request_prompt_tokens", "request_generation_tokens"

# What Prometheus answers at most for each series (its own limit).
MOST_POINTS = 11_000

# Label matchers of PromQL: label, operator, text in double quotes.
_MATCHER = r'[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"'
_MATCHERS = re.compile(rf"\s*{_MATCHER}(?:\s*,\s*{_MATCHER})*\s*,?\s*")


class PrometheusError(ValueError):
    """A server that cannot be asked, or an answer that is none; the message says what to do."""


@dataclass(frozen=True, slots=True)
class RangeAnswer:
    """Values by time (seconds since 1970) for each set of labels, without what is no number; and what the server warns of."""

    series: tuple[tuple[Mapping[str, str], Mapping[int, float]], ...]
    warnings: tuple[str, ...] = ()

    def values(self) -> Mapping[int, float]:
        """Those of a question that has one answer; none where the server has no samples."""
        return self.series[0][1] if self.series else {}


def matchers(text: str) -> str:
    """Label matchers as PromQL has them between braces; a text that is none is the name of a served model. ValueError for broken ones.

    >>> matchers('{tenant="a"}'), matchers("qwen3-8b")
    ('tenant="a"', 'model_name="qwen3-8b"')
    """
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    elif not re.search(r'[={}"]', inner):
        return f"model_name={_quoted(inner)}"
    if not _MATCHERS.fullmatch(inner):
        raise ValueError(f'{text[:80]!r} are no label matchers; write for example {{model_name="qwen3-8b", tenant="a"}}')
    return inner.strip()


def served_as(*names: str) -> str:
    """Matchers of models that are served under one of these names."""
    if len(names) == 1:
        return f"model_name={_quoted(names[0])}"
    return f"model_name=~{_quoted('|'.join(map(re.escape, names)))}"


def rate_question(series: str, selector: str, step_s: int) -> str:
    """The rate of a counter over the step before, summed over replicas."""
    return f"sum({_rates(series, selector, step_s)})"


def p99_question(histogram: str, selector: str, step_s: int) -> str:
    """The 99th percentile of what a histogram counted in the step before, on all replicas together."""
    return f"histogram_quantile(0.99, sum by (le) ({_rates(histogram + '_bucket', selector, step_s)}))"


def models_question(span_s: int) -> str:
    """Which models the server has requests of."""
    return f"sum by (model_name) ({_rates(REQUESTS, '', span_s)})"


def range_answer(raw: bytes, status: int, server: str) -> RangeAnswer:
    """The answer in a body; PrometheusError says what the server says, or that it is none."""
    try:
        body = json.loads(raw)
        refused = None if body["status"] == "success" else str(body["error"])
        kind = None if refused else str(body["data"]["resultType"])
        rows = body["data"]["result"] if kind == "matrix" else []
        found = tuple((_labels(item["metric"]), _values(item["values"])) for item in rows)
        warnings = tuple(str(text)[:300] for text in body.get("warnings") or ())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PrometheusError(
            f"{server}: HTTP {status}, and not the answer of a Prometheus; give the address that stands before /api/v1"
        ) from error
    if refused is not None:
        raise PrometheusError(f"{server}: the server refuses the question: {refused[:300]}")
    if kind != "matrix":
        raise PrometheusError(f"{server}: the answer is no range of values but {str(kind)[:40]}")
    return RangeAnswer(found, warnings)


def _rates(series: str, selector: str, step_s: int) -> str:
    braces = f"{{{selector}}}" if selector else ""
    return " or ".join(f"rate({prefix}{series}{braces}[{step_s}s])" for prefix in PREFIXES)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _labels(metric: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in metric.items()}


def _values(pairs: list[tuple[float, str]]) -> dict[int, float]:
    found = {round(time_s): float(value) for time_s, value in pairs}
    return {time_s: value for time_s, value in found.items() if math.isfinite(value) and value >= 0}
