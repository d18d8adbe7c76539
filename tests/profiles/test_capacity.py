"""Invariants of forecast and capacity; tests/planner/sizing/test_capacity_against_simulation.py judges their accuracy."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiles.latency.capacity import LoadForecast, RequestMix, Slo, capacity_rps, engine_under_load, forecast
from profiles.latency.mix import Length
from profiles.latency.steptime import StepTime
from profiles.settings import EngineSettings

# About an 8B model on H100.
STEP = StepTime(0.0075, 3e-5, 5e-8, ((0.1, 0.93), (0.5, 1.0), (0.9, 1.17), (0.99, 1.29)), "test")
CHAT = RequestMix(500, 200, 2500, 900)
ENGINE = EngineSettings()


def at(rate_rps: float, share_fraction: float = 1.0, mix: RequestMix = CHAT) -> LoadForecast:
    result = forecast(STEP, mix, rate_rps, share_fraction, ENGINE)
    assert result is not None
    return result


def test_an_idle_engine_answers_as_fast_as_its_steps() -> None:
    constant = RequestMix(500, 200, 500, 200)
    quiet = at(1e-6, mix=constant)
    slow = STEP.quantile(0.99)
    assert quiet.ttft_s == pytest.approx(slow * STEP.step_s(500, 0), rel=0.02)
    assert quiet.tpot_s == pytest.approx(slow * STEP.step_s(1, 600), rel=0.02)
    assert quiet.busy_fraction == pytest.approx(0, abs=1e-5)
    assert quiet.kv_tokens_p99 >= 700


def test_half_the_share_doubles_the_time_of_an_idle_engine() -> None:
    assert at(1e-9, 0.5).tpot_s == pytest.approx(2 * at(1e-9).tpot_s, rel=1e-3)
    assert at(1e-9, 0.5).ttft_s == pytest.approx(2 * at(1e-9).ttft_s, rel=1e-3)


def test_running_requests_follow_littles_law() -> None:
    load = at(3.0)
    # 200 steps of at least the base, and not more than at the quantile of TPOT.
    assert 3.0 * 199 * STEP.base_s < load.running_requests < 3.0 * (load.ttft_s + 199 * load.tpot_s)
    assert load.kv_tokens > load.running_requests * 500
    assert load.kv_tokens_p99 > load.kv_tokens
    assert load.busy_fraction == pytest.approx(1 - math.exp(-load.running_requests), abs=0.05)


def test_overload_has_no_forecast() -> None:
    assert forecast(STEP, CHAT, 1000.0, 1.0, ENGINE) is None
    assert forecast(STEP, CHAT, 3.0, 1.0, replace(ENGINE, max_num_seqs=4)) is None


def test_an_unattainable_slo_has_no_capacity() -> None:
    assert capacity_rps(STEP, CHAT, Slo(1.0, 0.005), 1.0, ENGINE) == 0.0
    assert capacity_rps(STEP, CHAT, Slo(0.005, 1.0), 1.0, ENGINE) == 0.0
    assert capacity_rps(STEP, CHAT, Slo(1.0, 0.05), 0.01, ENGINE) == 0.0


@pytest.mark.parametrize("outputs", [1, 2, 10])
def test_short_answers_work(outputs: int) -> None:
    mix = RequestMix(300, outputs, 1200, outputs)
    load = at(2.0, mix=mix)
    assert (load.tpot_s == 0.0) == (outputs == 1)
    assert load.tpot_s <= STEP.quantile(0.99) * STEP.step_s(ENGINE.max_num_batched_tokens + 60, 20_000)
    assert capacity_rps(STEP, mix, Slo(0.5, 0.2), 1.0, ENGINE) > 2.0


def test_long_prompts_work() -> None:
    long = replace(ENGINE, max_model_len=131072)
    mix = RequestMix(12_000, 350, 85_400, 2000)
    rate_rps = capacity_rps(STEP, mix, Slo(60.0, 0.5), 1.0, long)
    assert 0.1 < rate_rps < 3
    load = forecast(STEP, mix, 0.01, 1.0, long)
    assert load is not None
    assert load.ttft_s > STEP.per_token_s * 85_400
    assert load.kv_tokens_p99 >= 87_400


def test_burstiness_costs_capacity() -> None:
    slo = Slo(0.6, 0.05)
    smooth, bursty = (capacity_rps(STEP, replace(CHAT, burstiness=value), slo, 1.0, ENGINE) for value in (1.0, 8.0))
    assert bursty < smooth


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share_fraction": 0.0}, "share_fraction"),
        ({"share_fraction": 1.5}, "share_fraction"),
        ({"rate_rps": -1.0}, "rate_rps"),
        ({"rate_rps": math.nan}, "rate_rps"),
        ({"quantile": 1.0}, "quantile"),
    ],
)
def test_senseless_arguments_are_refused(change: dict[str, float], message: str) -> None:
    arguments = {"rate_rps": 1.0, "share_fraction": 1.0, "quantile": 0.99, **change}
    with pytest.raises(ValueError, match=message):
        forecast(STEP, CHAT, arguments["rate_rps"], arguments["share_fraction"], ENGINE, arguments["quantile"])


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "input_p99_tokens", "output_p99_tokens", "burstiness"])
def test_senseless_mixes_are_refused(name: str) -> None:
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=name):
            replace(CHAT, **{name: value})  # type: ignore[arg-type]


def test_lengths_have_the_mean_and_p99_they_were_fitted_to() -> None:
    length = Length.fitted(500, 2500)
    assert length.moment(1) == pytest.approx(500)
    assert length.quantile(2.3263478740408408) == pytest.approx(2500)
    assert Length.fitted(500, 100) == Length(500, 0.0)
    assert Length.fitted(10, 10_000).quantile(2.3263478740408408) == pytest.approx(10 * math.exp(2.3263478740408408**2 / 2))


STEPS = st.builds(
    StepTime,
    base_s=st.floats(0.001, 0.1),
    per_token_s=st.floats(1e-7, 1e-3),
    per_kv_token_s=st.floats(1e-10, 1e-6),
    residual_quantiles=st.just(STEP.residual_quantiles),
    provenance=st.just("test"),
)
MIXES = st.builds(
    lambda inputs, outputs, wide_in, wide_out, burst: RequestMix(inputs, outputs, inputs * wide_in, outputs * wide_out, burst),
    st.floats(1, 20_000),
    st.floats(1, 2000),
    st.floats(1, 20),
    st.floats(1, 20),
    st.floats(0, 20),
)
RATES = st.floats(1e-6, 50)
SHARES = st.floats(0.05, 1)


def assert_not_better(worse: LoadForecast | None, better: LoadForecast) -> None:
    if worse is None:
        return
    slack = 1 + 1e-9
    assert worse.ttft_s * slack >= better.ttft_s
    assert worse.tpot_s * slack >= better.tpot_s
    assert worse.busy_fraction * slack >= better.busy_fraction
    assert worse.running_requests * slack >= better.running_requests
    assert worse.kv_tokens * slack >= better.kv_tokens
    assert worse.kv_tokens_p99 * slack >= better.kv_tokens_p99


@given(step=STEPS, mix=MIXES, rate=RATES, more=st.floats(1, 10), share=SHARES)
@settings(max_examples=300)
def test_more_load_is_never_better(step: StepTime, mix: RequestMix, rate: float, more: float, share: float) -> None:
    less = forecast(step, mix, rate, share, ENGINE)
    if less is None:
        assert forecast(step, mix, rate * more, share, ENGINE) is None
    else:
        assert_not_better(forecast(step, mix, rate * more, share, ENGINE), less)


@given(step=STEPS, mix=MIXES, rate=RATES, share=SHARES, part=st.floats(0.1, 1))
@settings(max_examples=300)
def test_a_smaller_share_is_never_better(step: StepTime, mix: RequestMix, rate: float, share: float, part: float) -> None:
    whole = forecast(step, mix, rate, share, ENGINE)
    if whole is None:
        assert forecast(step, mix, rate, share * part, ENGINE) is None
    else:
        assert_not_better(forecast(step, mix, rate, share * part, ENGINE), whole)


@given(step=STEPS, mix=MIXES, share=SHARES, ttft=st.floats(0.01, 100), tpot=st.floats(0.001, 1), looser=st.floats(1, 10))
@settings(max_examples=100)
def test_capacity_meets_its_slo_and_a_bit_more_does_not(
    step: StepTime, mix: RequestMix, share: float, ttft: float, tpot: float, looser: float
) -> None:
    rate = capacity_rps(step, mix, Slo(ttft, tpot), share, ENGINE)
    assert capacity_rps(step, mix, Slo(ttft, tpot), share, ENGINE) == rate
    assert capacity_rps(step, mix, Slo(ttft * looser, tpot * looser), share, ENGINE) >= rate * (1 - 1.1e-3)
    assume(rate > 0)
    met = forecast(step, mix, rate, share, ENGINE)
    assert met is not None
    assert met.ttft_s <= ttft
    assert met.tpot_s <= tpot
    missed = forecast(step, mix, rate * 1.0011, share, ENGINE)
    assert missed is None or missed.ttft_s > ttft or missed.tpot_s > tpot


@given(step=STEPS, mix=MIXES, share=SHARES, ttft=st.floats(0.01, 100), tpot=st.floats(0.001, 1))
@settings(max_examples=100)
def test_capacity_is_what_a_bisection_finds_that_asks_at_every_step(
    step: StepTime, mix: RequestMix, share: float, ttft: float, tpot: float
) -> None:
    engine = engine_under_load(step, mix, share, ENGINE, 0.99)

    def meets(rate_rps: float) -> bool:
        state = engine.state(rate_rps)
        return state is not None and engine.tpot_s(state) <= tpot and engine.ttft_s(state) <= ttft

    low, high = (1e-9, engine.rate_limit_rps) if meets(1e-9) else (0.0, 0.0)
    while high - low > 1e-3 * low:
        middle = math.sqrt(low * high) if high > 4 * low else (low + high) / 2
        low, high = (middle, high) if meets(middle) else (low, middle)
    assert capacity_rps(step, mix, Slo(ttft, tpot), share, ENGINE) == low


@given(step=STEPS, mix=MIXES, rate=RATES, share=SHARES, burstiness=st.floats(0.5, 20.0))
def test_an_engine_at_another_share_or_under_other_bursts_is_the_engine_made_for_them(
    step: StepTime, mix: RequestMix, rate: float, share: float, burstiness: float
) -> None:
    found = engine_under_load(step, mix, 1.0, ENGINE, 0.95).at_share(share).with_burstiness(burstiness)
    made = engine_under_load(step, replace(mix, burstiness=burstiness), share, ENGINE, 0.95)
    state = made.state(rate)
    assert found.state(rate) == state
    if state is not None:
        assert (found.ttft_s(state), found.tpot_s(state)) == (made.ttft_s(state), made.tpot_s(state))
        assert found.kv_tokens(state) == made.kv_tokens(state)


@given(step=STEPS, mix=MIXES, rate=RATES)
def test_a_higher_quantile_is_never_lower(step: StepTime, mix: RequestMix, rate: float) -> None:
    low, high = forecast(step, mix, rate, 1.0, ENGINE, 0.95), forecast(step, mix, rate, 1.0, ENGINE, 0.99)
    if high is not None:
        assert low is not None
        assert low.ttft_s <= high.ttft_s
        assert low.tpot_s <= high.tpot_s


def test_a_p99_beyond_any_log_normal_still_counts() -> None:
    extreme = RequestMix(100, 50, 8000, 50)
    assert at(1e-6, mix=extreme).ttft_s >= STEP.step_s(8000, 0)
