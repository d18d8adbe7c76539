"""The order predictions fall back in, and what each step of it does to value, band and provenance."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.fits import fit_for
from profiles.latency.prediction import Band, LatencyPrediction, PredictedEngine, predict, predict_latency
from profiles.latency.steptime import StepTime, step_time
from profiles.settings import EngineSettings
from profiles.store.measurements import LatencyPoint, Measurements, Provenance

LLAMA = builtin().model("meta-llama/Llama-3.1-8B")
H100 = builtin().gpu("H100")
ENGINE = PredictedEngine(LLAMA, H100, EngineSettings())
LOAD = ClosedLoop(1000, 200, 16)
MEASURED = Provenance(kind="measured", source="bench.json", date="2026-03-01", engine_version="0.32.0")


def point(clients: int, factor: float, **changes: object) -> LatencyPoint:
    """What an engine `factor` times as slow as predicted shows."""
    model, gpu = str(changes.get("model", LLAMA.name)), str(changes.get("gpu", H100.name))
    size = int(str(changes.get("tensor_parallel_size", 1)))
    engine = PredictedEngine(builtin().model(model), builtin().gpu(gpu), EngineSettings(tensor_parallel_size=size))
    found = engine.latency(engine.step(fit_for()), fit_for(), replace(LOAD, concurrency=clients), float("inf"))
    base = LatencyPoint(
        model=model,
        gpu=gpu,
        tensor_parallel_size=size,
        input_tokens=1000,
        output_tokens=200,
        concurrency=clients,
        ttft_s=found.ttft_s * factor,
        tpot_s=found.tpot_s * factor,
        provenance=MEASURED,
    )
    return replace(base, **{name: value for name, value in changes.items() if name in ("quantization", "provenance", "rate_rps")})  # type: ignore[arg-type]


def width(band: Band) -> float:
    return band.p90_s / band.p10_s


def at(load: ClosedLoop, *points: LatencyPoint, engine: PredictedEngine = ENGINE) -> LatencyPrediction:
    return predict_latency(engine, load, Measurements(latency=points))


def test_without_measurements_the_fit_answers() -> None:
    assert predict(LLAMA, H100, EngineSettings()) == step_time(LLAMA, H100, EngineSettings())
    found = at(LOAD)
    assert found.provenance.startswith("fitted on other models on this GPU type")
    assert found.tpot.p10_s < found.tpot.p50_s < found.tpot.p90_s
    assert found.ttft.p10_s < found.ttft.p50_s < found.ttft.p90_s


def test_a_point_at_this_very_load_is_the_answer() -> None:
    measured = point(16, 1.7)
    found = at(LOAD, measured, point(64, 1.0))
    assert (found.ttft.p50_s, found.tpot.p50_s) == (measured.ttft_s, measured.tpot_s)
    assert found.provenance == "measured at this load (bench.json, 2026-03-01)"
    assert width(found.tpot) < width(at(LOAD).tpot)


def test_of_conflicting_points_the_newer_one_answers() -> None:
    newer = point(16, 1.2, provenance=replace(MEASURED, date="2026-05-01"))
    assert at(LOAD, point(16, 1.7), newer).tpot.p50_s == newer.tpot_s


def test_other_loads_of_the_same_engine_correct_and_narrow() -> None:
    points = [point(clients, 1.25) for clients in (1, 4, 64, 128)]
    found, plain = at(LOAD, *points), at(LOAD)
    assert found.tpot.p50_s == pytest.approx(point(16, 1.25).tpot_s, rel=0.03)
    assert width(found.tpot) < width(plain.tpot)
    assert found.provenance.startswith("measured on this engine at 4 loads")


def test_few_points_pull_less_than_many() -> None:
    one = at(LOAD, point(64, 1.4)).tpot.p50_s
    many = at(LOAD, *[point(clients, 1.4) for clients in (2, 4, 8, 32, 64, 128)]).tpot.p50_s
    plain, measured_s = at(LOAD).tpot.p50_s, point(16, 1.4).tpot_s
    assert measured_s is not None
    assert plain < one < many <= measured_s * 1.001


def test_the_quiet_point_tells_what_passes_outside_the_engine() -> None:
    slow_client = point(1, 1.0)
    assert slow_client.ttft_s is not None
    slow_client = replace(slow_client, ttft_s=slow_client.ttft_s + 0.2)
    measurements = Measurements(latency=(slow_client, point(32, 1.0)))
    assert predict(LLAMA, H100, EngineSettings(), None, measurements).frontend_s == pytest.approx(
        predict(LLAMA, H100, EngineSettings()).frontend_s + 0.2, rel=0.1
    )


@pytest.mark.parametrize(
    "relative",
    [
        {"gpu": "H200-SXM-141GB"},
        {"tensor_parallel_size": 2},
        {"model": "Qwen/Qwen3-32B", "tensor_parallel_size": 2},
    ],
)
def test_engines_of_the_same_kind_correct_a_little(relative: dict[str, object]) -> None:
    points = [point(clients, 1.3, **relative) for clients in (4, 16, 64)]
    found = at(LOAD, *points)
    assert at(LOAD).tpot.p50_s * 1.02 < found.tpot.p50_s < at(LOAD).tpot.p50_s * 1.3
    assert found.provenance.startswith("measured on 3 points of the same kind of model, scaled by the data sheets")


def test_the_own_engine_comes_before_its_relatives() -> None:
    found = at(LOAD, point(64, 1.0), *[point(clients, 2.0, gpu="H200-SXM-141GB") for clients in (4, 16, 64)])
    assert found.provenance.startswith("measured on this engine at 1 load")
    assert found.tpot.p50_s < at(LOAD).tpot.p50_s * 1.1


@pytest.mark.parametrize(
    "other",
    [
        {"model": "Qwen/Qwen3-30B-A3B"},
        {"provenance": replace(MEASURED, engine="sglang")},
    ],
)
def test_points_of_another_kind_or_engine_say_nothing(other: dict[str, object]) -> None:
    assert at(LOAD, point(8, 3.0, **other)).tpot == at(LOAD).tpot


def test_points_of_another_precision_are_relatives() -> None:
    found = at(LOAD, point(16, 1.5, quantization="fp8"))
    assert "scaled by the data sheets" in found.provenance


def test_points_of_models_nobody_knows_say_nothing() -> None:
    stranger = replace(point(8, 3.0), model="nobody/knows-this")
    assert at(LOAD, stranger).tpot == at(LOAD).tpot


def test_points_that_waited_for_kv_cache_do_not_correct_the_steps() -> None:
    crowded = replace(point(64, 3.0), input_tokens=100_000, output_tokens=20_000)
    long = replace(ENGINE, settings=EngineSettings(max_model_len=131_072, max_num_batched_tokens=8192))
    assert at(LOAD, crowded, engine=long).tpot == at(LOAD, engine=long).tpot


def test_a_point_at_a_rate_counts_by_the_requests_it_had() -> None:
    closed = point(16, 1.25)
    assert closed.in_engine_s is not None
    opened = replace(closed, concurrency=None, rate_rps=16 / closed.in_engine_s * 1.0)
    assert at(LOAD, opened).tpot.p50_s == pytest.approx(at(LOAD, replace(closed, input_tokens=1100)).tpot.p50_s, rel=0.05)


@given(factors=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=5))
def test_a_correction_lies_between_the_fit_and_the_points(factors: list[float]) -> None:
    points = [point(2 ** (place + 1), factor) for place, factor in enumerate(factors) if place != 3]
    found = predict(LLAMA, H100, EngineSettings(), None, Measurements(latency=tuple(points)))
    plain = predict(LLAMA, H100, EngineSettings())

    def ratio(step: StepTime) -> float:
        return step.step_s(16, 16_000, 16) * step.quantile(0.5) / (plain.step_s(16, 16_000, 16) * plain.quantile(0.5))

    assert min(1.0, *factors) * 0.9 <= ratio(found) <= max(1.0, *factors) * 1.1
    assert found.quantile(0.1) <= found.quantile(0.5) <= found.quantile(0.9)
