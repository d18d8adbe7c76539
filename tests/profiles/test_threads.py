"""Steps of an engine that MPS gives a part of its GPU's threads, and the memory bandwidth that it draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.latency.bandwidth import StepBatch, drawn_bandwidth_fraction
from profiles.latency.prediction import predict
from profiles.latency.steptime import StepTime
from profiles.latency.thread_share import reached_bandwidth_fraction
from profiles.models import Architecture
from profiles.settings import EngineSettings, UnsupportedError
from profiles.speculation import speculating
from profiles.store.measurements import LatencyPoint, Measurements, Provenance

MODELS = ("Qwen/Qwen3-0.6B", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B")
GPU = builtin().gpu("H100-SXM-80GB")


def steps(model: str, percentage: int, measurements: Measurements | None = None) -> StepTime:
    settings = EngineSettings(active_thread_percentage=percentage)
    return predict(builtin().model(model), GPU, settings, None, measurements or Measurements())


@given(st.sampled_from(MODELS), st.integers(1, 99), st.integers(1, 64), st.integers(0, 200_000))
def test_fewer_threads_are_slower_but_never_by_more_than_their_part(model: str, percentage: int, sequences: int, kv_tokens: int) -> None:
    whole, part = (steps(model, item).step_s(sequences, kv_tokens, sequences) for item in (100, percentage))
    assert whole <= part <= whole * 100 / percentage * (1 + 1e-9)


@given(st.sampled_from(MODELS), st.integers(1, 100), st.integers(1, 64), st.integers(0, 200_000))
def test_no_engine_draws_more_than_its_threads_reach(model: str, percentage: int, sequences: int, kv_tokens: int) -> None:
    architecture, settings = builtin().model(model), EngineSettings(active_thread_percentage=percentage)
    batch = StepBatch(sequences, sequences, kv_tokens)
    drawn = drawn_bandwidth_fraction(architecture, GPU, settings, steps(model, percentage), batch)
    assert 0 < drawn <= reached_bandwidth_fraction(percentage / 100) * (1 + 1e-9)


@pytest.mark.parametrize("percentage", [20, 50, 100])
def test_a_draft_model_draws_for_each_token_that_it_proposes(percentage: int) -> None:
    """Bytes read in a step, over those of the model alone: four times the draft's weights and cache come on top."""
    settings, batch = EngineSettings(active_thread_percentage=percentage), StepBatch(4.0, 4.0, 8000.0)
    large, small = builtin().model("Qwen/Qwen3-8B"), builtin().model("Qwen/Qwen3-0.6B")
    config = '{"model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 4}'
    drafted = speculating(large, config, builtin().model)

    def read(model: Architecture) -> float:
        step = predict(model, GPU, settings)
        return drawn_bandwidth_fraction(model, GPU, settings, step, batch) * step.step_s(4, 8000, 4)

    assert read(drafted) == pytest.approx(read(large) + 4 * read(small))
    assert read(speculating(large, '{"method": "ngram", "num_speculative_tokens": 4}', builtin().model)) == pytest.approx(read(large))


def test_half_of_the_threads_cost_no_less_than_was_measured() -> None:
    """MuxServe (ICML 2024) on an A100: decode 14 % longer at a batch of 32, prefill 64 %."""
    settings = EngineSettings(max_num_batched_tokens=8192)
    model, gpu = builtin().model("meta-llama/Llama-3.1-8B"), builtin().gpu("A100-SXM-80GB")
    whole, half = (predict(model, gpu, replace(settings, active_thread_percentage=item)) for item in (100, 50))
    assert half.step_s(32, 32 * 500, 32) >= 1.14 * whole.step_s(32, 32 * 500, 32)
    assert half.step_s(2048, 0, 1) >= 1.64 * whole.step_s(2048, 0, 1)


def test_what_was_measured_on_whole_gpus_counts_for_parts_as_a_ratio() -> None:
    provenance = Provenance(kind="measured", source="a test")
    point = LatencyPoint(
        model="Qwen/Qwen3-0.6B",
        gpu=GPU.name,
        tensor_parallel_size=1,
        input_tokens=500,
        output_tokens=100,
        concurrency=8,
        ttft_s=0.2,
        tpot_s=0.005,
        provenance=provenance,
    )
    slow = Measurements(latency=(point,))
    before = [steps("Qwen/Qwen3-0.6B", item).step_s(8, 4000, 8) for item in (50, 100)]
    measured = [steps("Qwen/Qwen3-0.6B", item, slow).step_s(8, 4000, 8) for item in (50, 100)]
    assert measured[0] / before[0] == pytest.approx(measured[1] / before[1], rel=0.25)
    assert measured[1] > 1.1 * before[1]


def test_mps_is_for_whole_single_gpus() -> None:
    settings = EngineSettings(active_thread_percentage=50, tensor_parallel_size=2)
    with pytest.raises(UnsupportedError, match="MPS is planned on one whole GPU"):
        predict(builtin().model("meta-llama/Llama-3.1-8B"), GPU, settings)
    with pytest.raises(UnsupportedError, match="MPS is planned on one whole GPU"):
        predict(builtin().model("Qwen/Qwen3-0.6B"), GPU, replace(settings, tensor_parallel_size=1), GPU.mig_profiles[0])
