"""Mean TTFT and TPOT when a fixed number of clients each wait for their answer before they ask again, in closed form.

Steps mix decodes and prefill (chunked). With n requests and X the mean time of one in the engine, n / X prompts arrive per second; a
fraction of the steps carries prompts. TPOT is the mean step, TTFT what passes before the engine sees a request, the rest of a step, and the
request's own step with the prompts beside it. Clients that start together and receive equal lengths stay together:
a fitted fraction of the requests finds everybody's prompt before it. Requests beyond the KV pool wait for others to end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiles.latency.fits import Coefficients
from profiles.latency.steptime import StepTime, attended_pairs

# The fixed point moves this part of the way each round; 1e-6 is far below every other error.
_DAMPING_FRACTION = 0.6
_ROUNDS = 60
_TOLERANCE_FRACTION = 1e-6


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A load of `concurrency` clients; lengths are means in tokens, constant_lengths says whether all requests are equally long."""

    input_tokens: float
    output_tokens: float
    concurrency: float
    constant_lengths: bool = True

    def __post_init__(self) -> None:
        """Refuses what is no load."""
        for name in ("input_tokens", "output_tokens", "concurrency"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 1):
                raise ValueError(f"{name} is {value}, it must be at least 1")


@dataclass(frozen=True, slots=True)
class ClosedLoopLatency:
    """Means over requests; running_requests are those that hold KV cache."""

    ttft_s: float
    tpot_s: float
    running_requests: float


def closed_loop_latency(
    step: StepTime, load: ClosedLoop, found: Coefficients, max_num_batched_tokens: int, most_running: float = math.inf
) -> ClosedLoopLatency:
    """Latency of one engine alone under the load; most_running requests fit its KV pool and its max_num_seqs at once, the others wait."""
    running = min(load.concurrency, most_running)
    batch = _Batch(step, load, found, running, max_num_batched_tokens)
    tpot_s, admitted_s = batch.solved()
    request_s = admitted_s + batch.decode_steps * tpot_s
    queue_s = (load.concurrency - running) / running * request_s
    return ClosedLoopLatency(admitted_s + queue_s, tpot_s, running)


class _Batch:
    """Requests that hold KV cache: the mean step and the time to the first token, each a function of both."""

    __slots__ = ("budget", "context", "decode_steps", "found", "load", "pairs", "running", "step", "wave_s")

    def __init__(self, step: StepTime, load: ClosedLoop, found: Coefficients, running: float, budget: int) -> None:
        self.step, self.load, self.found, self.running, self.budget = step, load, found, running, budget
        self.decode_steps = max(load.output_tokens - 1.0, 1.0)
        self.context = load.input_tokens + load.output_tokens / 2
        self.pairs = attended_pairs(load.input_tokens)
        met = found.wave_constant_fraction if load.constant_lengths else found.wave_spread_fraction
        self.wave_s = met * running * self._prompt_s() / 2

    def _prompt_s(self) -> float:
        """Seconds of one prompt as part of full steps, without their base."""
        chunks = self.load.input_tokens / self.budget
        return chunks * (self._prefill_s(self.budget) - self.step.touched_s(0.0))

    def _prefill_s(self, tokens: float) -> float:
        """Seconds of a step with so many prompt tokens and nothing else; pairs are those of whole prompts of mean length."""
        return self.step.step_s(tokens, 0.0, 0.0, self.pairs * tokens / self.load.input_tokens)

    def solved(self) -> tuple[float, float]:
        """TPOT and the time from arrival to the first token of those that find room, in seconds."""
        tpot_s = self.step.step_s(self.running, self.running * self.context, self.running)
        ttft_s = 2 * tpot_s
        for _ in range(_ROUNDS):
            next_tpot_s, next_ttft_s = self._round(tpot_s, ttft_s)
            close = abs(next_tpot_s - tpot_s) <= _TOLERANCE_FRACTION * tpot_s and abs(next_ttft_s - ttft_s) <= _TOLERANCE_FRACTION * ttft_s
            tpot_s += _DAMPING_FRACTION * (next_tpot_s - tpot_s)
            ttft_s += _DAMPING_FRACTION * (next_ttft_s - ttft_s)
            if close:
                break
        return tpot_s, ttft_s

    def _round(self, tpot_s: float, ttft_s: float) -> tuple[float, float]:
        inputs, pairs, step = self.load.input_tokens, self.pairs, self.step
        decode_s = self.decode_steps * tpot_s
        decoding = self.running * decode_s / (decode_s + ttft_s)
        arriving = self.running * tpot_s / (decode_s + ttft_s)
        # Arrivals are spread at random over the steps, and no step takes more prompt tokens than its budget.
        carrying = min(max(-math.expm1(-arriving), arriving * inputs / self.budget), 1.0)
        prompts = arriving / carrying
        kv_tokens = decoding * self.context
        plain_s = step.step_s(decoding, kv_tokens, decoding)
        mixed_s = step.step_s(decoding + prompts * inputs, kv_tokens, decoding + prompts, prompts * pairs)
        beside = 1 + self.found.companion_fraction * arriving * (self.running - 1) / self.running
        chunks = max(1.0, beside * inputs / self.budget)
        own_s = chunks * step.step_s(decoding + beside * inputs / chunks, kv_tokens, decoding + 1, beside * pairs / chunks)
        seen_s = step.frontend_s + self.found.wait_fraction * tpot_s
        return (1 - carrying) * plain_s + carrying * mixed_s, seen_s + own_s + self.wave_s
