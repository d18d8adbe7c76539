"""Times that a GPU's data sheet does not allow: measured rows below them were measured on something else than the row says.

Kernels run one after another at the data sheet's full rates, nothing else takes time. Whatever the schedule, a client's request then takes
at least one request's share of all the work: with C clients, C prompts are computed and C answers are decoded in the time of one request.
Cached prompts, a narrower KV cache than stated, and speculative decoding get below; the table has no column for any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.prediction import PredictedEngine
from profiles.latency.steptime import attended_pairs
from profiles.latency.work import step_work
from profiles.precision import product_tflops


@dataclass(frozen=True, slots=True)
class Floor:
    """Least seconds: of the first token (its own prompt), of a further token (weights once), of a whole request (all work of its time)."""

    ttft_s: float
    tpot_s: float
    request_s: float


def floor(engine: PredictedEngine, load: ClosedLoop) -> Floor:
    """What the data sheet allows at best under a load; UnsupportedError for a configuration that cannot run."""
    work = step_work(engine.architecture, engine.settings, engine.data_parallel_size)
    # pipeline stages work on different requests at the same time
    stages = engine.settings.pipeline_parallel_size
    bytes_per_s = engine.gpu.memory_bandwidth_gb_per_s * 1e9
    flops_per_s = product_tflops(engine.architecture, engine.gpu, engine.settings) * 1e12
    experts = engine.architecture.experts
    touched_bytes = work.weights_bytes + (work.expert_bytes * experts.per_token / experts.count if experts else 0.0)
    clients = max(load.concurrency / engine.data_parallel_size, 1.0)
    decodes = load.output_tokens - 1
    context_tokens = load.input_tokens + load.output_tokens / 2
    prompt_s = work.token_flops * load.input_tokens / flops_per_s
    pairs_s = work.pair_flops * attended_pairs(load.input_tokens) / (engine.gpu.bf16_tflops * 1e12)
    products_s = max(decodes * touched_bytes / bytes_per_s, clients * (prompt_s + decodes * work.token_flops / flops_per_s) / stages)
    return Floor(
        ttft_s=prompt_s + pairs_s,
        tpot_s=touched_bytes / bytes_per_s,
        request_s=products_s + clients * (pairs_s + decodes * context_tokens * work.kv_bytes / bytes_per_s) / stages,
    )


def impossible(engine: PredictedEngine, load: ClosedLoop, ttft_s: float, tpot_s: float) -> str | None:
    """Why the measured times cannot be, with both numbers; None when the data sheet allows them."""
    least = floor(engine, load)
    request_s = ttft_s + (load.output_tokens - 1) * tpot_s
    measured = (("TTFT", ttft_s, least.ttft_s), ("TPOT", tpot_s, least.tpot_s), ("request time", request_s, least.request_s))
    for name, seconds, least_s in measured:
        if seconds < least_s:
            shown = f"{seconds * 1e3:.4g} ms is below the {least_s * 1e3:.4g} ms that {engine.gpu.name} needs at its full rates"
            return f"{name} {shown} (cached prompts, a narrower KV cache or speculative decoding?)"
    return None
