"""The step core: one vLLM V1 engine as a pure state machine, without time.

It decides which tokens each step computes (continuous batching, chunked prefill, KV blocks, recompute preemption). Whoever
drives it supplies the time: `simulate` virtual seconds, the emulator real ones. The cycle is

    core = EngineCore(EngineConfig(kv_blocks=1000, block_size=16, max_num_seqs=256, max_num_batched_tokens=2048, max_model_len=8192))
    refused = core.add(EngineRequest("r1", input_tokens=500, output_tokens=200))   # None, or a RequestRejection with reason and message
    step = core.schedule()                                                         # None: nothing to do until the next add()
    ...                                  # let seconds(step_time, step) pass, times what neighbours cost
    result = core.finish(step)           # result.tokens: ids that got one token now; result.first and result.ended: subsets of it

add() and abort() are allowed at any moment, also between schedule() and finish(); a request added there is seen by the next
schedule(), an aborted one gets no further token. Between schedule() and finish() there is exactly one step: a second schedule() is a
RuntimeError. A request appears in result.tokens exactly output_tokens times, in result.first once and in result.ended once; after that
the core has forgotten it and its id may be used again.

Rules, after vllm/v1/core/sched/scheduler.py (0.32, first come first served, no speculative decoding):
  * A step computes at most max_num_batched_tokens. Running requests go first, in order of admission: one token for those that decode,
    the rest of the budget for the one whose prefill is unfinished. Then waiting requests are admitted while max_num_seqs, the budget
    and the blocks allow; the whole prompt must fit the free blocks (scheduler_reserve_full_isl, vLLM's default).
  * The step that computes the last prompt token yields the first output token. The last output token is never written to the KV cache.
  * When blocks run out the newest running request is preempted: its blocks are freed, it returns to the front of the queue, and what it
    generated is recomputed as if it were prompt. A step that preempted admits nobody.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from planner.simulation.engine_requests import EngineConfig, EngineRequest, RejectReason, RequestRejection
from profiles.latency.steptime import StepTime


class _Sequence:
    """A request inside the engine. While it decodes only `computed` moves: the tokens whose keys and values are in its blocks."""

    __slots__ = ("cached", "capacity", "computed", "last", "prefilling", "prompt", "request_id", "target")

    def __init__(self, request: EngineRequest) -> None:
        self.request_id = request.request_id
        self.prompt = request.input_tokens
        self.cached = min(request.cached_prefix_tokens, request.input_tokens - 1)
        self.computed = self.cached
        self.target = request.input_tokens
        self.last = request.input_tokens + request.output_tokens - 1
        self.capacity = 0
        self.prefilling = True


@dataclass(slots=True)
class Step:
    """One forward pass: tokens computed in it and kv_tokens read from the KV cache (context computed before it).

    pairs counts, over its prefill chunks, each computed token with every token it attends to: those before it and itself.
    """

    tokens: int
    kv_tokens: int
    decodes: list[_Sequence]
    chunks: list[tuple[_Sequence, int]]
    pairs: int = 0

    def take(self, sequence: _Sequence, chunk: int) -> None:
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


@dataclass(slots=True)
class EngineCounters:
    """Totals since the engine started, counted as vLLM does: a prompt (cached tokens included) when its first token appears."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0


def seconds(step_time: StepTime, step: Step) -> float:
    """Seconds of a step on an engine alone, at the median."""
    return step_time.step_s(step.tokens, step.kv_tokens, len(step.decodes) + len(step.chunks), step.pairs)


class EngineCore:
    """One engine; see the module's docstring for how to drive it."""

    def __init__(self, config: EngineConfig) -> None:
        """Start empty."""
        self.config = config
        self.counters = EngineCounters()
        self._free_blocks = config.usable_blocks
        self._sequences: dict[str, _Sequence] = {}
        self._waiting: deque[_Sequence] = deque()
        # In order of admission. At most one of them is mid-prefill, and that one is the last: a chunk is cut only where the budget ends.
        self._running: list[_Sequence] = []
        self._in_flight: Step | None = None

    @property
    def running(self) -> int:
        """Requests that hold blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests in the queue, preempted ones included."""
        return len(self._waiting)

    @property
    def used_blocks(self) -> int:
        """KV blocks held by running requests; the null block is not counted."""
        return self.config.usable_blocks - self._free_blocks

    @property
    def kv_fraction(self) -> float:
        """Share of the usable KV blocks that is held, 0 to 1 (vLLM's kv_cache_usage_perc)."""
        return self.used_blocks / self.config.usable_blocks

    def add(self, request: EngineRequest) -> RequestRejection | None:
        """Queue a request. Returns why it is refused, or None. Raises ValueError when its id is in use."""
        if request.request_id in self._sequences:
            raise ValueError(f"request id {request.request_id!r} is already in this engine; use another")
        refused = self._refusal(request)
        if refused is None:
            sequence = _Sequence(request)
            self._sequences[request.request_id] = sequence
            self._waiting.append(sequence)
        return refused

    def abort(self, request_id: str) -> bool:
        """Forget a request and free its blocks at once, also mid-step. False when it is not (any more) in the engine."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is None:
            return False
        if sequence in self._running:
            self._running.remove(sequence)
            self._release(sequence)
        else:
            self._waiting.remove(sequence)
        if self._in_flight is not None:
            self._in_flight.decodes = [other for other in self._in_flight.decodes if other is not sequence]
            self._in_flight.chunks = [chunk for chunk in self._in_flight.chunks if chunk[0] is not sequence]
        return True

    def schedule(self) -> Step | None:
        """Choose the next step and take its blocks; None when no request is in the engine."""
        if self._in_flight is not None:
            raise RuntimeError("a step is in flight: finish() it before the next schedule()")
        step = Step(0, 0, [], [])
        preemptions = self.counters.preemptions
        self._schedule_running(step)
        if self._waiting and preemptions == self.counters.preemptions:
            self._admit(step)
        if step.tokens == 0:
            return None
        self._in_flight = step
        return step

    def finish(self, step: Step) -> StepResult:
        """Account for the step that schedule() returned: hand out its tokens and free what ended."""
        if step is not self._in_flight:
            raise RuntimeError("this is not the step in flight: finish() each step once, in order")
        self._in_flight = None
        tokens, first, ended = [], [], []
        for sequence in step.decodes:
            computed = sequence.computed = sequence.computed + 1
            tokens.append(sequence.request_id)
            if computed == sequence.last:
                ended.append(sequence.request_id)
        for sequence, chunk in step.chunks:
            sequence.computed += chunk
            if sequence.computed == sequence.target:
                tokens.append(sequence.request_id)
                if self._complete_prefill(sequence):
                    first.append(sequence.request_id)
                if sequence.computed == sequence.last:
                    ended.append(sequence.request_id)
        self.counters.generation_tokens += len(tokens)
        if ended:
            self._retire(ended)
        return StepResult(tuple(tokens), tuple(first), tuple(ended))

    def _refusal(self, request: EngineRequest) -> RequestRejection | None:
        config = self.config
        total_tokens = request.input_tokens + request.output_tokens
        asked = f"{request.input_tokens} input and {request.output_tokens} output tokens"
        if total_tokens > config.max_model_len:
            return RequestRejection(RejectReason.TOO_LONG, f"{asked} exceed max_model_len {config.max_model_len}; shorten one of them")
        if self._blocks(total_tokens - 1) > config.usable_blocks:
            pool = f"{config.usable_blocks} usable KV blocks of {config.block_size} tokens"
            return RequestRejection(RejectReason.NEVER_FITS, f"{asked} can never fit {pool}; shorten one of them or enlarge the KV pool")
        if config.max_num_queued_reqs is not None and len(self._waiting) >= config.max_num_queued_reqs:
            queued = f"{len(self._waiting)} requests wait and max_num_queued_reqs is {config.max_num_queued_reqs}"
            return RequestRejection(RejectReason.QUEUE_FULL, f"{queued}; try again later")
        return None

    def _schedule_running(self, step: Step) -> None:
        kv_tokens = 0
        decodes = step.decodes
        # Preemption pops from the end of the list being walked: the walk then simply ends sooner.
        for sequence in self._running:
            if sequence.prefilling:
                chunk = min(sequence.target - sequence.computed, self.config.max_num_batched_tokens - len(decodes))
                if self._grow(sequence, sequence.computed + chunk):
                    step.take(sequence, chunk)
                break
            computed = sequence.computed
            if computed == sequence.capacity and not self._grow(sequence, computed + 1):
                break
            kv_tokens += computed
            decodes.append(sequence)
        step.tokens += len(decodes)
        step.kv_tokens += kv_tokens

    def _admit(self, step: Step) -> None:
        budget = self.config.max_num_batched_tokens - step.tokens
        while self._waiting and budget > 0 and len(self._running) < self.config.max_num_seqs:
            sequence = self._waiting[0]
            if self._blocks(sequence.target) > self._free_blocks:
                break
            self._running.append(self._waiting.popleft())
            chunk = min(sequence.target - sequence.computed, budget)
            self._grow(sequence, sequence.computed + chunk)
            step.take(sequence, chunk)
            budget -= chunk

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.config.block_size)

    def _grow(self, sequence: _Sequence, tokens: int) -> bool:
        """Give the sequence blocks for that many tokens, preempting the newest ones for it; False when it had to go itself."""
        held = sequence.capacity // self.config.block_size
        missing = self._blocks(tokens) - held
        while self._free_blocks < missing:
            victim = self._running.pop()
            self._preempt(victim)
            if victim is sequence:
                return False
        if missing > 0:
            self._free_blocks -= missing
            sequence.capacity = (held + missing) * self.config.block_size
        return True

    def _preempt(self, sequence: _Sequence) -> None:
        self._release(sequence)
        if not sequence.prefilling:
            # The token generated last is known but not yet in the cache; the recomputation covers it too.
            sequence.target = sequence.computed + 1
            sequence.prefilling = True
        sequence.computed = 0
        self._waiting.appendleft(sequence)
        self.counters.preemptions += 1

    def _release(self, sequence: _Sequence) -> None:
        self._free_blocks += sequence.capacity // self.config.block_size
        sequence.capacity = 0

    def _complete_prefill(self, sequence: _Sequence) -> bool:
        """Let the sequence decode from now on; True when this was its prompt and not the recomputation after a preemption."""
        sequence.prefilling = False
        if sequence.target != sequence.prompt:
            return False
        self.counters.prompt_tokens += sequence.prompt
        self.counters.cached_prompt_tokens += sequence.cached
        return True

    def _retire(self, ended: list[str]) -> None:
        for request_id in ended:
            self._release(self._sequences.pop(request_id))
        self._running = [sequence for sequence in self._running if sequence.request_id in self._sequences]
