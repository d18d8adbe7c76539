"""What a real engine and vLLM's own benchmark write, the product's importers read."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.engines import ENVIRONMENT, KV_BYTES, Engine
from tests.ullage.commands import ullage

pytestmark = pytest.mark.vllm


def shown(store: Path, model: object) -> dict[str, list[dict[str, object]]]:
    result = ullage("profile", "show", model, "--store", store, "--json")
    assert result.code == 0, result.err
    found: dict[str, list[dict[str, object]]] = json.loads(result.out)
    return found


def test_a_metrics_page_and_a_log_are_imported(engine: Engine, tmp_path: Path) -> None:
    page, store = tmp_path / "metrics.prom", tmp_path / "store"
    page.write_bytes(engine.metrics())
    imported = ullage("profile", "import", page, "--gpu", "cpu", "--engine-version", "0.32.0", "--store", store)
    assert imported.code == 0, imported.err
    logged = ullage("profile", "import", engine.log, "--gpu", "cpu", "--store", store)
    assert logged.code == 0, logged.err
    scraped, started = shown(store, engine.served_name)["starts"], shown(store, engine.model)["starts"]
    assert [row["kv_bytes"] for row in scraped] == [KV_BYTES]
    assert [row["kv_tokens"] for row in scraped] == [row["kv_tokens"] for row in started]


def test_the_result_of_bench_serve_is_imported(engine: Engine, vllm: Path, tmp_path: Path) -> None:
    result, store = tmp_path / "bench.json", tmp_path / "store"
    words = ("--dataset-name", "random", "--random-input-len", 64, "--random-output-len", 16, "--num-prompts", 24, "--max-concurrency", 4)
    where = ("--base-url", engine.url, "--model", engine.model, "--served-model-name", engine.served_name)
    command = [vllm, "bench", "serve", *where, *words, "--ignore-eos", "--save-result", "--result-filename", result]
    subprocess.run([*map(str, command)], check=True, env={**os.environ, **ENVIRONMENT}, timeout=300, capture_output=True)
    imported = ullage("profile", "import", result, "--gpu", "cpu", "--engine-version", "0.32.0", "--store", store)
    assert imported.code == 0, imported.err
    (point,) = shown(store, engine.model)["latency"]
    assert (point["concurrency"], point["output_tokens"]) == (4, 16)


def test_calibrate_reads_the_log_and_says_that_a_pool_of_given_size_tells_nothing(engine: Engine, tmp_path: Path) -> None:
    result = ullage("profile", "calibrate", "--log", engine.log, "--gpu", "cpu", "-o", tmp_path / "constants.yaml")
    assert (result.code, result.err.strip().endswith("nothing to fit")) == (1, True)
    page = tmp_path / "metrics.prom"
    page.write_bytes(engine.metrics())
    result = ullage("profile", "calibrate", "--metrics", page, "--gpu", "cpu", "--model", engine.model, "--engine-version", "0.32.0")
    assert (result.code, result.err.strip().endswith("nothing to fit")) == (1, True)
