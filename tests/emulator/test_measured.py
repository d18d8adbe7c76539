"""An emulated engine is as slow, and takes as much memory, as the measurements it is told of make it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from executor.emulator.devices import read_node
from executor.emulator.launch import STORE_VARIABLE
from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.prediction import PredictedEngine, predict, predict_latency
from profiles.latency.steptime import StepTime
from profiles.settings import EngineSettings
from profiles.store.measurements import LatencyPoint, Measurements, StartPoint
from profiles.store.store_folder import write
from tests.emulator.processes import MODEL, SMALL_SHARE, make_node, refused, running
from tests.profiles.points import measured, point

GPU = builtin().gpu("H100")
SETTINGS = EngineSettings(max_model_len=2048, max_num_seqs=64, async_scheduling=True)
TOKENS = 64


def slow_points(factor: float) -> tuple[LatencyPoint, ...]:
    engine = PredictedEngine(builtin().model(MODEL), GPU, SETTINGS)

    def at(clients: int) -> LatencyPoint:
        found = predict_latency(engine, ClosedLoop(256, 128, clients))
        ttft_s, tpot_s = found.ttft.p50_s * factor, found.tpot.p50_s * factor
        return point(model=MODEL, gpu=GPU.name, input_tokens=256, concurrency=clients, ttft_s=ttft_s, tpot_s=tpot_s)

    return tuple(at(clients) for clients in (1, 2, 4, 8, 16))


def step(measurements: Measurements) -> StepTime:
    return predict(builtin().model(MODEL), GPU, SETTINGS, None, measurements)


def test_emulated_answers_take_as_long_as_was_measured(tmp_path: Path) -> None:
    """Only from below: a busy machine makes them longer, nothing makes them shorter."""
    found = Measurements(latency=slow_points(8.0))
    one_token_s = step(found).step_s(1, 0, 1)
    assert one_token_s > 4 * step(Measurements()).step_s(1, 0, 1)
    write(tmp_path / "store", found)
    with running(make_node(tmp_path / "node"), MODEL, *SMALL_SHARE, environment={STORE_VARIABLE: str(tmp_path / "store")}) as engine:
        begun_s = time.monotonic()
        reply = engine.post("/v1/completions", {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": TOKENS, "ignore_eos": True})
        taken_s = time.monotonic() - begun_s
    assert reply.json["usage"]["completion_tokens"] == TOKENS
    assert taken_s > 0.5 * TOKENS * one_token_s


def test_memory_of_measured_starts_is_claimed_and_a_broken_store_is_named(tmp_path: Path) -> None:
    start = StartPoint(model=MODEL, gpu=GPU.name, non_torch_mib=4000.0, provenance=measured(engine_version="0.32.0"))
    write(tmp_path / "store", Measurements(starts=(start,)))
    used_mib = []
    told = {STORE_VARIABLE: str(tmp_path / "store")}
    for folder, environment in (("plain", None), ("told", told)):
        node = make_node(tmp_path / folder)
        with running(node, MODEL, *SMALL_SHARE, environment=environment):
            (gpu,) = read_node(node).gpus
            used_mib.append(gpu.instances[0].used_mib)
    assert used_mib[1] - used_mib[0] == pytest.approx(4000 - 472, abs=2)
    code, log = refused(make_node(tmp_path / "none"), MODEL, *SMALL_SHARE, environment={STORE_VARIABLE: str(tmp_path / "missing")})
    assert code == 1
    assert "there is no such folder of measurements" in log
