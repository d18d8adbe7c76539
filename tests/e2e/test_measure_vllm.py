"""A real engine is measured by the verb, alone and beside another one. How fast it is belongs to the machine and is not judged here:
`benchmarks.held_back` compares measured loads with what the others predict.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import interference
from profiles.catalogue import architecture_from_path, builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.interference import GRID
from profiles.latency.prediction import PredictedEngine, predict_latency
from profiles.settings import EngineSettings
from profiles.store.store_folder import read_store
from tests.e2e.engines import KV_BYTES, Engine, running
from tests.ullage.commands import ullage

pytestmark = pytest.mark.vllm

# long enough that an engine of a few MiB spends most of an answer on decoding
INPUT_TOKENS, OUTPUT_TOKENS = 64, 128
LOADS = (1, 4)
# A pair's cell that something else spoils is refused in words, and the same command goes on from there.
MOST_TRIES = 12
SPOILED = ("something else slowed an engine meanwhile", "give more --seconds", "requests that are not ours")


def test_a_load_is_measured_kept_and_predicts_others(engine: Engine, tmp_path: Path) -> None:
    store = tmp_path / "store"
    where = ("--url", engine.url, "--model", engine.served_name, "--gpu", "cpu", "--store", store)
    # one command each: a busy machine may bring a sweep to its end for want of growth
    for clients in LOADS:
        loads = (
            "--input-tokens",
            INPUT_TOKENS,
            "--output-tokens",
            OUTPUT_TOKENS,
            "--concurrency",
            clients,
            "--load-seconds",
            "8",
            "--json",
        )
        result = ullage("profile", "measure", *where, *loads)
        assert result.code == 0, result.err
        assert len(json.loads(result.out)["points"]) == 1
        # what is kept is not measured again
        again = ullage("profile", "measure", *where, *loads)
        assert (again.code, json.loads(again.out)["points"], json.loads(again.out)["known"]) == (0, [], 1), again.err
    kept = read_store(store)
    assert (kept.starts[0].kv_bytes, kept.starts[0].max_model_len) == (KV_BYTES, 2048)
    assert [point.concurrency for point in kept.latency] == list(LOADS)
    for point in kept.latency:
        # whatever the machine does, a request takes at least its first token and the time between the others that the client could see
        assert point.tpot_s is not None
        assert point.ttft_s is not None
        assert point.request_s is not None
        assert point.ttft_s <= point.request_s
    model = replace(architecture_from_path(engine.model), name=engine.served_name)
    asked = PredictedEngine(model, builtin().gpu("cpu"), EngineSettings(dtype="bfloat16", max_model_len=2048, max_num_seqs=16))
    predicted = predict_latency(asked, ClosedLoop(INPUT_TOKENS, OUTPUT_TOKENS, 2), kept)
    assert predicted.provenance.startswith("measured on this engine at 2 loads"), predicted.provenance


def test_two_engines_are_measured_alone_and_together(
    engine: Engine, vllm: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    with running(vllm, models / "tiny-qwen3", tmp_path, "tiny-qwen3") as other:
        pair = (f"{engine.served_name}={engine.url}", f"{other.served_name}={other.url}")
        options = ("--gpu", "cpu", "--seconds", "80", "--input-tokens", "256", "--output-tokens", "64", "--store", store, "--json")
        tries = [ullage("profile", "measure", "--pair", *pair, *options)]
        while tries[-1].code and len(tries) < MOST_TRIES:
            assert any(words in tries[-1].err for words in SPOILED), tries[-1].err
            tries.append(ullage("profile", "measure", "--pair", *pair, *options))
    result = tries[-1]
    assert result.code == 0, "\n".join(each.err for each in tries)
    assert {(point.first.phase, point.second.phase) for point in read_store(store).pairs} == set(GRID)
    assert all(factor >= 1.0 for factor in json.loads(result.out)["factors"])
    capsys.readouterr()
    assert interference.main(["--store", str(store)]) == 0
    printed = capsys.readouterr().out
    with capsys.disabled():
        sys.stdout.write(f"\n{printed}")
    assert 1.0 <= json.loads(printed.splitlines()[-1])["largest_factor"] < math.inf
