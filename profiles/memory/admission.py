"""Predictive admission: what a request will need of a replica's KV pool, and how likely it is that admitting it causes preemption.

A pure function of the pool's live state. All running requests are taken to decode in step, one token each per step, as an engine without
prefill does: request i has c_i tokens now, and after t more steps it is still there with probability S(g_i + t) / S(g_i) and then holds
blocks of c_i + t tokens, where g_i is what it has generated and S the survival function of answer lengths. The demand at t is a sum of
independent terms; its chance to exceed the pool is that of a normal variable of the same mean and variance, and the answer is the largest
chance over the life of the request. A replica that never preempts has probability 0 only when even the longest answers fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.memory.kv import RequestBlocks, request_blocks
from profiles.models import Architecture
from profiles.settings import EngineSettings

IntegerArray = NDArray[np.int64]
Fractions = NDArray[np.float64]

# Instants at which the demand is looked at, evenly spread over the request's life: demand changes slowly against a life.
_INSTANTS = 24


@dataclass(frozen=True, slots=True)
class AnswerLengths:
    """Answer lengths in tokens as they were observed, ascending; at least one."""

    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuses an empty or unsorted sample, and lengths below 0."""
        if (
            not self.tokens
            or self.tokens[0] < 0
            or any(later < earlier for earlier, later in zip(self.tokens, self.tokens[1:], strict=False))
        ):
            raise ValueError("AnswerLengths.tokens must be ascending, hold at least one length and none below 0")

    def surviving(self, tokens: IntegerArray) -> Fractions:
        """Share of answers longer than each of these; beyond the longest one that was seen it is kept at half an observation."""
        count = len(self.tokens)
        above = count - np.searchsorted(np.array(self.tokens), tokens, side="right")
        return np.maximum(above, 0.5) / count

    @property
    def mean_tokens(self) -> float:
        """Mean length."""
        return sum(self.tokens) / len(self.tokens)


@dataclass(frozen=True, slots=True)
class RunningRequest:
    """A request in the batch: prompt, what it has generated, and the most it may generate."""

    prompt_tokens: int
    generated_tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class PoolState:
    """Live state of a replica's KV pool; kv_blocks as vLLM counts them, the null block included. Blocks that can be evicted are free."""

    kv_blocks: int
    running: tuple[RunningRequest, ...]


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request to decide on; cached_tokens of its prompt are held by the pool for others already."""

    prompt_tokens: int
    max_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """The prediction. Blocks are what the request adds: at its start, with an answer of mean length, and at most."""

    start_blocks: int
    expected_blocks: int
    most_blocks: int
    preemption_probability: float
    can_ever_fit: bool


def admission(
    architecture: Architecture, settings: EngineSettings, state: PoolState, request: NewRequest, answers: AnswerLengths
) -> Admission:
    """What admitting this request now means for the replica; ValueError for negative counts."""
    _check(request, state)
    usable = state.kv_blocks - 1
    shared = request.cached_tokens // settings.block_size
    blocks = request_blocks(architecture, settings)
    longest = min(request.prompt_tokens + request.max_tokens, settings.max_model_len)
    expected = min(request.prompt_tokens + math.ceil(answers.mean_tokens), longest)
    most_blocks = blocks.of(longest)
    can_ever_fit = request.prompt_tokens < settings.max_model_len and most_blocks <= usable
    new = RunningRequest(request.prompt_tokens, 0, request.max_tokens)
    demand = _Demand(blocks, settings.max_model_len, answers, (*state.running, new), shared)
    return Admission(
        start_blocks=max(blocks.of(min(request.prompt_tokens + 1, longest)) - shared, 0),
        expected_blocks=max(blocks.of(expected) - shared, 0),
        most_blocks=max(most_blocks - shared, 0),
        preemption_probability=demand.largest_chance(usable, longest - request.prompt_tokens) if can_ever_fit else 1.0,
        can_ever_fit=can_ever_fit,
    )


def _check(request: NewRequest, state: PoolState) -> None:
    for name in ("prompt_tokens", "max_tokens"):
        if getattr(request, name) < 1:
            raise ValueError(f"{name} is {getattr(request, name)}, it must be at least 1")
    if not 0 <= request.cached_tokens <= request.prompt_tokens:
        raise ValueError(f"cached_tokens is {request.cached_tokens}, it must be between 0 and prompt_tokens ({request.prompt_tokens})")
    if state.kv_blocks < 2:
        raise ValueError(f"kv_blocks is {state.kv_blocks}; one block is held back, so at least 2 are needed")
    for place, running in enumerate(state.running):
        for name in ("prompt_tokens", "generated_tokens", "max_tokens"):
            if getattr(running, name) < 0:
                raise ValueError(f"running[{place}].{name} is {getattr(running, name)}, it must not be negative")


@dataclass(frozen=True, slots=True)
class _Demand:
    """Blocks that running requests come to hold; shared blocks are counted once less."""

    blocks: RequestBlocks
    max_model_len: int
    answers: AnswerLengths
    running: Sequence[RunningRequest]
    shared: int

    def largest_chance(self, usable: int, life_steps: int) -> float:
        """The largest chance that the demand exceeds the usable blocks within that many steps."""
        last = max(min(life_steps, self.answers.tokens[-1]), 1)
        steps = np.unique(np.linspace(1, last, _INSTANTS).astype(np.int64))[:, np.newaxis]
        prompts, generated, limits = (
            np.array([getattr(request, name) for request in self.running], dtype=np.int64)
            for name in ("prompt_tokens", "generated_tokens", "max_tokens")
        )
        reached = generated + steps
        present = np.where(reached < limits, self.answers.surviving(reached) / self.answers.surviving(generated), 0.0)
        held = self._held(np.minimum(prompts + reached, self.max_model_len))
        mean, variance = (present * held).sum(axis=1), (present * (1.0 - present) * held * held).sum(axis=1)
        most = np.where(present > 0.0, held, 0).sum(axis=1)
        room = usable + self.shared
        instants = zip(mean.tolist(), variance.tolist(), most.tolist(), strict=True)
        return max(_exceeding_chance(room, *instant) for instant in instants)

    def _held(self, tokens: IntegerArray) -> IntegerArray:
        """RequestBlocks.of of many lengths."""
        held: IntegerArray = self.blocks.full * -(-tokens // self.blocks.block_tokens) + self.blocks.state_blocks
        if self.blocks.windowed:
            kept = np.minimum(self.blocks.kept_tokens, tokens)
            held = held + self.blocks.windowed * (-(-kept // self.blocks.window_block_tokens) + self.blocks.window_slack)
        return held


def _exceeding_chance(room: int, mean: float, variance: float, most: int) -> float:
    """Chance that a demand of that mean and variance, which cannot be above `most`, exceeds the room."""
    if most <= room:
        return 0.0
    if variance <= 0.0:
        return 1.0 if mean > room else 0.0
    return 0.5 * math.erfc((room - mean) / math.sqrt(2.0 * variance))
