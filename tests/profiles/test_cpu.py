"""A CPU as a device: an ordinary catalogue entry, on which vLLM has other defaults and whose memory is the host's."""

from __future__ import annotations

from dataclasses import replace

from profiles.catalogue import builtin
from profiles.gpu_types import settings_on
from profiles.latency.steptime import step_time
from profiles.memory.kv import kv_pool_tokens
from profiles.memory.ledger import memory_ledger
from profiles.memory.lifecycle import start_s
from profiles.settings import EngineSettings

CPU = builtin().gpu("cpu")
H100 = builtin().gpu("h100")
SMALL = replace(builtin().model("llama-3.2-1b"), layers=4)
GEMMA = builtin().model("gemma-3-1b-it")
USUAL = EngineSettings(max_model_len=2048, async_scheduling=True)
# 64 MiB
POOL_BYTES = 1 << 26


def test_engines_have_their_own_defaults_there_and_the_usual_ones_on_gpus() -> None:
    assert settings_on(H100, USUAL) is USUAL
    assert settings_on(CPU, USUAL) == replace(USUAL, block_size=128, async_scheduling=False)


def test_what_an_engine_reports_of_its_pool_depends_on_them() -> None:
    assert kv_pool_tokens(GEMMA, settings_on(CPU, USUAL), POOL_BYTES) != kv_pool_tokens(GEMMA, USUAL, POOL_BYTES)


def test_its_processes_live_in_the_device_memory() -> None:
    there = memory_ledger(SMALL, CPU, settings_on(CPU, USUAL), POOL_BYTES)
    assert CPU.engine is not None
    assert there.context_mib == CPU.engine.context_mib > memory_ledger(SMALL, H100, USUAL, POOL_BYTES).context_mib


def test_predictions_do_not_claim_to_rest_on_measured_gpus() -> None:
    assert step_time(SMALL, CPU, USUAL).provenance.startswith("estimated from data sheets alone")


def test_a_start_competes_for_the_cores_it_runs_on() -> None:
    assert start_s(SMALL, CPU, USUAL) > 2 * start_s(SMALL, H100, USUAL)
