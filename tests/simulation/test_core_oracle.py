"""The core against a plain transcription of vLLM's scheduler loop that keeps every block and every token."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from planner.simulation import EngineConfig, EngineCore, EngineRequest
from tests.simulation.driving import config


@dataclass
class PlainRequest:
    request_id: str
    output_tokens: int
    known: int
    computed: int
    generated: int = 0
    blocks: list[int] = field(default_factory=list)
    rank: tuple[int, int] = (0, 0)


class PlainScheduler:
    """Both policies, literally: any request may be mid-prefill, nothing is assumed about who is last."""

    def __init__(self, limits: EngineConfig) -> None:
        self.limits = limits
        self.free = list(range(1, limits.kv_blocks))
        self.waiting: list[PlainRequest] = []
        self.running: list[PlainRequest] = []

    def add(self, request: EngineRequest) -> None:
        cached = min(request.cached_prefix_tokens, request.input_tokens - 1)
        rank = (request.priority, int(request.request_id))
        self.waiting.append(PlainRequest(request.request_id, request.output_tokens, request.input_tokens, cached, rank=rank))
        if self.limits.by_priority:
            self.waiting.sort(key=lambda other: other.rank)

    def _allocate(self, request: PlainRequest, tokens: int) -> bool:
        missing = -(-tokens // self.limits.block_size) - len(request.blocks)
        if missing > len(self.free):
            return False
        request.blocks += [self.free.pop() for _ in range(missing)]
        return True

    def step(self) -> tuple[int, int, list[str]] | None:
        """Tokens, cached tokens read and the ids that got a token; None when idle."""
        budget = self.limits.max_num_batched_tokens
        scheduled: list[tuple[PlainRequest, int]] = []
        preempted = False
        index = 0
        while index < len(self.running) and budget > 0:
            request = self.running[index]
            chunk = min(request.known - request.computed, budget)
            while not self._allocate(request, request.computed + chunk):
                victim = max(self.running, key=lambda other: other.rank) if self.limits.by_priority else self.running[-1]
                self.running.remove(victim)
                preempted = True
                self.free += victim.blocks
                victim.blocks, victim.computed = [], 0
                self.waiting.insert(0, victim)
                if self.limits.by_priority:
                    self.waiting.sort(key=lambda other: other.rank)
                for taken in [item for item in scheduled if item[0] is victim]:
                    scheduled.remove(taken)
                    budget += taken[1]
                    index -= 1
                if victim is request:
                    break
            if request not in self.running:
                break
            scheduled.append((request, chunk))
            budget -= chunk
            index += 1
        while not preempted and self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            request = self.waiting[0]
            if -(-request.known // self.limits.block_size) > len(self.free):
                break
            chunk = min(request.known - request.computed, budget)
            assert self._allocate(request, request.computed + chunk)
            self.running.append(self.waiting.pop(0))
            scheduled.append((request, chunk))
            budget -= chunk
        return self._compute(scheduled) if scheduled else None

    def _compute(self, scheduled: list[tuple[PlainRequest, int]]) -> tuple[int, int, list[str]]:
        read = sum(request.computed for request, _ in scheduled)
        got = []
        for request, chunk in scheduled:
            request.computed += chunk
            if request.computed == request.known:
                request.known += 1
                request.generated += 1
                got.append(request.request_id)
                if request.generated == request.output_tokens:
                    self.running.remove(request)
                    self.free += request.blocks
        return sum(chunk for _, chunk in scheduled), read, got


arrivals = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 60), st.integers(1, 40), st.integers(0, 60)).map(
        lambda item: (item[0], item[1], item[2], min(item[1], item[3]))
    ),
    min_size=1,
    max_size=16,
)


@given(
    arrivals,
    st.integers(2, 40),
    st.integers(1, 8),
    st.integers(1, 6),
    st.integers(0, 30),
    st.lists(st.sampled_from([0, 0, 50, 100]), min_size=16, max_size=16),
    st.booleans(),
)
def test_every_step_equals_that_of_the_plain_scheduler(
    requests: list[tuple[int, int, int, int]],
    blocks: int,
    block_size: int,
    seqs: int,
    spare: int,
    priorities: list[int],
    by_priority: bool,
) -> None:
    limits = config(blocks=blocks, block_size=block_size, seqs=seqs, budget=seqs + spare, model_len=110, by_priority=by_priority)
    core, plain = EngineCore(limits), PlainScheduler(limits)

    def both() -> bool:
        expected = plain.step()
        # a step in which the first went itself computes nothing
        while expected is None and plain.running:
            expected = plain.step()
        step = core.schedule()
        if step is None:
            assert expected is None
            return False
        result = core.finish(step)
        assert expected is not None
        assert (step.tokens, step.kv_tokens, sorted(result.tokens)) == (expected[0], expected[1], sorted(expected[2]))
        assert core.used_blocks == limits.usable_blocks - len(plain.free)
        assert (core.running, core.waiting) == (len(plain.running), len(plain.waiting))
        return True

    for index, (steps_before, input_tokens, output_tokens, cached) in enumerate(requests):
        for _ in range(steps_before):
            both()
        request = EngineRequest(str(index), input_tokens, output_tokens, cached, priorities[index])
        if core.add(request) is None:
            plain.add(request)
    while both():
        pass
