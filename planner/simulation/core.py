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

Most steps are followed by many that are the same but for the growing context. Whoever needs not see each of them asks after schedule()
how many there are, and ends them together:

    count = core.steps_alike()                                                     # this step and those like it that are bound to follow
    ...                                  # let seconds_each(step_time, step, count) pass, or those of the first few of them
    result = core.finish(step, steps=count)                                        # or fewer

A request may be added meanwhile; when core.admits_next then holds, the step that runs at that moment must be the last one of them.
abort() lets no more than one step end together.

Rules, after vllm/v1/core/sched/scheduler.py (0.32, no speculative decoding):
  * A step computes at most max_num_batched_tokens. Running requests go first, in order of admission: one token for those that decode,
    the rest of the budget for the one whose prefill is unfinished. Then waiting requests are admitted while max_num_seqs, the budget
    and the blocks allow; the whole prompt must fit the free blocks (scheduler_reserve_full_isl, vLLM's default).
  * The step that computes the last prompt token yields the first output token. The last output token is never written to the KV cache.
  * When blocks run out the newest running request is preempted: its blocks are freed, it returns to the front of the queue, and what it
    generated is recomputed as if it were prompt. A step that preempted admits nobody.
  * With --scheduling-policy priority the queue is in order of priority (the smaller first), then of arrival. When blocks run out, the
    last in this order among those that run is preempted, also one whose token of this step was scheduled already. Nobody is preempted
    so that another is admitted.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from operator import attrgetter

from planner.simulation.engine_requests import EngineConfig, EngineRequest, RequestRejection
from planner.simulation.engine_steps import EngineCounters, EngineSequence, Step, StepResult

_rank = attrgetter("rank")


class EngineCore:
    """One engine; see the module's docstring for how to drive it."""

    def __init__(self, config: EngineConfig) -> None:
        """Start empty."""
        self.config = config
        self.counters = EngineCounters()
        self._free_blocks = config.usable_blocks
        self._sequences: dict[str, EngineSequence] = {}
        self._waiting: deque[EngineSequence] = deque()
        # In order of admission. At most one of them is mid-prefill, and that one is the last: a chunk is cut only where the budget ends.
        self._running: list[EngineSequence] = []
        self._in_flight: Step | None = None
        self._added = 0

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

    @property
    def admits_next(self) -> bool:
        """Whether the request at the front of the queue fits beside those that run, with the blocks that are free now."""
        if not self._waiting or len(self._running) >= self.config.max_num_seqs:
            return False
        return self._blocks(self._waiting[0].target) <= self._free_blocks

    def add(self, request: EngineRequest) -> RequestRejection | None:
        """Queue a request. Returns why it is refused, or None. Raises ValueError when its id is in use."""
        if request.request_id in self._sequences:
            raise ValueError(f"request id {request.request_id!r} is already in this engine; use another")
        refused = self.config.refusal(request, len(self._waiting))
        if refused is None:
            self._added += 1
            sequence = EngineSequence(request, self._added)
            self._sequences[request.request_id] = sequence
            if self.config.by_priority:
                insort(self._waiting, sequence, key=_rank)
            else:
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
            self._in_flight.alike = 1
        return True

    def schedule(self) -> Step | None:
        """Choose the next step and take its blocks; None when no request is in the engine."""
        if self._in_flight is not None:
            raise RuntimeError("a step is in flight: finish() it before the next schedule()")
        step = self._next()
        # where the first of those that run goes itself, the others have to wait for the next step, which follows at once
        while step.tokens == 0 and self._running:
            step = self._next()
        self._in_flight = step if step.tokens else None
        return self._in_flight

    def _next(self) -> Step:
        step = Step(0, 0, [], [])
        preemptions = self.counters.preemptions
        if self.config.by_priority:
            self._schedule_by_priority(step)
        else:
            self._schedule_running(step)
        if self._waiting and preemptions == self.counters.preemptions:
            self._admit(step)
        return step

    def steps_alike(self) -> int:
        """How many steps in a row, from the one in flight on, only decode for the same requests: nobody ends before the last of them.

        Until somebody ends, free blocks only become fewer, so that who cannot be admitted now cannot be before; and before a block is
        missing for a token, which would preempt somebody, the row ends.
        """
        step = self._step_in_flight()
        decodes = step.decodes
        if step.chunks or len(decodes) < len(self._running) or self.admits_next:
            return 1
        count = min(sequence.last - sequence.computed for sequence in decodes)
        block_size = self.config.block_size
        rounds, rest = divmod(self._free_blocks, len(decodes))
        # Each of them takes one block in any block_size steps: a check that costs nothing, then the step before a block is missing.
        if count > rounds * block_size:
            room = sorted(sequence.capacity - sequence.computed for sequence in decodes)
            count = min(count, room[rest] + rounds * block_size)
        step.alike = count
        return count

    def blocks_taken(self, steps: int) -> list[int]:
        """The step that takes it, for each KV block newly held in that many steps; the one in flight, number 0, has taken its own."""
        block_size = self.config.block_size
        found: list[int] = []
        for sequence in self._step_in_flight().decodes:
            room = sequence.capacity - sequence.computed
            if room < steps:
                found += range(room, steps, block_size)
        return found

    def finish(self, step: Step, steps: int = 1) -> StepResult:
        """Account for the step that schedule() returned, and for those like it that followed: hand out tokens and free what ended.

        steps, up to steps_alike(), is how many there were; every request of the result's tokens got one in each of them.
        """
        if step is not self._in_flight:
            raise RuntimeError("this is not the step in flight: finish() each step once, in order")
        if not 1 <= steps <= step.alike:
            raise RuntimeError(f"{steps} steps cannot end together: 1 to {step.alike} are known to be alike, see steps_alike()")
        self._in_flight = None
        ended = self._decode(step.decodes, steps)
        tokens, first = [sequence.request_id for sequence in step.decodes], []
        self.counters.generation_tokens += (steps - 1) * len(tokens)
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

    def _step_in_flight(self) -> Step:
        if self._in_flight is None:
            raise RuntimeError("no step is in flight: schedule() one first")
        return self._in_flight

    def _decode(self, decodes: list[EngineSequence], steps: int) -> list[str]:
        """Give each so many tokens; returns the ids of those that have all of theirs."""
        ended: list[str] = []
        for sequence in decodes:
            computed = sequence.computed = sequence.computed + steps
            # schedule() gave the block that the first step needs
            if computed > sequence.capacity:
                self._grow(sequence, computed)
            if computed == sequence.last:
                ended.append(sequence.request_id)
        return ended

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

    def _schedule_by_priority(self, step: Step) -> None:
        for sequence in tuple(self._running):
            # whoever was preempted on the way has no blocks
            if not sequence.capacity:
                continue
            if sequence.prefilling:
                chunk = min(
                    sequence.target - sequence.computed,
                    self.config.max_num_batched_tokens - sum(1 for other in step.decodes if other.capacity),
                )
                if self._grow(sequence, sequence.computed + chunk):
                    step.take(sequence, chunk)
                break
            if sequence.computed == sequence.capacity and not self._grow(sequence, sequence.computed + 1):
                break
            step.decodes.append(sequence)
        step.decodes = [sequence for sequence in step.decodes if sequence.capacity]
        step.tokens += len(step.decodes)
        step.kv_tokens += sum(sequence.computed for sequence in step.decodes)

    def _admit(self, step: Step) -> None:
        budget = self.config.max_num_batched_tokens - step.tokens
        while budget > 0 and self.admits_next:
            sequence = self._waiting.popleft()
            self._running.append(sequence)
            chunk = min(sequence.target - sequence.computed, budget)
            self._grow(sequence, sequence.computed + chunk)
            step.take(sequence, chunk)
            budget -= chunk

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.config.block_size)

    def _grow(self, sequence: EngineSequence, tokens: int) -> bool:
        """Give the sequence blocks for that many tokens, preempting others for it; False when it had to go itself."""
        held = sequence.capacity // self.config.block_size
        missing = self._blocks(tokens) - held
        while self._free_blocks < missing:
            victim = self._running.pop() if not self.config.by_priority else self._least_urgent()
            self._preempt(victim)
            if victim is sequence:
                return False
        if missing > 0:
            self._free_blocks -= missing
            sequence.capacity = (held + missing) * self.config.block_size
        return True

    def _least_urgent(self) -> EngineSequence:
        victim = max(self._running, key=_rank)
        self._running.remove(victim)
        return victim

    def _preempt(self, sequence: EngineSequence) -> None:
        self._release(sequence)
        if not sequence.prefilling:
            # The token generated last is known but not yet in the cache; the recomputation covers it too.
            sequence.target = sequence.computed + 1
            sequence.prefilling = True
        sequence.computed = 0
        if self.config.by_priority:
            insort(self._waiting, sequence, key=_rank)
        else:
            self._waiting.appendleft(sequence)
        self.counters.preemptions += 1

    def _release(self, sequence: EngineSequence) -> None:
        self._free_blocks += sequence.capacity // self.config.block_size
        sequence.capacity = 0

    def _complete_prefill(self, sequence: EngineSequence) -> bool:
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
