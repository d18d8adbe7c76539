"""Start and wake times against logged start-ups and sleep-mode measurements."""

import csv
from pathlib import Path
from statistics import median

import pytest

from profiles.catalogue import builtin
from profiles.memory.lifecycle import start_s, wake_s
from profiles.settings import EngineSettings, UnsupportedError

CATALOGUE = builtin()
H100 = CATALOGUE.gpu("H100-SXM-80GB")
LLAMA = CATALOGUE.model("meta-llama/Llama-3.1-8B")


def test_starts_agree_with_the_logs_after_the_process_is_up() -> None:
    with (Path(__file__).parent / "fixtures" / "vllm_memory_logs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["pp"] == "1" and row["init_engine_s"]]
    ratios = []
    for row in rows:
        settings = EngineSettings(dtype=row["dtype"], tensor_parallel_size=int(row["tp"]))
        # Loading and initialising; the process itself is not in the fixture.
        predicted_s = start_s(CATALOGUE.model(row["model"]), H100, settings) - 30
        ratios.append(predicted_s / (float(row["load_s"]) + float(row["init_engine_s"])))
    assert 0.9 < median(ratios) < 1.4
    assert min(ratios) > 0.5


def test_an_8b_model_starts_in_about_the_median_time() -> None:
    assert start_s(LLAMA, H100, EngineSettings()) == pytest.approx(75, rel=0.2)


def test_eager_mode_starts_faster_and_experts_take_longer() -> None:
    assert start_s(LLAMA, H100, EngineSettings(enforce_eager=True)) < start_s(LLAMA, H100, EngineSettings()) - 10
    experts = CATALOGUE.model("Qwen/Qwen1.5-MoE-A2.7B")
    assert start_s(experts, H100, EngineSettings()) > start_s(LLAMA, H100, EngineSettings())


def test_waking_is_far_faster_than_starting_and_lies_in_the_measured_range() -> None:
    # vLLM's sleep-mode measurements: 0.3 - 6 s at level 1.
    for name in ("Qwen/Qwen2.5-0.5B-Instruct", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-32B"):
        model = CATALOGUE.model(name)
        assert 0.3 < wake_s(model, H100, EngineSettings()) < 6
        assert wake_s(model, H100, EngineSettings()) < start_s(model, H100, EngineSettings()) / 10


def test_unsupported_configurations_are_refused() -> None:
    with pytest.raises(UnsupportedError):
        start_s(LLAMA, H100, EngineSettings(tensor_parallel_size=3))
    with pytest.raises(UnsupportedError):
        wake_s(LLAMA, H100, EngineSettings(tensor_parallel_size=3))
