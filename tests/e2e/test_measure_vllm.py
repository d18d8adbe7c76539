"""A real engine is measured by the verb, its points correct the fit, and a load that was held back comes out within the stated band."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from profiles.catalogue import architecture_from_path, builtin
from profiles.closed_loop import ClosedLoop
from profiles.prediction import Engine as PredictedEngine
from profiles.prediction import predict_latency
from profiles.settings import EngineSettings
from profiles.store import read_store
from tests.e2e.engines import KV_BYTES, Engine
from tests.ullage.commands import ullage

pytestmark = pytest.mark.vllm

INPUT_TOKENS, OUTPUT_TOKENS, HELD_BACK = 64, 32, 4


def measured(engine: Engine, store: Path, concurrency: str) -> list[dict[str, float]]:
    lengths = ("--input-tokens", INPUT_TOKENS, "--output-tokens", OUTPUT_TOKENS, "--concurrency", concurrency)
    where = ("--url", engine.url, "--model", engine.served_name, "--gpu", "cpu", "--store", store)
    result = ullage("profile", "measure", *where, *lengths, "--load-seconds", "30", "--json")
    assert result.code == 0, result.err
    found: list[dict[str, float]] = json.loads(result.out)["points"]
    return found


def test_a_held_back_load_comes_out_within_its_band(engine: Engine, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert [point["concurrency"] for point in measured(engine, store, "1,2,8")] == [1, 2, 8]
    assert measured(engine, store, "1,2,8") == []
    (held_back,) = measured(engine, tmp_path / "held-back", str(HELD_BACK))
    kept = read_store(store)
    assert (kept.starts[0].kv_bytes, kept.starts[0].max_model_len) == (KV_BYTES, 2048)
    model = replace(architecture_from_path(engine.model), name=engine.served_name)
    asked = PredictedEngine(model, builtin().gpu("cpu"), EngineSettings(dtype="bfloat16", max_model_len=2048, max_num_seqs=16))
    load = ClosedLoop(INPUT_TOKENS, OUTPUT_TOKENS, HELD_BACK)
    predicted = predict_latency(asked, load, kept)
    assert predicted.provenance.startswith("measured on this engine at 3 loads")
    said = f"{predicted} for {held_back['tpot_s']}; without measurements {predict_latency(asked, load)}; from {kept.latency}"
    assert predicted.tpot.holds(held_back["tpot_s"]), said
