from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planner.simulation import EngineConfig, EngineCore, EngineRequest
from tests.simulation.driving import Outcome, config, run, step_once

Lengths = list[tuple[int, int, int]]

lengths: st.SearchStrategy[Lengths] = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(0, 60)).map(lambda item: (item[0], item[1], min(item[0], item[2]))),
    min_size=1,
    max_size=20,
)
small_pools = st.builds(
    lambda blocks, block_size, seqs, spare, by_priority: config(
        blocks=blocks, block_size=block_size, seqs=seqs, budget=seqs + spare, model_len=110, by_priority=by_priority
    ),
    st.integers(2, 40),
    st.integers(1, 8),
    st.integers(1, 6),
    st.integers(0, 30),
    st.booleans(),
)


def _priority(index: int) -> int:
    return 100 if index % 3 == 1 else 0


def _add_all(core: EngineCore, requests: Lengths) -> dict[str, int]:
    """Adds what is accepted; returns accepted id -> output tokens."""
    accepted = {}
    for index, (input_tokens, output_tokens, cached) in enumerate(requests):
        if core.add(EngineRequest(str(index), input_tokens, output_tokens, cached, _priority(index))) is None:
            accepted[str(index)] = output_tokens
    return accepted


@given(small_pools, lengths)
def test_every_accepted_request_gets_its_tokens_and_all_blocks_return(limits: EngineConfig, requests: Lengths) -> None:
    """Invariant 11."""
    core = EngineCore(limits)
    accepted = _add_all(core, requests)
    outcome = run(core)
    assert outcome.tokens == accepted
    assert sorted(outcome.first) == sorted(outcome.ended) == sorted(accepted)
    assert core.used_blocks == 0
    assert core.counters.generation_tokens == sum(accepted.values())
    assert core.counters.prompt_tokens == sum(requests[int(name)][0] for name in accepted)


@given(small_pools, lengths)
def test_work_is_conserved_without_preemption(limits: EngineConfig, requests: Lengths) -> None:
    core = EngineCore(limits)
    accepted = _add_all(core, requests)
    outcome = run(core)
    needed = 0
    for name, output_tokens in accepted.items():
        input_tokens, _, cached = requests[int(name)]
        needed += input_tokens - min(cached, input_tokens - 1) + output_tokens - 1
    assert outcome.computed_tokens >= needed
    if core.counters.preemptions == 0:
        assert outcome.computed_tokens == needed


@given(st.integers(1, 6), st.integers(0, 30), lengths)
def test_first_tokens_come_in_order_of_arrival_without_preemption(seqs: int, spare: int, requests: Lengths) -> None:
    core = EngineCore(config(blocks=10_000, seqs=seqs, budget=seqs + spare))
    accepted = _add_all(core, requests)
    assert run(core).first == list(accepted)
    assert core.counters.preemptions == 0


@given(small_pools, lengths, st.data())
def test_arrivals_and_aborts_at_any_moment(limits: EngineConfig, requests: Lengths, data: st.DataObject) -> None:
    core, outcome = EngineCore(limits), Outcome()
    accepted: dict[str, int] = {}
    gone: set[str] = set()
    for index, (input_tokens, output_tokens, cached) in enumerate(requests):
        if core.add(EngineRequest(str(index), input_tokens, output_tokens, cached, _priority(index))) is None:
            accepted[str(index)] = output_tokens
        for _ in range(data.draw(st.integers(0, 4))):
            step_once(core, outcome)
        if data.draw(st.booleans()) and accepted:
            victim = data.draw(st.sampled_from(sorted(accepted)))
            step = core.schedule() if data.draw(st.booleans()) else None
            if core.abort(victim):
                gone.add(victim)
            if step is not None:
                result = core.finish(step)
                assert victim not in result.tokens or victim not in gone
                for name in result.tokens:
                    outcome.tokens[name] = outcome.tokens.get(name, 0) + 1
    while step_once(core, outcome):
        pass
    assert core.used_blocks == 0
    for name, output_tokens in accepted.items():
        got = outcome.tokens.get(name, 0)
        assert got < output_tokens if name in gone else got == output_tokens


@given(small_pools, lengths)
def test_same_input_same_steps(limits: EngineConfig, requests: Lengths) -> None:
    first, second = EngineCore(limits), EngineCore(limits)
    _add_all(first, requests)
    _add_all(second, requests)
    assert run(first) == run(second)


@given(small_pools, lengths, st.data())
def test_steps_that_end_together_leave_what_they_leave_one_by_one(limits: EngineConfig, requests: Lengths, data: st.DataObject) -> None:
    """Invariant 20. Requests come at any step; so do they in the middle of a row, which then ends there."""
    together, single = EngineCore(limits), EngineCore(limits)
    for index, (input_tokens, output_tokens, cached) in enumerate(requests):
        for core in (together, single):
            core.add(EngineRequest(str(index), input_tokens, output_tokens, cached, _priority(index)))
        for _ in range(data.draw(st.integers(0, 6)) if index < len(requests) - 1 else 10_000):
            step = together.schedule()
            if step is None:
                break
            count = data.draw(st.integers(1, together.steps_alike()))
            held, taken = together.used_blocks, together.blocks_taken(count)
            result = together.finish(step, count)
            tokens: list[str] = []
            for number in range(count):
                other = single.schedule()
                assert other is not None
                assert (other.tokens, other.kv_tokens) == (step.tokens, step.kv_tokens + number * len(step.decodes))
                assert single.used_blocks == held + sum(at <= number for at in taken)
                last = single.finish(other)
                tokens += last.tokens
            assert sorted(tokens) == sorted(result.tokens * count)
            assert (result.first, result.ended) == (last.first, last.ended)
            assert (together.used_blocks, together.counters) == (single.used_blocks, single.counters)
    assert single.schedule() is None
