from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.simulation.simulation_input import SimulatedEngine, SimulatedGpu, SimulatedRequest
from planner.simulation.virtual_time import NO_ROUTE, SimulationResult, simulate
from profiles.latency.steptime import StepTime
from tests.simulation.driving import config

# powers of two: sums of them are exact in floating point
EXACT = StepTime(base_s=2**-7, per_token_s=2**-14, per_kv_token_s=2**-20, residual_quantiles=(), provenance="test")
SPREAD = StepTime(0.01, 1e-5, 1e-8, ((0.1, 0.9), (0.5, 1.0), (0.9, 1.2)), "test")


def engine(name: str, gpu: str = "g0", step_time: StepTime = EXACT, kv_mib: int = 1000, **limits: Any) -> SimulatedEngine:
    return SimulatedEngine(name, config(**{"budget": 2048, "seqs": 64, **limits}), step_time, gpu, kv_mib)


def gpus(*names: str) -> tuple[SimulatedGpu, ...]:
    return tuple(SimulatedGpu(name, ((name, 1.0),)) for name in names)


def request(
    served_name: str, arrival_s: float = 0.0, input_tokens: int = 128, output_tokens: int = 64, cached: int = 0
) -> SimulatedRequest:
    return SimulatedRequest("w", served_name, arrival_s, input_tokens, output_tokens, cached)


def run(engines: Sequence[SimulatedEngine], requests: Sequence[SimulatedRequest], factor: float = 1.0) -> SimulationResult:
    """Every engine serves the model of its own name."""
    names = tuple(dict.fromkeys(item.gpu_key for item in engines))
    routes = {item.name: ((item.name, 1),) for item in engines}
    return simulate(engines, gpus(*names), requests, routes, seed=1, interference_factor=factor)


@pytest.mark.parametrize("arrival_s", [0.0, 0.375])
def test_one_request_alone_follows_the_closed_form(arrival_s: float) -> None:
    record = run([engine("m")], [request("m", arrival_s, 128, 64)]).records[0]
    assert record.ttft_s == EXACT.step_s(128, 0)
    assert record.tpot_s == sum(EXACT.step_s(1, 128 + index) for index in range(63)) / 63
    assert (record.replica, record.error, record.arrival_s) == ("m", None, arrival_s)


def test_a_chunked_prompt_follows_the_closed_form() -> None:
    record = run([engine("m", budget=64)], [request("m", 0.0, 160, 1)]).records[0]
    assert record.ttft_s == EXACT.step_s(64, 0) + EXACT.step_s(64, 64) + EXACT.step_s(32, 128)
    assert record.tpot_s is None


def test_a_cached_prefix_shortens_the_prefill() -> None:
    record = run([engine("m")], [request("m", 0.0, 128, 1, cached=96)]).records[0]
    assert record.ttft_s == EXACT.step_s(32, 96)


@pytest.mark.parametrize("count", [2, 4])
def test_n_neighbours_always_active_take_n_times_as_long(count: int) -> None:
    alone = run([engine("m0")], [request("m0")]).records[0]
    assert alone.ttft_s is not None
    assert alone.tpot_s is not None
    engines = [engine(f"m{index}") for index in range(count)]
    result = run(engines, [request(item.name) for item in engines])
    for record in result.records:
        assert (record.ttft_s, record.tpot_s) == (count * alone.ttft_s, count * alone.tpot_s)
    assert result.gpus[0].busy_fraction == 1.0


def test_interference_slows_neighbours_and_nobody_else() -> None:
    alone = run([engine("m0")], [request("m0")], factor=1.5).records[0]
    assert alone.ttft_s == EXACT.step_s(128, 0)
    pair = run([engine("m0"), engine("m1")], [request("m0"), request("m1")], factor=1.5)
    assert [record.ttft_s for record in pair.records] == [3 * EXACT.step_s(128, 0)] * 2


def test_engines_on_different_gpus_do_not_touch_each_other() -> None:
    alone = run([engine("m0")], [request("m0")]).records[0]
    both = run([engine("m0", "g0"), engine("m1", "g1")], [request("m0"), request("m1")])
    assert (both.records[0].ttft_s, both.records[0].tpot_s) == (alone.ttft_s, alone.tpot_s)


def test_an_idle_neighbour_costs_nothing() -> None:
    alone = run([engine("m0")], [request("m0")]).records
    assert run([engine("m0"), engine("m1")], [request("m0")]).records == alone


def test_requests_of_one_route_are_split_by_weight() -> None:
    engines = [engine("a", "g0"), engine("b", "g1")]
    requests = [request("m", index / 8) for index in range(40)]
    result = simulate(engines, gpus("g0", "g1"), requests, {"m": (("a", 750), ("b", 250))}, step_quantile=0.5)
    assert [record.replica for record in result.records].count("a") == 30


def test_refused_requests_are_errors_with_a_reason() -> None:
    result = run([engine("m", model_len=256, blocks=10, queue=1)], [request("m", 0.0, 250, 7), request("m", 0.0, 200, 20), request("x")])
    assert [record.error for record in result.records] == ["too_long", "never_fits", NO_ROUTE]
    assert [record.replica for record in result.records] == ["m", "m", None]
    assert all(record.ttft_s is None and record.tpot_s is None for record in result.records)
    crowd = run([engine("m", queue=1)], [request("m")] * 3)
    assert [record.error for record in crowd.records] == [None, None, "queue_full"]


def test_use_of_engines_and_gpus() -> None:
    block = SimulatedEngine("tp", config(), EXACT, "g1+2", 500)
    world = (*gpus("g0"), SimulatedGpu("g1", (("g1+2", 1.0),)), SimulatedGpu("g2", (("g1+2", 1.0),)), *gpus("g3"))
    result = simulate([engine("a"), block], world, [request("tp", 0.0, 32, 33)], {"tp": (("tp", 1),)}, step_quantile=0.5)
    idle, left, right, empty = result.gpus
    assert idle.busy_fraction == empty.busy_fraction == 0.0
    assert left.busy_fraction == right.busy_fraction == 1.0
    # 32 + 33 tokens less the last output token need four blocks of sixteen; 999 can be used
    assert left.kv_peak_fraction == 4 / 999
    assert 2 / 999 < left.kv_mean_fraction < 4 / 999
    assert left.tokens_per_s == pytest.approx((32 + 33) / result.end_s / 2)
    assert result.engines[1].tokens_per_s == pytest.approx((32 + 33) / result.end_s)
    assert result.engines[0].busy_fraction == 0.0


def test_mig_slices_count_by_their_share_of_the_gpu() -> None:
    engines = [engine("a", "g0/4g", kv_mib=3000), engine("b", "g0/3g", kv_mib=1000)]
    world = (SimulatedGpu("g0", (("g0/4g", 4 / 7), ("g0/3g", 3 / 7))),)
    result = simulate(engines, world, [request("a")], {"a": (("a", 1),)}, step_quantile=0.5)
    assert result.gpus[0].busy_fraction == pytest.approx(4 / 7)
    assert result.gpus[0].kv_mean_fraction == pytest.approx(result.engines[0].kv_mean_fraction * 0.75)


def test_nothing_to_do() -> None:
    result = run([engine("m")], [])
    assert (result.records, result.end_s, result.gpus[0].busy_fraction) == ((), 0.0, 0.0)


@pytest.mark.parametrize(
    ("engines", "world", "routes", "message"),
    [
        ([engine("a"), engine("a")], gpus("g0"), {}, "same name"),
        ([engine("a", "g7")], gpus("g0"), {}, "engine a runs on g7"),
        ([engine("a")], gpus("g0"), {"m": (("b", 1),)}, "route of m names engine b"),
    ],
)
def test_inputs_that_do_not_belong_together(
    engines: list[SimulatedEngine], world: tuple[SimulatedGpu, ...], routes: dict[str, tuple[tuple[str, int], ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(engines, world, [], routes, step_quantile=0.5)


@pytest.mark.parametrize("arrival_s", [-0.1, float("nan"), float("inf")])
def test_arrivals_before_the_start(arrival_s: float) -> None:
    with pytest.raises(ValueError, match="a request of w arrives at"):
        run([engine("m")], [request("m", arrival_s)])


crowds = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 2), st.integers(1, 300), st.integers(1, 40)).map(
        lambda item: request(f"m{item[0]}", item[1], item[2], item[3])
    ),
    max_size=30,
)


@settings(deadline=None)
@given(crowds, st.integers(0, 1000))
def test_a_seed_gives_one_result_whatever_the_order_of_requests(requests: list[SimulatedRequest], seed: int) -> None:
    engines = [engine(f"m{index}", f"g{index // 2}", SPREAD, blocks=30, seqs=4, budget=64) for index in range(4)]
    routes = {item.name: ((item.name, 1),) for item in engines}
    first = simulate(engines, gpus("g0", "g1"), requests, routes, seed=seed)
    second = simulate(engines, gpus("g0", "g1"), requests, routes, seed=seed)
    assert first == second
    if len({item.arrival_s for item in requests}) == len(requests):
        shuffled = simulate(engines, gpus("g0", "g1"), requests[::-1], routes, seed=seed)
        assert shuffled.records == first.records[::-1]


@settings(deadline=None)
@given(crowds)
def test_times_of_every_request_are_possible(requests: list[SimulatedRequest]) -> None:
    engines = [engine(f"m{index}", f"g{index // 2}", SPREAD, blocks=30, seqs=4, budget=64) for index in range(4)]
    result = run(engines, requests)
    for record in result.records:
        # 0.9 is the fastest residual and a step is never shorter than its base
        if record.error is None:
            assert record.ttft_s is not None
            assert record.ttft_s >= 0.9 * SPREAD.base_s * -(-record.input_tokens // 64) * (1 - 1e-9)
            assert record.tpot_s is None or record.tpot_s >= 0.9 * SPREAD.base_s * (1 - 1e-9)
    assert all(use.busy_fraction is not None and 0 <= use.busy_fraction <= 1 + 1e-9 for use in result.gpus)
    assert all(0 <= use.kv_mean_fraction <= use.kv_peak_fraction + 1e-9 <= 1 + 1e-9 for use in result.gpus)
