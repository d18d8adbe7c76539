"""Steps that pass as one event give what they give one by one: times, records, preemptions and uses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.simulation.simulation_input import Routes, SimulatedEngine, SimulatedGpu, SimulatedRequest
from planner.simulation.virtual_time import SimulationResult, simulate
from profiles.latency.steptime import StepTime
from tests.simulation.driving import config
from tests.simulation.step_by_step import PlainRun, run_plainly
from tests.simulation.test_virtual_time import EXACT

# Numbers of which no sum is round: a step ends at the instant of an arrival only where a test wants it to.
UNEVEN = StepTime(
    base_s=0.011_317,
    per_token_s=1.713e-5,
    per_kv_token_s=3.137e-7,
    residual_quantiles=((0.1, 0.87), (0.5, 1.013), (0.9, 1.219), (0.99, 1.93)),
    provenance="test",
    per_sequence_s=2.31e-5,
    per_pair_s=1.7e-9,
    expert_s=0.0043,
    expert_miss_fraction=0.94,
    frontend_s=0.0007,
)
TOLERANCE_S = 1e-9


@dataclass(frozen=True, slots=True)
class World:
    engines: tuple[SimulatedEngine, ...]
    gpus: tuple[SimulatedGpu, ...]
    requests: tuple[SimulatedRequest, ...]
    routes: Routes
    factor: float = 1.0


def world_of(engines: Sequence[SimulatedEngine], requests: Sequence[SimulatedRequest], factor: float = 1.0) -> World:
    """Model "m" is served by all engines, and every engine also serves a model of its own name."""
    keys = dict.fromkeys(engine.gpu_key for engine in engines)
    routes: Routes = {"m": tuple((engine.name, 1 + index) for index, engine in enumerate(engines))}
    routes = {**routes, **{engine.name: ((engine.name, 1),) for engine in engines}}
    return World(tuple(engines), tuple(SimulatedGpu(key, ((key, 1.0),)) for key in keys), tuple(requests), routes, factor)


def run(world: World, *, seed: int, step_quantile: float | None, one_by_one: bool = False) -> SimulationResult:
    return simulate(
        world.engines,
        world.gpus,
        world.requests,
        world.routes,
        seed=seed,
        step_quantile=step_quantile,
        interference_factor=world.factor,
        one_by_one=one_by_one,
    )


def assert_alike(world: World, *, seed: int, step_quantile: float | None) -> SimulationResult:
    found = run(world, seed=seed, step_quantile=step_quantile)
    assert_same_results(found, run(world, seed=seed, step_quantile=step_quantile, one_by_one=True))
    plain = run_plainly(
        world.engines, world.requests, world.routes, seed=seed, step_quantile=step_quantile, interference_factor=world.factor
    )
    assert_as_plainly(world, found, plain)
    return found


def assert_close(found: float | None, expected: float | None, *, rel: float = 0.0, abs_: float = TOLERANCE_S) -> None:
    """Within a tolerance, or both are None."""
    if found is None or expected is None:
        assert found is expected
    else:
        assert abs(found - expected) <= max(abs_, rel * abs(expected))


def assert_same_results(found: SimulationResult, other: SimulationResult) -> None:
    for record, expected in zip(found.records, other.records, strict=True):
        assert replace(record, ttft_s=None, tpot_s=None) == replace(expected, ttft_s=None, tpot_s=None)
        assert_close(record.ttft_s, expected.ttft_s)
        assert_close(record.tpot_s, expected.tpot_s)
    for use, expected_use in zip(found.engines, other.engines, strict=True):
        assert use.preemptions == expected_use.preemptions
        assert use.kv_peak_fraction == expected_use.kv_peak_fraction
        assert_close(use.kv_mean_fraction, expected_use.kv_mean_fraction, rel=1e-9, abs_=1e-12)
        assert_close(use.busy_fraction, expected_use.busy_fraction, rel=1e-9, abs_=1e-12)
        assert use.tokens_per_s == pytest.approx(expected_use.tokens_per_s, rel=1e-9)
    for gpu, expected_gpu in zip(found.gpus, other.gpus, strict=True):
        assert_close(gpu.busy_fraction, expected_gpu.busy_fraction, rel=1e-9, abs_=1e-12)
    assert_close(found.end_s, other.end_s)


def assert_as_plainly(world: World, found: SimulationResult, plain: PlainRun) -> None:
    frontend_s = {engine.name: engine.step_time.frontend_s for engine in world.engines}
    for index, record in enumerate(found.records):
        assert record.error == plain.errors.get(index)
        if record.error is None:
            assert record.ttft_s is not None
            assert record.replica is not None
            first_s = record.arrival_s + record.ttft_s - frontend_s[record.replica]
            assert_close(first_s, plain.first_s[index])
            tokens = record.output_tokens - 1
            last_s = first_s + (record.tpot_s or 0.0) * tokens
            assert_close(last_s, plain.last_s[index])
    end_s = max(plain.end_s, 1e-300)
    assert_close(found.end_s, plain.end_s)
    for use, engine in zip(found.engines, plain.engines, strict=True):
        usable = engine.core.config.usable_blocks
        assert use.preemptions == engine.core.counters.preemptions
        assert use.kv_peak_fraction == engine.kv_peak_blocks / usable
        assert_close(use.kv_mean_fraction, engine.kv_block_s / usable / end_s, rel=1e-9, abs_=1e-12)
        assert_close(use.busy_fraction, engine.busy_s / end_s, rel=1e-9, abs_=1e-12)
    for gpu, gpu_use in zip(world.gpus, found.gpus, strict=True):
        busy_s = sum(fraction * plain.busy_s[key] for key, fraction in gpu.parts)
        assert_close(gpu_use.busy_fraction, busy_s / end_s, rel=1e-9, abs_=1e-12)


def overloaded(seed: int, residents: int, *, mig: bool) -> World:
    """Bursts on engines whose pools are too small for them: long answers, so that most steps are alike and blocks run out."""
    draw = random.Random(seed)
    engines = []
    for number in range(residents):
        # a pool holds two to five of the longest requests of 800 tokens
        block_size = draw.choice((1, 16, 48))
        blocks = draw.randint(2, 5) * 800 // block_size + 2
        seqs = draw.choice((2, 12, 32))
        limits = config(blocks=blocks, block_size=block_size, seqs=seqs, budget=seqs + draw.choice((40, 2000)), model_len=800)
        key = f"gpu/{number}" if mig else "gpu"
        engines.append(SimulatedEngine(f"e{number}", limits, UNEVEN.slower(draw.choice((0.3, 1.0))), key, draw.randint(1, 9)))
    requests, now_s = [], 0.0
    for _ in range(60 * residents):
        # bursts: often at the same instant, sometimes after a while
        now_s += draw.choice((0.0, 0.0, draw.expovariate(50.0), draw.expovariate(4.0)))
        inputs = draw.choice((1, 20, 60, draw.randint(1, 400)))
        outputs = draw.choice((1, draw.randint(1, 60), draw.randint(100, 400), draw.randint(100, 400)))
        name = draw.choice(("m", *(engine.name for engine in engines)))
        requests.append(SimulatedRequest("w", name, now_s, inputs, outputs, draw.choice((0, inputs // 2, inputs))))
    world = world_of(engines, requests, draw.choice((1.0, 1.3)))
    if mig:
        parts = tuple((engine.gpu_key, 1 / residents) for engine in engines)
        return replace(world, gpus=(SimulatedGpu("gpu", parts),))
    return world


GRID = [(100 * residents + number, residents, mig) for residents in range(1, 7) for number in range(3) for mig in (False, True)]


@pytest.mark.parametrize("step_quantile", [0.9, None])
@pytest.mark.parametrize(("seed", "residents", "mig"), GRID)
def test_overloaded_gpus(seed: int, residents: int, mig: bool, step_quantile: float | None) -> None:
    """Invariant 20."""
    assert_alike(overloaded(seed, residents, mig=mig), seed=seed, step_quantile=step_quantile)


def test_the_overloaded_gpus_do_preempt_and_queue() -> None:
    results = [run(overloaded(seed, residents, mig=mig), seed=0, step_quantile=0.9) for seed, residents, mig in GRID]
    assert sum(use.preemptions for result in results for use in result.engines) > 100
    assert sum(use.kv_peak_fraction > 0.9 for result in results for use in result.engines) > 50


crowds = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 3), st.integers(1, 200), st.integers(1, 90), st.integers(0, 200)),
    max_size=30,
)


@settings(deadline=None)
@given(crowds, st.integers(1, 4), st.integers(2, 60), st.integers(1, 8), st.sampled_from([1.0, 1.25]), st.sampled_from([0.9, None]))
def test_any_requests_on_shared_engines(
    asked: list[tuple[int, float, int, int, int]], per_gpu: int, blocks: int, seqs: int, factor: float, step_quantile: float | None
) -> None:
    """Invariant 20."""
    limits = config(blocks=blocks, block_size=5, seqs=seqs, budget=seqs + 50, model_len=290, queue=5)
    engines = [SimulatedEngine(f"e{number}", limits, UNEVEN, f"g{number // per_gpu}", 1) for number in range(4)]
    requests = [
        SimulatedRequest("w", f"e{engine}", arrival_s, inputs, outputs, min(cached, inputs))
        for engine, arrival_s, inputs, outputs, cached in asked
    ]
    assert_alike(world_of(engines, requests, factor), seed=len(asked), step_quantile=step_quantile)


@pytest.mark.parametrize("residents", [1, 2])
def test_arrivals_at_the_very_instant_a_step_ends(residents: int) -> None:
    """Every sum is exact here: requests come at multiples of a step without context, and are admitted to the step that begins then."""
    flat = replace(EXACT, per_kv_token_s=0.0, per_token_s=0.0)
    engines = [SimulatedEngine(f"e{number}", config(seqs=3), flat, "gpu", 1) for number in range(residents)]
    requests = [SimulatedRequest("w", "m", flat.base_s * 5 * index, 20, 33) for index in range(40)]
    world = world_of(engines, requests)
    found = assert_alike(world, seed=0, step_quantile=None)
    assert found == run(world, seed=0, step_quantile=None, one_by_one=True)


def test_what_other_engines_do_changes_no_draw() -> None:
    """The same engine with the same requests, alone and beside engines on other GPUs."""
    engines = [SimulatedEngine(f"e{number}", config(seqs=4), UNEVEN, f"g{number}", 1) for number in range(3)]
    requests = [SimulatedRequest("w", f"e{index % 3}", index / 7, 50, 1 + index) for index in range(60)]
    both = run(world_of(engines, requests), seed=3, step_quantile=None).records
    alone = run(world_of(engines[:1], requests[::3]), seed=3, step_quantile=None).records
    assert both[::3] == alone
    assert run(world_of(engines[:1], requests[::3]), seed=4, step_quantile=None).records != alone
