"""Predictive admission: needs, and the chance of preemption against a simulation of the same assumptions."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.memory.admission import Admission, AnswerLengths, NewRequest, PoolState, RunningRequest, admission
from profiles.settings import EngineSettings

MODEL = builtin().model("Qwen/Qwen3-8B")
SETTINGS = EngineSettings(max_model_len=4096)
ANSWERS = AnswerLengths(tuple(range(1, 401)))


def ask(blocks: int, running: tuple[RunningRequest, ...] = (), request: NewRequest | None = None) -> Admission:
    return admission(MODEL, SETTINGS, PoolState(blocks, running), request or NewRequest(160, 400), ANSWERS)


def test_needs_are_counted_in_blocks_and_cached_prefixes_are_free() -> None:
    found = ask(1000)
    assert (found.start_blocks, found.most_blocks) == (11, 35)
    # 160 tokens and a mean answer of 200.5
    assert found.expected_blocks == 23
    cached = ask(1000, request=NewRequest(160, 400, cached_tokens=100))
    assert (cached.start_blocks, cached.most_blocks) == (11 - 6, 35 - 6)


def test_what_can_never_fit_is_said() -> None:
    assert not ask(35).can_ever_fit
    assert ask(36).can_ever_fit
    assert not ask(10_000, request=NewRequest(4096, 1)).can_ever_fit
    assert ask(35).preemption_probability == 1.0


def test_a_pool_for_the_longest_answers_never_preempts() -> None:
    running = tuple(RunningRequest(160, 0, 400) for _ in range(9))
    assert ask(10 * 35 + 1, running).preemption_probability == 0.0
    assert ask(60, running).preemption_probability == pytest.approx(1.0, abs=1e-6)


def test_the_probability_is_that_of_a_simulation() -> None:
    generator = random.Random(7)
    running = tuple(RunningRequest(generator.randint(50, 800), generator.randint(0, 200), 400) for _ in range(30))
    for blocks in (1010, 1050, 1090):
        predicted = ask(blocks, running).preemption_probability
        exceeded = sum(_exceeds(generator, running, blocks - 1) for _ in range(1500)) / 1500
        # The largest chance at one instant is a lower bound of the chance over the whole life.
        assert predicted - 0.05 <= exceeded <= predicted + 0.25


def _exceeds(generator: random.Random, running: tuple[RunningRequest, ...], usable: int) -> bool:
    requests = (*running, RunningRequest(160, 0, 400))
    ends = [generator.choice([length for length in ANSWERS.tokens if length > request.generated_tokens]) for request in requests]
    for steps in range(1, 400, 4):
        held = sum(
            -(-(request.prompt_tokens + request.generated_tokens + steps) // 16)
            for request, end in zip(requests, ends, strict=True)
            if request.generated_tokens + steps < end
        )
        if held > usable:
            return True
    return False


@given(blocks=st.integers(36, 2000), count=st.integers(0, 40), generated=st.integers(0, 399))
def test_more_blocks_never_make_preemption_likelier(blocks: int, count: int, generated: int) -> None:
    running = tuple(RunningRequest(300, generated, 400) for _ in range(count))
    fewer, more = ask(blocks, running).preemption_probability, ask(blocks + 50, running).preemption_probability
    assert 0.0 <= more <= fewer + 1e-9 <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (NewRequest(0, 1), "prompt_tokens is 0"),
        (NewRequest(1, 0), "max_tokens is 0"),
        (NewRequest(10, 1, cached_tokens=11), "cached_tokens is 11"),
    ],
)
def test_impossible_requests_are_refused(request_: NewRequest, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(100, request=request_)
    with pytest.raises(ValueError, match="kv_blocks is 1"):
        ask(1)
    with pytest.raises(ValueError, match="ascending"):
        AnswerLengths((2, 1))
    with pytest.raises(ValueError, match="none below 0"):
        AnswerLengths((-4, 1))
    with pytest.raises(ValueError, match=r"running\[1\].generated_tokens is -5"):
        ask(100, (RunningRequest(1, 0, 1), RunningRequest(1, -5, 1)))


def test_a_request_that_is_too_long_starts_with_no_more_than_the_most_it_can_hold() -> None:
    found = ask(10_000, request=NewRequest(9000, 50))
    assert not found.can_ever_fit
    assert found.start_blocks == found.most_blocks == 256
