"""Requests of a declared load: drawn arrivals and lengths, the same for the same seed.

Arrivals are Poisson, or renewal arrivals whose gaps are a mixture of a short and a long exponential (hyper-exponential). Lengths are
log-normal, as planning takes them, and stratified: each row of requests holds one from every equally likely part of the distribution, so
that two seeds differ less than independent draws would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, takewhile

import numpy as np

from planner.simulation.engine_steps import Array
from planner.simulation.simulation_input import SimulatedRequest
from profiles.latency.mix import Length, RequestMix, normal_score

# Requests in a row, whose lengths are stratified together.
_ROW_REQUESTS = 256


@dataclass(frozen=True, slots=True)
class OfferedLoad:
    """What a workload asks of the model that is called served_name: how often, and requests of which lengths.

    priority is that of its requests; mix.burstiness below
    1 counts as 1 (Poisson). No request is longer than max_model_len tokens, prompt and answer together. Raises
    ValueError for a rate that is negative or not finite, and for a max_model_len below 2.
    """

    workload: str
    served_name: str
    rate_rps: float
    mix: RequestMix
    max_model_len: int
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse what no load can be."""
        if not 0 <= self.rate_rps < math.inf:
            raise ValueError(f"{self.workload}: rate_rps is {self.rate_rps}, it must be a finite number that is not negative")
        if self.max_model_len < 2:
            raise ValueError(f"{self.workload}: max_model_len is {self.max_model_len}; a request has at least two tokens")


def offered_requests(loads: Sequence[OfferedLoad], horizon_s: float, seed: int) -> tuple[SimulatedRequest, ...]:
    """The requests that arrive from 0 s until before horizon_s, workload by workload in the order given.

    Each workload has its own random numbers, from the seed and its name; its n-th request has the same lengths at every rate, and arrives
    in inverse proportion to it. Raises ValueError for a horizon that is negative or not finite.
    """
    if not 0 <= horizon_s < math.inf:
        raise ValueError(f"horizon_s is {horizon_s}, it must be a finite number that is not negative")
    return tuple(
        request
        for load in loads
        if load.rate_rps
        for request in takewhile(lambda request: request.arrival_s < horizon_s, _endless(load, seed))
    )


def first_requests(load: OfferedLoad, count: int, seed: int) -> tuple[SimulatedRequest, ...]:
    """The first `count` requests of a load, the same that offered_requests() gives; none at rate 0."""
    return tuple(islice(_endless(load, seed), count)) if load.rate_rps else ()


def _endless(load: OfferedLoad, seed: int) -> Iterator[SimulatedRequest]:
    generator = np.random.default_rng(int.from_bytes(sha256(f"{seed}/requests of {load.workload}".encode()).digest()))
    inputs = Length.fitted(load.mix.input_tokens, load.mix.input_p99_tokens)
    outputs = Length.fitted(load.mix.output_tokens, load.mix.output_p99_tokens)
    since_s = 0.0
    while True:
        arrivals_s = since_s + np.cumsum(_gaps(generator, load.mix.burstiness)) / load.rate_rps
        since_s = float(arrivals_s[-1])
        lengths = zip(_stratified(generator, inputs), _stratified(generator, outputs), strict=True)
        for arrival_s, (input_tokens, output_tokens) in zip(arrivals_s.tolist(), lengths, strict=True):
            prompt = min(input_tokens, load.max_model_len - 1)
            yield SimulatedRequest(
                workload=load.workload,
                served_name=load.served_name,
                arrival_s=arrival_s,
                input_tokens=prompt,
                output_tokens=min(output_tokens, load.max_model_len - prompt),
                cached_prefix_tokens=int(prompt * load.mix.prefix_hit_fraction),
                priority=load.priority,
            )


def _gaps(generator: np.random.Generator, burstiness: float) -> Array:
    """Gaps of a row of arrivals in multiples of their mean.

    Both parts of the mixture take half of the time (balanced means); the dispersion of renewal arrivals is the squared variation of their
    gaps (D. R. Cox, Renewal Theory, 1962).
    """
    variation = max(1.0, burstiness)
    short = (1 + math.sqrt((variation - 1) / (variation + 1))) / 2
    part = np.where(generator.random(_ROW_REQUESTS) < short, short, 1 - short)
    gaps: Array = -np.log1p(-generator.random(_ROW_REQUESTS)) / (2 * part)
    return gaps


def _stratified(generator: np.random.Generator, length: Length) -> list[int]:
    """Lengths of a row of requests in tokens, at least 1: one from each of as many equally likely parts, in random order."""
    parts = np.argsort(generator.random(_ROW_REQUESTS)) + generator.random(_ROW_REQUESTS)
    # a draw of exactly 0 in the lowest part has no finite score
    shares = np.maximum(parts / _ROW_REQUESTS, 1e-12).tolist()
    return [max(1, round(length.quantile(normal_score(share)))) for share in shares]
