from __future__ import annotations

import re
from typing import Any

import pytest

from planner.simulation import EngineConfig, EngineCore, EngineRequest, RejectReason
from planner.simulation.engine_steps import seconds
from profiles.latency.steptime import StepTime
from tests.simulation.driving import Outcome, add, config, run, step_once


def test_a_prompt_within_the_budget_takes_one_step_per_output_token() -> None:
    core = EngineCore(config())
    add(core, "a", 50, 7)
    outcome = run(core)
    assert (outcome.steps, outcome.tokens, outcome.first, outcome.ended) == (7, {"a": 7}, ["a"], ["a"])
    assert outcome.computed_tokens == 50 + 6


def test_step_says_what_it_computes_and_reads() -> None:
    core = EngineCore(config(budget=64))
    add(core, "a", 100, 3)
    seen = []
    while (step := core.schedule()) is not None:
        seen.append((step.tokens, step.kv_tokens))
        core.finish(step)
    # two chunks of the prompt, then one token each over 100 and 101 tokens of context
    assert seen == [(64, 0), (36, 64), (1, 100), (1, 101)]


def test_step_counts_the_pairs_that_its_prompts_attend_to() -> None:
    core = EngineCore(config(budget=64))
    add(core, "a", 100, 3)
    add(core, "b", 30, 2, 10)
    pairs, sequences = [], []
    while (step := core.schedule()) is not None:
        pairs.append(step.pairs)
        sequences.append(len(step.decodes) + len(step.chunks))
        core.finish(step)
    # 64 tokens; the other 36 of a with b's 20 beyond its cached 10; decodes read the cache and form no pairs
    assert pairs == [64 * 65 // 2, 36 * 64 + 36 * 37 // 2 + 20 * 10 + 20 * 21 // 2, 0, 0]
    assert sum(pairs) == 100 * 101 // 2 + (30 * 31 - 10 * 11) // 2
    assert sequences == [1, 2, 2, 1]


def test_seconds_of_a_step_follow_the_step_time_model() -> None:
    core = EngineCore(config(budget=64))
    add(core, "a", 100, 3)
    time = StepTime(1.0, 0.01, 0.0, (), "test", per_sequence_s=0.5, per_pair_s=0.001)
    step = core.schedule()
    assert step is not None
    assert seconds(time, step) == 1.0 + 0.64 + 0.5 + 64 * 65 / 2 * 0.001


def test_cached_prefix_is_not_computed_but_counted_and_held() -> None:
    core = EngineCore(config())
    add(core, "a", 60, 2, cached_prefix_tokens=48)
    step = core.schedule()
    assert step is not None
    assert (step.tokens, step.kv_tokens, core.used_blocks) == (12, 48, 4)
    core.finish(step)
    assert (core.counters.prompt_tokens, core.counters.cached_prompt_tokens) == (60, 48)


def test_a_prompt_that_is_cached_in_full_still_computes_its_last_token() -> None:
    core = EngineCore(config())
    add(core, "a", 32, 1, cached_prefix_tokens=32)
    outcome = run(core)
    assert (outcome.steps, outcome.computed_tokens, core.counters.cached_prompt_tokens) == (1, 1, 31)


def test_decoding_goes_before_prefill_chunks() -> None:
    core = EngineCore(config(budget=10))
    add(core, "a", 8, 5)
    outcome = Outcome()
    step_once(core, outcome)
    add(core, "b", 25, 1)
    steps = []
    while (step := core.schedule()) is not None:
        steps.append((len(step.decodes), [chunk for _, chunk in step.chunks]))
        core.finish(step)
    assert steps == [(1, [9]), (1, [9]), (1, [7]), (1, [])]


def test_waiting_requests_respect_max_num_seqs_in_order_of_arrival() -> None:
    core = EngineCore(config(seqs=2))
    for name in "abcd":
        add(core, name, 5, 3)
    outcome = run(core)
    assert outcome.first == ["a", "b", "c", "d"]
    assert outcome.steps == 6


def test_the_whole_prompt_must_fit_the_free_blocks_before_admission() -> None:
    # ten usable blocks; "a" holds six of them for its prompt of 96 tokens
    core = EngineCore(config(blocks=11, budget=96))
    add(core, "a", 96, 2)
    outcome = Outcome()
    step_once(core, outcome)
    # the first chunk of "b" would fit the four free blocks, its whole prompt needs five
    add(core, "b", 80, 1)
    step = core.schedule()
    assert step is not None
    assert (step.tokens, core.running, core.waiting) == (1, 1, 1)
    core.finish(step)
    assert run(core).ended == ["b"]


def test_the_newest_request_is_preempted_and_recomputed() -> None:
    # four usable blocks of four tokens: two requests of 4 + 9 tokens need three blocks each
    core = EngineCore(config(blocks=5, block_size=4))
    add(core, "old", 4, 9)
    add(core, "new", 4, 9)
    outcome = run(core)
    assert outcome.tokens == {"old": 9, "new": 9}
    assert outcome.ended == ["old", "new"]
    assert core.counters.preemptions == 1
    # "new" was preempted with 4 + 4 tokens computed and a fifth generated: 9 tokens are computed again
    assert outcome.computed_tokens == (4 + 8) * 2 + 8
    assert core.counters.prompt_tokens == 8
    assert core.counters.generation_tokens == 18
    assert core.used_blocks == 0


def test_a_preempted_request_waits_before_all_others() -> None:
    core = EngineCore(config(blocks=5, block_size=4, seqs=2))
    for name in ("old", "new", "third"):
        add(core, name, 4, 9)
    outcome = Outcome()
    while core.counters.preemptions == 0:
        step_once(core, outcome)
    assert core.running == 1
    assert [sequence.request_id for sequence in core._waiting] == ["new", "third"]
    while step_once(core, outcome):
        pass
    assert outcome.ended == ["old", "new", "third"]


def test_rejections_are_typed_and_carry_numbers() -> None:
    core = EngineCore(config(blocks=11, model_len=200, queue=1))
    too_long = core.add(EngineRequest("a", 150, 51))
    assert too_long is not None
    assert too_long.reason is RejectReason.TOO_LONG
    assert re.search("150 input and 51 output tokens exceed max_model_len 200", too_long.message)
    never = core.add(EngineRequest("a", 150, 12))
    assert never is not None
    assert never.reason is RejectReason.NEVER_FITS
    assert core.add(EngineRequest("a", 150, 11)) is None
    full = core.add(EngineRequest("b", 1, 1))
    assert full is not None
    assert full.reason is RejectReason.QUEUE_FULL
    assert run(core).tokens == {"a": 11}


def test_the_largest_request_fills_the_pool_exactly() -> None:
    core = EngineCore(config(blocks=11, model_len=200))
    add(core, "a", 150, 11)
    peak = 0
    while (step := core.schedule()) is not None:
        peak = max(peak, core.used_blocks)
        core.finish(step)
    assert peak == core.config.usable_blocks


@pytest.mark.parametrize("when", ["waiting", "prefilling", "decoding"])
def test_abort_frees_everything_also_mid_step(when: str) -> None:
    core = EngineCore(config(budget=16))
    add(core, "a", 20, 5)
    step = None
    if when != "waiting":
        step = core.schedule()
        if when == "decoding":
            outcome = Outcome()
            assert step is not None
            core.finish(step)
            step_once(core, outcome)
            step = core.schedule()
    assert core.abort("a")
    assert not core.abort("a")
    if step is not None:
        assert core.finish(step).tokens == ()
    assert (core.running, core.waiting, core.used_blocks) == (0, 0, 0)
    assert core.schedule() is None


def test_an_id_is_free_again_after_abort_and_after_the_end() -> None:
    core = EngineCore(config())
    add(core, "a", 4, 2)
    step = core.schedule()
    assert step is not None
    core.abort("a")
    add(core, "a", 4, 1)
    assert core.finish(step).tokens == ()
    assert run(core).tokens == {"a": 1}
    add(core, "a", 4, 2)
    assert run(core).tokens == {"a": 2}


def test_an_id_in_use_is_refused() -> None:
    core = EngineCore(config())
    add(core, "a", 4, 2)
    with pytest.raises(ValueError, match="'a' is already in this engine"):
        core.add(EngineRequest("a", 1, 1))


def test_steps_are_finished_once_and_in_order() -> None:
    core = EngineCore(config())
    add(core, "a", 4, 2)
    step = core.schedule()
    assert step is not None
    with pytest.raises(RuntimeError, match="in flight"):
        core.schedule()
    core.finish(step)
    with pytest.raises(RuntimeError, match="not the step in flight"):
        core.finish(step)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 1}, "kv_blocks is 1; one block is held back"),
        ({"seqs": 65}, "max_num_batched_tokens is 64, below max_num_seqs 65"),
        ({"block_size": 0}, "block_size is 0"),
        ({"queue": 0}, "max_num_queued_reqs is 0"),
    ],
)
def test_limits_no_engine_starts_with(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize(("input_tokens", "output_tokens", "cached"), [(0, 1, 0), (1, 0, 0), (4, 1, 5), (4, 1, -1)])
def test_lengths_that_are_no_request(input_tokens: int, output_tokens: int, cached: int) -> None:
    with pytest.raises(ValueError, match="request a"):
        EngineRequest("a", input_tokens, output_tokens, cached)


def test_kv_fraction_leaves_the_null_block_out() -> None:
    core = EngineCore(EngineConfig(kv_blocks=5, block_size=16, max_num_seqs=1, max_num_batched_tokens=64, max_model_len=64))
    add(core, "a", 64 - 1, 1)
    assert core.schedule() is not None
    assert core.kv_fraction == 1.0


def test_how_many_steps_are_alike() -> None:
    core = EngineCore(config(blocks=8, block_size=4, seqs=2))
    add(core, "a", 4, 9)
    add(core, "b", 8, 20)
    step = core.schedule()
    assert step is not None
    assert core.steps_alike() == 1
    core.finish(step)
    step = core.schedule()
    assert step is not None
    # 2 + 3 of 7 blocks are held; each request has room for four tokens, then takes one of the two blocks that are left; "a" ends then
    assert core.steps_alike() == 8
    assert core.blocks_taken(8) == [4, 4]
    add(core, "c", 1, 1)
    full = not core.admits_next
    result = core.finish(step, 8)
    assert (result.tokens, result.ended) == (("a", "b"), ("a",))
    assert (full, core.admits_next) == (True, True)


def test_steps_are_alike_until_a_block_is_missing() -> None:
    core = EngineCore(config(blocks=6, block_size=4, seqs=2))
    add(core, "a", 6, 12)
    add(core, "b", 4, 16)
    step = core.schedule()
    assert step is not None
    core.finish(step)
    step = core.schedule()
    assert step is not None
    # "a" has room for two tokens, "b" for four, and one block is left: "a" takes it, and "b" lacks one in the fifth step
    assert core.steps_alike() == 4
    core.finish(step, 4)
    assert core.counters.preemptions == 0
    assert core.used_blocks == 5
    core.schedule()
    assert core.counters.preemptions == 1


def test_steps_that_are_not_known_to_be_alike_cannot_end_together() -> None:
    core = EngineCore(config())
    with pytest.raises(RuntimeError, match="no step is in flight"):
        core.steps_alike()
    add(core, "a", 4, 9)
    add(core, "b", 4, 9)
    step = core.schedule()
    assert step is not None
    core.finish(step)
    step = core.schedule()
    assert step is not None
    assert core.steps_alike() == 8
    core.abort("b")
    with pytest.raises(RuntimeError, match="8 steps cannot end together: 1 to 1 are known to be alike"):
        core.finish(step, 8)
    with pytest.raises(RuntimeError, match="0 steps cannot end together"):
        core.finish(step, 0)


def test_nothing_follows_a_step_after_which_a_request_is_admitted() -> None:
    core = EngineCore(config(seqs=2))
    for name in ("a", "b", "c"):
        add(core, name, 4, 9)
    step = core.schedule()
    assert step is not None
    core.finish(step)
    core.schedule()
    before = (core.admits_next, core.steps_alike())
    core.abort("b")
    assert (before, core.admits_next, core.steps_alike()) == ((False, 8), True, 1)
