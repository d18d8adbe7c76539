"""Steady state and latency quantiles of one engine at a load, in closed form.

The engine has a guaranteed share s of its GPU. A step takes (base + per_token * tokens + per_sequence * requests + per_kv_token * kv +
per_pair * attended pairs) / s. A request costs, beyond the base of its steps, w: its prompt's tokens, those that cached prefixes spare
left out, their attention, quadratic in the length, and O - 1 decodes with the cached tokens they read. With rate r and rho = r * w / s a
request sees steps of (base + its own tokens) / s / (1 - rho), and B = r * (O - 1) * step requests decode. Their number is spread as in
processor sharing with a batch-dependent rate (negative binomial, variance B / (1 - rho), times burstiness). Of a mixture of experts the
base is what the mean number of tokens per step touches, never less than the mean over steps (it is concave); steps with prompts touch all.

Quantiles add the means and the root of the summed squares of each part's excess over its mean. TPOT: own step, neighbours in the batch, and
prefills that arrive during the answer (compound Poisson with skewness correction, never more than a full chunk per step). TTFT: rest of the
step that runs, work of prefills ahead (M/G/1 tail with Kingman's two-moment correction), own prefill in chunks. Every time is multiplied by
the residual multiplier at the quantile, as if the whole configuration were that much slower than predicted: deliberately on the safe side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiles.latency.mix import Z_P99, Length, QueueClass, RequestMix, normal_score
from profiles.latency.steptime import StepTime
from profiles.settings import EngineSettings

# Answers shorter than this quantile of the output length are not sized for: they collide with a prefill no more often but dilute it less.
_SHORT_ANSWER_SCORE = -1.2815515655446004
# Share of time in which the KV pool may be too small, and its standard normal score.
_POOL_TAIL = 1e-3
_POOL_SCORE = 3.090232306167813
# Rounds that bring the base of a mixture of experts down to its fixed point; each round closes most of the gap.
_BASE_ROUNDS = 5

# Where nobody goes before anybody else.
_ALL = QueueClass(0.0, 1.0)


# Made at every rate that sizing asks about, and not frozen: setting frozen fields takes several times as long.
@dataclass(slots=True)
class SteadyState:
    """Steady state at one rate; times are wall-clock.

    decoding and present count requests; spread is the variance of their number over its mean; base_s is the mean base of a step; batch_s is
    the work of a step that carries a prompt, without that; chunk_tokens what a step has left for prefill; own_s the prefill time of a mean
    request.
    """

    rate_rps: float
    rho: float
    step_s: float
    decoding: float
    present: float
    spread: float
    base_s: float
    batch_s: float
    chunk_tokens: float
    own_s: float


class EngineUnderLoad:
    """One engine under one mix at one share: constants once, then cheap evaluation per rate.

    slowdown is what every time of the step model is multiplied with; None takes the residual multiplier at the quantile over the share.
    """

    def __init__(
        self,
        step: StepTime,
        mix: RequestMix,
        share_fraction: float,
        settings: EngineSettings,
        quantile: float,
        slowdown: float | None,
    ) -> None:
        """Refuses a share outside (0, 1] and a quantile outside (0, 1) with ValueError."""
        if not 0 < share_fraction <= 1:
            raise ValueError(f"share_fraction is {share_fraction}, it must be above 0 and at most 1")
        self.z = max(normal_score(quantile), 0.0)
        self.tail = 1.0 - quantile
        # the skewness correction of Cornish and Fisher for a Poisson-like count
        self.skew = max(self.z * self.z - 1.0, 0.0) / 6.0
        self.settings = settings
        self.computed_fraction = 1.0 - mix.prefix_hit_fraction
        # Smoother arrivals than Poisson are not counted on.
        self.burstiness = max(mix.burstiness, 1.0)
        self.classes = mix.classes
        self._set_lengths(mix)
        self._at_full_speed, self._multiplier = step, step.quantile(quantile)
        self.set_step(share_fraction, slowdown)

    def at_share(self, share_fraction: float) -> EngineUnderLoad:
        """The same engine with another share of its GPU, slowed down by the residual multiplier over it."""
        other = self._copy()
        other.set_step(share_fraction, None)
        return other

    def with_burstiness(self, burstiness: float) -> EngineUnderLoad:
        """The same engine under arrivals with another index of dispersion."""
        other = self._copy()
        other.burstiness = max(burstiness, 1.0)
        return other

    def _copy(self) -> EngineUnderLoad:
        other = EngineUnderLoad.__new__(EngineUnderLoad)
        # all that it holds are numbers and data that never changes
        other.__dict__.update(self.__dict__)
        return other

    def set_step(self, share_fraction: float, slowdown: float | None) -> None:
        """Take the step times at a share of the GPU, or at a slowdown, and work out what follows from them."""
        self.step = self._at_full_speed.slower(self._multiplier / share_fraction if slowdown is None else slowdown)
        self.full_base_s = self.step.base_s + self.step.expert_s
        self.token_s, self.kv_s, self.pair_s = self.step.per_token_s, self.step.per_kv_token_s, self.step.per_pair_s
        # a request that decodes adds one token
        self.single_s = self.token_s + self.step.per_sequence_s
        self._set_work()

    def _set_lengths(self, mix: RequestMix) -> None:
        self.input = Length.fitted(mix.input_tokens, mix.input_p99_tokens)
        self.output = Length.fitted(mix.output_tokens, mix.output_p99_tokens)
        # Longer prompts than max_model_len are refused; a p99 beyond the widest log-normal still counts.
        prompt_tokens = self.input.quantile(self.z)
        if self.z >= Z_P99:
            prompt_tokens = max(prompt_tokens, mix.input_p99_tokens)
        self.input_quantile = min(prompt_tokens, float(self.settings.max_model_len))
        self.largest_request = max(mix.input_p99_tokens, mix.input_tokens) + max(mix.output_p99_tokens, mix.output_tokens)
        # of a mean prompt
        self.computed_tokens = self.input.mean * self.computed_fraction
        self.decode_steps = max(mix.output_tokens - 1.0, 0.0)
        self.has_tpot = max(mix.output_p99_tokens, mix.output_tokens) > 1.0
        self.short_steps = max(self.output.quantile(_SHORT_ANSWER_SCORE) - 1.0, 1.0)
        # Context of a request met at a random decode step: its prompt and a uniform part of an answer drawn in proportion to its length.
        answer = self.output.moment(2) / self.output.mean
        answer_square = self.output.moment(3) / self.output.mean
        self.context = self.input.mean + answer / 2
        self.context_square = self.input.moment(2) + self.input.mean * answer + answer_square / 3

    def _set_prefill(self) -> None:
        """Prefill work of a prompt of n tokens, beyond the base of its steps, is prompt_s + linear_s * n + square_s * n^2 seconds.

        Each chunk reads what was cached before it and attends to it; a prompt whose prefix is cached reads that at least once.
        """
        budget, computed = self.settings.max_num_batched_tokens, self.computed_fraction
        self.prompt_s = self.step.per_sequence_s
        self.linear_s = self.token_s * computed + self.kv_s * (1.0 - computed)
        pairs = computed * (1.0 - computed) + computed * computed / 2
        self.square_s = (self.pair_s + self.kv_s / budget) * pairs

    def _prefill_work_s(self, tokens: float) -> float:
        return self.prompt_s + (self.linear_s + self.square_s * tokens) * tokens

    def _set_prefill_moments(self) -> None:
        """Mean and second moment of the prefill work; no prompt is longer than max_model_len, which bounds the higher moments."""
        longest = float(self.settings.max_model_len)
        one, two = self.input.mean, self.input.moment(2)
        bounded_two = min(two, longest * one)
        three, four = min(self.input.moment(3), longest * two), min(self.input.moment(4), longest * longest * two)
        fixed, linear, square = self.prompt_s, self.linear_s, self.square_s
        self.prefill_s = fixed + linear * one + square * bounded_two
        mixed = 2 * fixed * (linear * one + square * bounded_two) + 2 * linear * square * three
        self.prefill_square = fixed * fixed + linear * linear * two + square * square * four + mixed
        self.variation = max(self.prefill_square / (self.prefill_s * self.prefill_s) - 1.0, 0.0)

    def _set_work(self) -> None:
        self._set_prefill()
        self._set_prefill_moments()
        budget = self.settings.max_num_batched_tokens
        self.largest_prefill_s = self._prefill_work_s(self.input_quantile)
        # the last chunk of the longest prompt
        self.chunk_s = self.prompt_s + (self.token_s + self.pair_s * self.input_quantile) * budget + self.kv_s * self.input_quantile
        self.decode_s = self.single_s + self.kv_s * self.context
        self.request_s = self.prefill_s + self.decode_steps * self.decode_s
        self.neighbour_square = (
            self.single_s * self.single_s + 2 * self.single_s * self.kv_s * self.context + self.kv_s * self.kv_s * self.context_square
        )
        # No rate beyond this can be stable: work per second below one, and prefill within the token budget of the steps.
        self.rate_limit_rps = 1.0 / (self.request_s + self.step.base_s * self.computed_tokens / budget)

    def state(self, rate_rps: float) -> SteadyState | None:
        """Steady state, None when there is none within max_num_seqs."""
        rho = rate_rps * self.request_s
        if rho >= 1.0:
            return None
        base_s = self._mean_base_s(rate_rps, rho) if self.step.expert_s else self.full_base_s
        step_s = (base_s + self.decode_s) / (1.0 - rho)
        decoding = rate_rps * self.decode_steps * step_s
        spread = self.burstiness / (1.0 - rho)
        chunk_tokens = self.settings.max_num_batched_tokens - self._at_quantile(decoding, spread)
        if chunk_tokens < 1.0:
            return None
        batch_s = self.full_base_s + decoding * self.decode_s
        own_s = (math.ceil(self.computed_tokens / chunk_tokens) or 1) * batch_s + self.prefill_s
        present = decoding + rate_rps * own_s
        if self._at_quantile(present, spread) > self.settings.max_num_seqs or self._queue_rho(rate_rps, batch_s, chunk_tokens) >= 1.0:
            return None
        return SteadyState(rate_rps, rho, step_s, decoding, present, spread, base_s, batch_s, chunk_tokens, own_s)

    def _mean_base_s(self, rate_rps: float, rho: float) -> float:
        """Base of a step that touches the experts of the mean number of tokens; from above, so that stopping early is safe."""
        base_s = self.full_base_s
        for _ in range(_BASE_ROUNDS):
            step_s = (base_s + self.decode_s) / (1.0 - rho)
            base_s = self.step.touched_s(1.0 + rate_rps * (self.decode_steps + self.computed_tokens) * step_s)
        return base_s

    def _at_quantile(self, mean: float, spread: float) -> float:
        """Number of requests at the quantile, corrected for skewness."""
        few = mean / self.tail
        return mean + self.z * math.sqrt(mean * spread) + self.skew * spread * (few if few < 1.0 else 1.0)

    def _queue_rho(self, rate_rps: float, batch_s: float, chunk_tokens: float) -> float:
        """Share of time in which prefill work, with the decode steps it rides on, fills the steps."""
        return rate_rps * (self.prefill_s + batch_s * self.computed_tokens / chunk_tokens)

    def tpot_s(self, state: SteadyState) -> float:
        """Time per output token at the quantile."""
        if not self.has_tpot:
            return 0.0
        steps = self.short_steps
        prefill_rho = state.rate_rps * self.prefill_s
        own_s = state.base_s + self.single_s + self.kv_s * self.context
        own_excess_s = self.kv_s * max(self.largest_request - self.context, 0.0)
        neighbours_s = state.decoding * self.decode_s
        neighbours_excess_s = self.z * math.sqrt(state.spread * state.decoding * self.neighbour_square)
        arrivals = state.rate_rps * steps * state.step_s
        prefill_excess_s = self._compound_excess_s(arrivals) / steps
        excess_s = math.hypot(own_excess_s, neighbours_excess_s, prefill_excess_s)
        diluted_s = (own_s + neighbours_s + excess_s) / (1.0 - prefill_rho)
        # No step carries more prefill than a chunk.
        full_s = own_s - state.base_s + self.full_base_s + neighbours_s + math.hypot(own_excess_s, neighbours_excess_s) + self.chunk_s
        return min(diluted_s, full_s)

    def _compound_excess_s(self, arrivals: float) -> float:
        """Excess over its mean, at the quantile, of the prefill work that arrives during an answer."""
        scatter_s = self.z * math.sqrt(arrivals * self.burstiness * self.prefill_square)
        skew_s = self.skew * self.burstiness * max(self.largest_prefill_s, self.prefill_s)
        return scatter_s + skew_s * min(1.0, arrivals / self.tail)

    def ttft_by_class_s(self, state: SteadyState) -> tuple[float, ...]:
        """Time to first token at the quantile for each priority of the mix, the most urgent first; empty without any."""
        return tuple(self._ttft_s(state, each) for each in self.classes)

    def ttft_s(self, state: SteadyState) -> float:
        """Time to first token at the quantile, of the most urgent requests."""
        return self._ttft_s(state, self.classes[0] if self.classes else _ALL)

    def _ttft_s(self, state: SteadyState, queue: QueueClass) -> float:
        """Time to first token at the quantile.

        The rest of the running step, which carries the prefills that arrived in the step before; the queue ahead; the own chunks, which
        share their first step with prefills that arrive until it begins.
        """
        batch_excess_s = self.z * math.sqrt(state.spread * state.decoding * self.neighbour_square)
        running_s = min(state.batch_s / (1.0 - state.rate_rps * self.prefill_s), state.batch_s + self.chunk_s)
        arrivals = state.rate_rps * running_s
        beside_s = min(arrivals / 2 * self.prefill_s, self.chunk_s)
        beside_excess_s = min(self._compound_excess_s(arrivals), self.chunk_s)
        busy_fraction = -math.expm1(-state.present)
        rest_excess_s = (running_s / 2 + math.hypot(batch_excess_s, beside_excess_s)) * min(1.0, busy_fraction / self.tail)
        wait_s, wait_excess_s = self._queue_s(state, queue)
        chunks = max(math.ceil(self.input_quantile * self.computed_fraction / state.chunk_tokens), 1)
        largest_s = chunks * state.batch_s + math.sqrt(chunks) * batch_excess_s + self.largest_prefill_s
        own_excess_s = max(largest_s - state.own_s, 0.0)
        mean_s = running_s / 2 * busy_fraction + beside_s + wait_s + state.own_s
        return self.step.frontend_s + mean_s + math.hypot(rest_excess_s, beside_excess_s, wait_excess_s, own_excess_s)

    def _queue_s(self, state: SteadyState, queue: QueueClass) -> tuple[float, float]:
        """Mean wait behind other prefills, and its excess at the quantile.

        Whoever waits lets more urgent ones pass that come meanwhile, and passes less urgent ones; a prefill that has begun goes on (Cobham,
        Priority assignment in waiting line problems, 1954).
        """
        rho = self._queue_rho(state.rate_rps, state.batch_s, state.chunk_tokens)
        if rho <= 0.0:
            return 0.0, 0.0
        service_s = rho / state.rate_rps
        # Kingman, 1961: squared variations of arrivals and service, halved; the tail of the wait is close to exponential.
        free = (1.0 - queue.before_fraction * rho) * (1.0 - queue.up_to_fraction * rho)
        delay_s = service_s * (self.burstiness + self.variation) / 2 / free
        # Requests of a burst find more of their like ahead: around an arrival others are burstiness times as dense as on average, over
        # the time in which one is expected.
        ahead = min(rho * self.burstiness, 1.0)
        mean_s = ahead * delay_s
        if ahead <= self.tail:
            return mean_s, 0.0
        at_quantile_s = max(delay_s * math.log(ahead / self.tail), self._behind_a_large_one_s(rho, service_s, free))
        return mean_s, max(at_quantile_s - mean_s, 0.0)

    def _behind_a_large_one_s(self, rho: float, service_s: float, free: float) -> float:
        """Wait at the quantile when one prompt makes it: service time of a prompt met in proportion to its length.

        Heavy-tailed service: P(wait > t) is about rho / (1 - rho) times the tail of the service met (Pakes, 1975).
        """
        met_tail = self.tail * free / rho
        if self.input.spread == 0.0 or met_tail >= 1.0:
            return 0.0
        # Meeting in proportion to length shifts a log-normal by its squared spread.
        score = normal_score(1.0 - met_tail) + self.input.spread
        met_tokens = min(self.input.quantile(score), self.settings.max_model_len)
        return service_s * self._prefill_work_s(met_tokens) / self.prefill_s

    def kv_tokens(self, state: SteadyState) -> tuple[float, float]:
        """Mean KV tokens in flight and a pool that is rarely exceeded; each request counted to the end of its last block."""
        slack = self.settings.block_size
        prefilling = state.present - state.decoding
        mean = state.decoding * (self.context + slack) + prefilling * (self.input.mean + slack)
        square = state.present * (self.context_square + 2 * slack * self.context + slack * slack)
        # Judged at 99.9 % whatever quantile the latency is sized for: who waits for KV blocks waits for a whole answer. Few requests come
        # in whole numbers; the correction for that grows with the chance of meeting a second one.
        score, tail = _POOL_SCORE, _POOL_TAIL
        skew = (score * score - 1.0) / 6.0 * state.spread * self.largest_request
        second = min(1.0, state.present * state.present / 2 / tail)
        return mean, max(mean + score * math.sqrt(state.spread * square) + skew * second, self.largest_request + slack)
