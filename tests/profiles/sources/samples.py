"""One real or realistic file per source, and what has to be said beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from profiles.sources.source import Context, Source, SourceError
from profiles.store.measurements import Measurements
from ullage.plugins import SOURCES, load

FIXTURES = Path(__file__).with_name("fixtures")
_CPU = Context(model="tiny-llama", gpu="cpu", engine_version="0.32.0")
_LENGTHS = Context(model="tiny-llama", gpu="cpu", input_tokens=64, output_tokens=32, concurrency=8)

SAMPLES: dict[str, tuple[str, Context]] = {
    "vllm-bench-serve": ("vllm-bench-serve-detailed.json", _CPU),
    "vllm-bench-throughput": ("vllm-bench-throughput.json", _LENGTHS),
    "vllm-bench-latency": ("vllm-bench-latency.json", _LENGTHS),
    "guidellm": ("guidellm-report.json.gz", _CPU),
    "vllm-metrics": ("metrics-after-bench.prom.gz", _CPU),
    "vllm-log": ("vllm-start.log.gz", Context(gpu="h100")),
    "vllm-startup-plan": ("vllm-startup-plan.json", Context(model="llama-3.1-8b", gpu="h100")),
    "aiconfigurator": ("aiconfigurator-best-config.csv", Context()),
    "inferno": ("inferno.json", Context(input_tokens=512, output_tokens=128)),
    "melange": ("melange.json", Context(model="llama-2-7b")),
    "ullage": ("ullage-export.json", Context()),
    "csv": ("plain.csv", Context()),
}


@dataclass(frozen=True)
class Sample:
    """A source with a file of its kind."""

    kind: str
    source: Source
    name: str
    raw: bytes
    context: Context

    def parse(self, raw: bytes | None = None, context: Context | None = None) -> Measurements:
        """What the source makes of the file, or of other bytes under its name."""
        return self.source.parse(self.name, self.raw if raw is None else raw, context or self.context)


def sample(kind: str) -> Sample:
    """The sample of a source."""
    file, context = SAMPLES[kind]
    return Sample(kind, load("sources", SOURCES, kind), file, (FIXTURES / file).read_bytes(), context)


def read(file: str) -> bytes:
    """Bytes of a fixture."""
    return (FIXTURES / file).read_bytes()


def says(one: Sample, raw: bytes, context: Context | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        one.parse(raw, context)
    return str(caught.value)


def changed(one: Sample, **values: object) -> bytes:
    return json.dumps({**json.loads(one.raw), **values}).encode()
