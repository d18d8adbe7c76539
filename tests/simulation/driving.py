"""Driving a core to its end while watching the rules that hold at every step."""

from __future__ import annotations

from dataclasses import dataclass, field

from planner.simulation import EngineConfig, EngineCore, EngineRequest


def config(
    *,
    blocks: int = 1000,
    block_size: int = 16,
    seqs: int = 8,
    budget: int = 64,
    model_len: int = 4096,
    queue: int | None = None,
    by_priority: bool = False,
) -> EngineConfig:
    return EngineConfig(
        kv_blocks=blocks,
        block_size=block_size,
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        max_model_len=model_len,
        max_num_queued_reqs=queue,
        by_priority=by_priority,
    )


@dataclass
class Outcome:
    tokens: dict[str, int] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    steps: int = 0
    computed_tokens: int = 0


def step_once(core: EngineCore, outcome: Outcome) -> bool:
    """One checked step; False when the core is idle."""
    step = core.schedule()
    if step is None:
        assert core.running == 0
        assert core.waiting == 0
        return False
    assert 0 < step.tokens <= core.config.max_num_batched_tokens
    assert step.kv_tokens >= 0
    assert 0 < core.running <= core.config.max_num_seqs
    assert 0 < core.used_blocks <= core.config.usable_blocks
    held = [sequence.capacity for sequence in core._running]
    assert sum(held) == core.used_blocks * core.config.block_size
    result = core.finish(step)
    assert set(result.first) <= set(result.tokens)
    assert set(result.ended) <= set(result.tokens)
    assert all(sequence.computed <= sequence.capacity for sequence in core._running)
    assert not any(sequence.prefilling for sequence in core._running[:-1])
    for request_id in result.tokens:
        outcome.tokens[request_id] = outcome.tokens.get(request_id, 0) + 1
    outcome.first += result.first
    outcome.ended += result.ended
    outcome.steps += 1
    outcome.computed_tokens += step.tokens
    return True


def run(core: EngineCore) -> Outcome:
    outcome = Outcome()
    while step_once(core, outcome):
        pass
    return outcome


def add(core: EngineCore, request_id: str, input_tokens: int, output_tokens: int, cached_prefix_tokens: int = 0) -> None:
    assert core.add(EngineRequest(request_id, input_tokens, output_tokens, cached_prefix_tokens)) is None
