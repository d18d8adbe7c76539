"""One forward pass of an engine: what it computes, what comes of it and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.simulation.engine_requests import EngineRequest
from profiles.latency.steptime import StepTime

Array = NDArray[np.float64]


@dataclass(slots=True)
class EngineCounters:
    """Totals since the engine started, counted as vLLM does: a prompt (cached tokens included) when its first token appears."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0


class EngineSequence:
    """A request inside the engine. While it decodes only `computed` moves: the tokens whose keys and values are in its blocks."""

    __slots__ = ("cached", "capacity", "computed", "last", "prefilling", "prompt", "rank", "request_id", "target")

    def __init__(self, request: EngineRequest, number: int) -> None:
        """Start without blocks; number counts the requests of the engine."""
        self.request_id = request.request_id
        self.prompt = request.input_tokens
        self.cached = min(request.cached_prefix_tokens, request.input_tokens - 1)
        self.computed = self.cached
        self.target = request.input_tokens
        self.last = request.input_tokens + request.output_tokens - 1
        self.capacity = 0
        self.prefilling = True
        # of two the smaller goes first, where an engine looks at priorities
        self.rank = (request.priority, number)


@dataclass(slots=True)
class Step:
    """One forward pass: tokens computed in it and kv_tokens read from the KV cache (context computed before it).

    pairs counts, over its prefill chunks, each computed token with every token it attends to: those before it and itself. alike is how
    many steps like it, itself included, the core knows to follow (EngineCore.steps_alike).
    """

    tokens: int
    kv_tokens: int
    decodes: list[EngineSequence]
    chunks: list[tuple[EngineSequence, int]]
    pairs: int = 0
    alike: int = 1

    def take(self, sequence: EngineSequence, chunk: int) -> None:
        """Add a chunk of a prompt, whose cached context is read once."""
        computed = sequence.computed
        self.chunks.append((sequence, chunk))
        self.tokens += chunk
        self.kv_tokens += computed
        self.pairs += chunk * computed + chunk * (chunk + 1) // 2


@dataclass(frozen=True, slots=True)
class StepResult:
    """Request ids that got one token in a step, and those among them whose first or last token it was."""

    tokens: tuple[str, ...]
    first: tuple[str, ...]
    ended: tuple[str, ...]


def seconds(step_time: StepTime, step: Step) -> float:
    """Seconds of a step on an engine alone, at the median."""
    return step_time.step_s(step.tokens, step.kv_tokens, len(step.decodes) + len(step.chunks), step.pairs)


def seconds_each(step_time: StepTime, step: Step, count: int) -> Array:
    """Seconds of each of `count` steps of the same decodes on an engine alone, at the median: the context grows by a token per request."""
    growth_s = step_time.per_kv_token_s * len(step.decodes)
    return seconds(step_time, step) + growth_s * np.arange(count, dtype=np.float64)
