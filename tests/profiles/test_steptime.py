"""The step-time model against 95 measured rows of vLLM on H100 and H200, its scaling laws and its refusals."""

import csv
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.memory import weight_bytes
from profiles.settings import EngineSettings, UnsupportedError
from profiles.steptime import StepTime, step_time

CATALOGUE = builtin()
H100 = CATALOGUE.gpu("H100-SXM-80GB")
LLAMA = CATALOGUE.model("meta-llama/Llama-3.1-8B")
SETTINGS = EngineSettings()


def measured_rows() -> list[dict[str, str]]:
    with (Path(__file__).parent / "fixtures" / "serving_vllm.csv").open() as file:
        return list(csv.DictReader(file))


def predicted_over_measured(row: dict[str, str]) -> float:
    """Time per output token of a closed loop: each step carries the running decodes and their share of prefill."""
    inputs, outputs = int(row["input_tokens"]), int(row["output_tokens"])
    fp8 = row["precision"] == "fp8"
    settings = EngineSettings(
        quantization="fp8" if fp8 else None,
        kv_cache_dtype="fp8" if fp8 else "auto",
        tensor_parallel_size=int(row["tensor_parallel_size"]),
        max_model_len=inputs + outputs,
        max_num_batched_tokens=8192,
    )
    step = step_time(CATALOGUE.model(row["model"]), CATALOGUE.gpu(row["gpu"]), settings)
    answer_ms = outputs * float(row["tpot_ms"])
    decoding = int(row["concurrency"]) * answer_ms / (answer_ms + float(row["ttft_ms"]))
    predicted_s = step.step_s(decoding * (1 + inputs / outputs), decoding * (inputs + outputs / 2))
    return predicted_s * 1000 / float(row["tpot_ms"])


def test_the_fit_is_as_good_as_stated() -> None:
    ratios = [predicted_over_measured(row) for row in measured_rows()]
    errors = [abs(ratio - 1) for ratio in ratios]
    assert len(ratios) == 95
    assert fmean(errors) == pytest.approx(0.074, abs=0.002)
    assert median(errors) == pytest.approx(0.047, abs=0.002)


def test_stated_quantiles_are_those_of_the_fit() -> None:
    step = step_time(LLAMA, H100, SETTINGS)
    residuals = [1 / predicted_over_measured(row) for row in measured_rows()]
    for quantile in (0.05, 0.1, 0.5, 0.9, 0.95):
        below = fmean(residual <= step.quantile(quantile) for residual in residuals)
        assert below == pytest.approx(quantile, abs=0.03)


def test_a_decode_step_never_beats_reading_the_weights() -> None:
    step = step_time(LLAMA, H100, SETTINGS)
    read_bytes = weight_bytes(LLAMA, SETTINGS) - LLAMA.vocab * LLAMA.hidden * 2
    assert step.base_s > read_bytes / (H100.memory_bandwidth_gb_per_s * 1e9)
    # 15 GB at 3350 GB/s are 4.5 ms; efficiency and overhead make 7 ms of it.
    assert 0.0065 < step.step_s(1, 1000) < 0.008


def test_tensor_parallelism_divides_the_work_and_pays_for_all_reduces() -> None:
    one, four = (step_time(LLAMA, H100, replace(SETTINGS, tensor_parallel_size=size)) for size in (1, 4))
    assert one.base_s / 4 < four.base_s < one.base_s
    assert one.per_token_s / 4 < four.per_token_s < one.per_token_s
    assert four.per_kv_token_s == pytest.approx(one.per_kv_token_s / 4)
    slow_link = step_time(LLAMA, replace(H100, link_gb_per_s=None), replace(SETTINGS, tensor_parallel_size=4))
    assert slow_link.per_token_s > four.per_token_s


def test_a_mig_slice_has_its_share_of_compute_and_bandwidth() -> None:
    whole = step_time(LLAMA, H100, SETTINGS)
    profile = H100.mig_profile("3g.40gb")
    part = step_time(LLAMA, H100, SETTINGS, profile)
    assert profile.sm_count is not None
    assert H100.sm_count is not None
    assert part.per_token_s == pytest.approx(whole.per_token_s * H100.sm_count / profile.sm_count)
    assert part.per_kv_token_s == pytest.approx(whole.per_kv_token_s * 2)
    no_count = step_time(LLAMA, H100, SETTINGS, replace(profile, sm_count=None))
    assert no_count.per_token_s == pytest.approx(whole.per_token_s * 7 / 3)
    with pytest.raises(UnsupportedError, match="MIG slices have no links"):
        step_time(LLAMA, H100, replace(SETTINGS, tensor_parallel_size=2), profile)


def test_a_mixture_of_experts_computes_with_the_active_ones_and_reads_those_touched() -> None:
    model = CATALOGUE.model("Qwen/Qwen3-30B-A3B")
    busy, idle = (step_time(model, H100, replace(SETTINGS, max_num_seqs=count)) for count in (256, 4))
    assert busy.per_token_s < step_time(CATALOGUE.model("Qwen/Qwen3-32B"), H100, SETTINGS).per_token_s / 5
    assert idle.base_s < busy.base_s
    read_bytes = weight_bytes(model, SETTINGS) - model.vocab * model.hidden * 2
    assert busy.base_s == pytest.approx(0.00172 + read_bytes / (3350e9 * 0.839), rel=0.01)


def test_eager_mode_pays_per_layer_and_fp8_is_faster_where_the_gpu_has_it() -> None:
    assert step_time(LLAMA, H100, replace(SETTINGS, enforce_eager=True)).base_s > step_time(LLAMA, H100, SETTINGS).base_s + 0.01
    a100 = CATALOGUE.gpu("A100-SXM-80GB")
    fp8 = replace(SETTINGS, quantization="fp8")
    assert step_time(LLAMA, H100, fp8).per_token_s == pytest.approx(step_time(LLAMA, H100, SETTINGS).per_token_s / 2)
    assert step_time(LLAMA, a100, fp8).per_token_s == step_time(LLAMA, a100, SETTINGS).per_token_s
    assert step_time(LLAMA, a100, fp8).base_s < step_time(LLAMA, a100, SETTINGS).base_s


def test_windows_bound_the_attention_of_long_prompts() -> None:
    full = replace(LLAMA, sliding_layers=0)
    windowed = replace(LLAMA, sliding_layers=24, sliding_window_tokens=1024)
    long = replace(SETTINGS, max_model_len=65536)
    assert step_time(windowed, H100, long).per_token_s < step_time(full, H100, long).per_token_s


def test_quantiles_interpolate_and_stay_constant_outside() -> None:
    step = StepTime(1.0, 0.0, 0.0, ((0.1, 0.9), (0.5, 1.0), (0.9, 1.2)), "test")
    assert [step.quantile(point) for point in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)] == pytest.approx([0.9, 0.9, 0.95, 1.0, 1.1, 1.2, 1.2])
    assert replace(step, residual_quantiles=()).quantile(0.9) == 1.0


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_quantiles_do_not_decrease(low: float, high: float) -> None:
    step = step_time(LLAMA, H100, SETTINGS)
    assert step.quantile(min(low, high)) <= step.quantile(max(low, high))


@pytest.mark.parametrize("gpu", CATALOGUE.gpu_names)
def test_every_gpu_of_the_catalogue_gives_sane_times(gpu: str) -> None:
    step = step_time(CATALOGUE.model("Qwen/Qwen2.5-0.5B-Instruct"), CATALOGUE.gpu(gpu), replace(SETTINGS, dtype="float16"))
    assert 0.0017 < step.base_s < 0.02
    assert 0 < step.per_token_s < 1e-3
    assert 0 < step.per_kv_token_s < 1e-6
