"""The step core in real time: requests in, tokens out, one step after the other at the pace of the devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from executor.emulator.asks import Ask
from executor.emulator.metrics import Metrics
from executor.emulator.pace import Pace
from executor.emulator.residence import Residence
from executor.emulator.response_bodies import TokenSink
from planner.simulation.core import EngineCore
from planner.simulation.engine_requests import EngineRequest
from planner.simulation.engine_steps import Step, seconds
from profiles.latency.steptime import StepTime

# Steps that a late engine catches up on before it lets the network have a turn.
_STEPS_PER_TURN = 8


@dataclass(slots=True)
class _Live:
    """A request in the engine; times are monotonic seconds, 0.0 while it has not happened."""

    ask: Ask
    answer: TokenSink
    arrival_s: float
    scheduled_s: float = 0.0
    first_s: float = 0.0
    last_s: float = 0.0
    produced: int = 0
    pending: int = 0
    preemptions: int = 0


@dataclass(slots=True)
class _Turn:
    """What a turn of the loop has to send."""

    touched: dict[str, _Live] = field(default_factory=dict)
    ended: dict[str, _Live] = field(default_factory=dict)


class RealTimeEngine:
    """Runs an EngineCore on the event loop."""

    def __init__(self, core: EngineCore, step_time: StepTime, residence: Residence, metrics: Metrics, draw: Callable[[], float]) -> None:
        """draw gives U(0, 1) for the spread of step times."""
        self._core = core
        self._step_time = step_time
        self._residence = residence
        self._metrics = metrics
        self._draw = draw
        self._pace = Pace(residence)
        self._loop = asyncio.get_running_loop()
        self._live: dict[str, _Live] = {}
        # Requests that came while no new ones are let in.
        self._held: dict[str, _Live] = {}
        self._step: Step | None = None
        self._work_s = 0.0
        self._timer: asyncio.Handle | None = None
        self._admitting = True
        self._running = True
        self._quiet: list[asyncio.Future[None]] = []

    @property
    def in_flight(self) -> int:
        """Requests waiting, running or held."""
        return len(self._live) + len(self._held)

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens of requests without a first token."""
        return sum(live.ask.prompt_tokens for lives in (self._live, self._held) for live in lives.values() if not live.first_s)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._core.waiting + len(self._held)

    @property
    def core(self) -> EngineCore:
        """The state machine, to read from."""
        return self._core

    def submit(self, request_id: str, ask: Ask, answer: TokenSink) -> None:
        """Take a request; its tokens go to the answer."""
        live = _Live(ask, answer, self._loop.time())
        if self._admitting:
            self._enter(request_id, live)
        else:
            self._held[request_id] = live

    def abort(self, request_id: str) -> None:
        """Forget a request whose client is gone, and free its KV blocks. Ignored when it has ended."""
        self._held.pop(request_id, None)
        live = self._live.pop(request_id, None)
        if live is not None:
            self._core.abort(request_id)
            self._count_end(live, "abort")
            self._settle()

    def abort_all(self) -> None:
        """End every request now, with the reason `abort`."""
        for request_id, live in [*self._live.items(), *self._held.items()]:
            self.abort(request_id)
            live.answer.end(live.pending, "abort")

    async def pause(self, *, wait: bool) -> None:
        """Let nobody in; then stop after the step in flight, or (wait) once all requests have ended."""
        self._admitting = False
        if not wait:
            self._running = False
        while self._step is not None or (wait and self._live):
            quiet: asyncio.Future[None] = self._loop.create_future()
            self._quiet.append(quiet)
            await quiet
        self._running = False

    def resume(self) -> None:
        """Go on, with the requests that were held."""
        self._running = self._admitting = True
        held, self._held = self._held, {}
        for request_id, live in held.items():
            self._enter(request_id, live)
        self._start()

    def _enter(self, request_id: str, live: _Live) -> None:
        refused = self._core.add(EngineRequest(request_id, live.ask.prompt_tokens, live.ask.output_tokens, priority=live.ask.priority))
        if refused is not None:
            raise RuntimeError(f"a request passed the checks but not the core: {refused.message}")
        self._live[request_id] = live
        self._start()

    def _start(self) -> None:
        if self._step is None and self._running and self._live:
            self._residence.set_active(True)
            now_s = self._loop.time()
            if self._schedule(now_s):
                self._pace.begin(self._work_s, now_s)
                self._wake_in(self._pace.wait_s(now_s) or 0.0)
            else:
                self._residence.set_active(False)

    def _schedule(self, now_s: float) -> bool:
        """Choose the next step; False when there is none to run."""
        self._step = self._core.schedule() if self._running else None
        if self._step is None:
            return False
        self._work_s = seconds(self._step_time, self._step) * self._step_time.quantile(self._draw())
        self._metrics.iteration_tokens.observe(self._step.tokens)
        for sequence, _ in self._step.chunks:
            live = self._live[sequence.request_id]
            if not live.scheduled_s:
                live.scheduled_s = now_s
            elif sequence.computed == 0:
                live.preemptions += 1
        return True

    def _wake_in(self, delay_s: float) -> None:
        self._timer = self._loop.call_later(delay_s, self._turn) if delay_s > 0 else self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """End the steps that are due, start the next one, send the tokens."""
        turn = _Turn()
        now_s = self._loop.time()
        for _ in range(_STEPS_PER_TURN):
            wait_s = self._pace.wait_s(now_s)
            if wait_s is not None:
                self._wake_in(wait_s)
                break
            self._finish(turn, now_s)
            if not self._schedule(now_s):
                self._rest()
                break
            self._pace.follow(self._work_s, now_s)
        else:
            self._wake_in(0.0)
        self._send(turn)
        self._settle()

    def _rest(self) -> None:
        self._step = None
        self._residence.set_active(False)

    def _settle(self) -> None:
        """Tell those who wait for quiet."""
        if self._quiet and self._step is None:
            quiet, self._quiet = self._quiet, []
            for future in quiet:
                if not future.done():
                    future.set_result(None)

    def _finish(self, turn: _Turn, now_s: float) -> None:
        assert self._step is not None
        result = self._core.finish(self._step)
        self._residence.busy_s += self._work_s
        observe = self._metrics.inter_token_s.observe
        for request_id in result.tokens:
            live = self._live[request_id]
            if live.produced:
                observe(now_s - live.last_s)
            else:
                live.first_s = now_s
                self._metrics.ttft_s.observe(now_s - live.arrival_s)
            live.last_s = now_s
            live.produced += 1
            live.pending += 1
            turn.touched[request_id] = live
        for request_id in result.ended:
            turn.ended[request_id] = self._live.pop(request_id)

    def _send(self, turn: _Turn) -> None:
        for request_id, live in turn.touched.items():
            count, live.pending = live.pending, 0
            if request_id in turn.ended:
                self._count_end(live, live.ask.finish_reason)
                live.answer.end(count, live.ask.finish_reason)
            elif request_id in self._live:
                live.answer.tokens(count)

    def _count_end(self, live: _Live, reason: str) -> None:
        metrics, ask, end_s = self._metrics, live.ask, self._loop.time()
        metrics.add("vllm:request_success_total", label=reason)
        metrics.e2e_s.observe(end_s - live.arrival_s)
        metrics.prompt_tokens.observe(ask.prompt_tokens)
        generated = live.produced if ask.generates else 0
        metrics.generation_tokens.observe(generated)
        metrics.max_generation_tokens.observe(generated)
        if ask.generates:
            metrics.max_tokens.observe(ask.max_tokens)
        metrics.params_n.observe(1)
        metrics.request_preemptions.observe(live.preemptions)
        if live.first_s:
            metrics.queue_s.observe(live.scheduled_s - live.arrival_s)
            metrics.prefill_s.observe(live.first_s - live.scheduled_s)
            metrics.decode_s.observe(live.last_s - live.first_s)
            metrics.inference_s.observe(live.last_s - live.scheduled_s)
            metrics.prefill_tokens.observe(ask.prompt_tokens)
        if live.produced > 1:
            metrics.time_per_output_token_s.observe((live.last_s - live.first_s) / (live.produced - 1))
