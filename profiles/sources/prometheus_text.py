"""The one parser of engine metrics: Prometheus text as vLLM's /metrics writes it, and as OpenMetrics clients rewrite it.

vLLM writes `vllm:name`; collectors that do not allow colons turn it into `vllm_name`. Both are read, without the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Asks for the plain text format: without it some servers answer with OpenMetrics or protocol buffers.
ACCEPT = "text/plain;version=0.0.4"
PREFIXES = ("vllm:", "vllm_")

# name, labels, value, and perhaps a timestamp and an exemplar (OpenMetrics), which are left aside.
_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+(\S+)(?:[ \t].*)?')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: the series' name without vLLM's prefix, its labels, its value."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """vLLM's samples on a page of metrics, in order; lines of others, comments and lines that cannot be read are skipped."""
    for line in text.splitlines():
        if not line.startswith(PREFIXES):
            continue
        found = _LINE.fullmatch(line.rstrip())
        if found is None:
            continue
        name, labels, value = found.groups()
        try:
            number = float(value)
        except ValueError:
            continue
        yield Sample(name[len(PREFIXES[0]) :], _labels(labels or ""), number)


def sums(text: str) -> dict[str, float]:
    """Values by name without prefix, summed over labels."""
    found: dict[str, float] = {}
    for sample in samples(text):
        found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def _labels(text: str) -> dict[str, str]:
    return {name: _ESCAPE.sub(lambda escape: _ESCAPED.get(escape.group(1), escape.group(1)), value) for name, value in _LABEL.findall(text)}
