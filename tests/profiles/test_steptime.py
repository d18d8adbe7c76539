"""The step-time model: its scaling laws, its special parts, its distances and its refusals. tests/benchmarks judges it by measurements."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.latency.fits import DISTANCES, fit_for
from profiles.latency.steptime import StepTime, attended_pairs, distance, step_time
from profiles.latency.work import step_work
from profiles.memory.ledger import weight_bytes
from profiles.settings import EngineSettings, UnsupportedError

CATALOGUE = builtin()
H100 = CATALOGUE.gpu("H100-SXM-80GB")
LLAMA = CATALOGUE.model("meta-llama/Llama-3.1-8B")
EXPERTS = CATALOGUE.model("Qwen/Qwen3-30B-A3B")
SETTINGS = EngineSettings()


def test_a_decode_step_never_beats_reading_the_weights() -> None:
    step = step_time(LLAMA, H100, SETTINGS)
    read_bytes = weight_bytes(LLAMA, SETTINGS) - LLAMA.vocab * LLAMA.hidden * 2
    assert step.base_s > read_bytes / (H100.memory_bandwidth_gb_per_s * 1e9)
    # 15 GB at 3350 GB/s are 4.5 ms; efficiency and overhead make 7 ms of it.
    assert 0.0065 < step.step_s(1, 1000, 1) < 0.008


def test_tensor_parallelism_divides_the_work_and_pays_for_all_reduces() -> None:
    one, four = (step_time(LLAMA, H100, replace(SETTINGS, tensor_parallel_size=size)) for size in (1, 4))
    assert one.base_s / 4 < four.base_s < one.base_s
    assert one.per_token_s / 4 < four.per_token_s < one.per_token_s
    assert four.per_kv_token_s == pytest.approx(one.per_kv_token_s / 4)
    assert four.per_pair_s == pytest.approx(one.per_pair_s / 4)
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


def test_a_mixture_of_experts_reads_what_its_tokens_touch() -> None:
    step = step_time(EXPERTS, H100, SETTINGS)
    dense = CATALOGUE.model("Qwen/Qwen3-32B")
    # less than a tenth of the operations; two thirds of them are many small products with experts, at a third of the speed
    assert step_work(EXPERTS, SETTINGS).token_flops < step_work(dense, SETTINGS).token_flops / 10
    assert step.per_token_s < step_time(dense, H100, SETTINGS).per_token_s / 4
    assert EXPERTS.experts is not None
    one_s = step.touched_s(1) - step.base_s
    assert one_s == pytest.approx(step.expert_s * EXPERTS.experts.per_token / EXPERTS.experts.count)
    assert step.touched_s(4) - step.base_s < 4 * one_s
    assert step.touched_s(4096) == pytest.approx(step.base_s + step.expert_s)
    # 61 GB in all, of which one token needs about 6: a sequence alone decodes several times faster than a full batch
    assert step.step_s(1, 500, 1) < 0.4 * step.step_s(256, 500, 1)


def test_the_batch_limit_of_a_mixture_of_experts_does_not_change_a_step() -> None:
    many, few = (step_time(EXPERTS, H100, replace(SETTINGS, max_num_seqs=count)) for count in (256, 4))
    assert many == few


def test_eager_mode_pays_per_layer_and_fp8_is_faster_where_the_gpu_has_it() -> None:
    assert step_time(LLAMA, H100, replace(SETTINGS, enforce_eager=True)).base_s > step_time(LLAMA, H100, SETTINGS).base_s + 0.01
    a100 = CATALOGUE.gpu("A100-SXM-80GB")
    fp8 = replace(SETTINGS, quantization="fp8")
    assert 0.5 <= step_time(LLAMA, H100, fp8).per_token_s / step_time(LLAMA, H100, SETTINGS).per_token_s < 0.65
    assert step_time(LLAMA, a100, fp8).per_token_s == step_time(LLAMA, a100, SETTINGS).per_token_s
    assert step_time(LLAMA, a100, fp8).base_s < step_time(LLAMA, a100, SETTINGS).base_s


def test_an_fp8_cache_is_read_twice_as_fast() -> None:
    plain, small = (step_time(LLAMA, H100, replace(SETTINGS, kv_cache_dtype=dtype)) for dtype in ("auto", "fp8"))
    assert small.per_kv_token_s == pytest.approx(plain.per_kv_token_s / 2)


def test_windows_bound_the_attention_of_long_prompts_and_the_reading_of_long_contexts() -> None:
    full = step_time(LLAMA, H100, SETTINGS)
    short = step_time(replace(LLAMA, sliding_layers=24, sliding_window_tokens=1024), H100, SETTINGS)
    tokens = 8000
    assert short.step_s(tokens, 0, 1, attended_pairs(tokens)) < full.step_s(tokens, 0, 1, attended_pairs(tokens))
    assert short.per_kv_token_s == pytest.approx(full.per_kv_token_s / 4)
    assert short.step_s(1, 6000, 1) < full.step_s(1, 6000, 1)
    long_window = step_time(replace(LLAMA, sliding_layers=24, sliding_window_tokens=4096), H100, SETTINGS)
    assert long_window.per_kv_token_s == full.per_kv_token_s


def test_latent_attention_reads_its_latents_on_every_rank() -> None:
    deepseek = CATALOGUE.model("deepseek-ai/DeepSeek-V3")
    h200 = CATALOGUE.gpu("H200-SXM-141GB")
    four, eight = (step_time(deepseek, h200, replace(SETTINGS, tensor_parallel_size=size)) for size in (4, 8))
    assert eight.per_kv_token_s > four.per_kv_token_s / 2
    assert eight.expert_s == pytest.approx(four.expert_s / 2)


def test_data_parallel_attention_keeps_whole_attention_and_divides_experts() -> None:
    deepseek = CATALOGUE.model("deepseek-ai/DeepSeek-V3")
    h200 = CATALOGUE.gpu("H200-SXM-141GB")
    tensor = step_time(deepseek, h200, replace(SETTINGS, tensor_parallel_size=8))
    data = step_time(deepseek, h200, SETTINGS, data_parallel_size=8)
    assert data.expert_s == pytest.approx(tensor.expert_s, rel=0.02)
    assert data.base_s > tensor.base_s
    # each rank's token brings those of seven others
    assert data.touched_s(1) - data.base_s > 4 * (tensor.touched_s(1) - tensor.base_s)


def test_recurrent_states_are_read_per_request_and_not_per_cached_token() -> None:
    hybrid = CATALOGUE.model("Qwen/Qwen3.5-27B")
    assert hybrid.recurrent is not None
    found, dense = (step_time(model, H100, SETTINGS) for model in (hybrid, replace(hybrid, recurrent=None)))
    assert found.per_sequence_s > dense.per_sequence_s
    assert found.per_kv_token_s < dense.per_kv_token_s


def test_a_pipeline_computes_every_stage_and_splits_the_decodes() -> None:
    one, two = (step_time(LLAMA, H100, replace(SETTINGS, pipeline_parallel_size=size)) for size in (1, 2))
    assert two.base_s == one.base_s
    assert two.per_token_s == one.per_token_s
    assert two.per_kv_token_s == pytest.approx(one.per_kv_token_s / 2)


def test_distances_are_told_apart() -> None:
    fit = fit_for()
    qwen = CATALOGUE.model("Qwen/Qwen3-32B")
    assert distance(qwen, H100, SETTINGS, None, fit) == "known"
    assert distance(LLAMA, H100, SETTINGS, None, fit) == "other_model"
    assert distance(qwen, CATALOGUE.gpu("H200"), SETTINGS, None, fit) == "other_model"
    assert distance(qwen, CATALOGUE.gpu("H100-PCIE-80GB"), SETTINGS, None, fit) == "other_gpu"
    assert distance(qwen, CATALOGUE.gpu("A100-SXM-80GB"), SETTINGS, None, fit) == "other_generation"
    # a model that was measured nowhere is one further out on other GPU types
    assert distance(LLAMA, CATALOGUE.gpu("H100-PCIE-80GB"), SETTINGS, None, fit) == "other_generation"
    assert distance(LLAMA, CATALOGUE.gpu("A100-SXM-80GB"), SETTINGS, None, fit) == "other_kind"
    # experts and windows were measured together, absorbed latent attention was not
    assert distance(EXPERTS, H100, SETTINGS, None, fit) == "other_kind"
    assert distance(CATALOGUE.model("google/gemma-2-9b-it"), H100, SETTINGS, None, fit) == "other_kind"
    assert distance(CATALOGUE.model("deepseek-ai/DeepSeek-V3"), H100, replace(SETTINGS, tensor_parallel_size=16), None, fit) == "roofline"
    assert distance(qwen, H100, SETTINGS, H100.mig_profile("3g.40gb"), fit) == "other_kind"
    assert distance(qwen, H100, replace(SETTINGS, pipeline_parallel_size=2), None, fit) == "other_kind"


def test_a_band_is_wider_the_further_out_and_its_words_say_so() -> None:
    fit = fit_for()
    for gpu in (CATALOGUE.gpu("A100-SXM-80GB"), H100, CATALOGUE.gpu("B200")):
        widths = []
        for name in DISTANCES:
            quantiles = dict(fit.residuals_for(name, gpu).tpot_quantiles)
            widths.append(math.log(quantiles[0.9] / quantiles[0.1]))
        assert widths == sorted(widths)
    assert "nothing of this kind was measured" in step_time(CATALOGUE.model("Qwen/Qwen3.5-27B"), H100, SETTINGS).provenance
    assert "other combinations of what was measured" in step_time(EXPERTS, H100, SETTINGS).provenance
    assert "other models on this GPU type (vllm, 266 rows" in step_time(LLAMA, H100, SETTINGS).provenance


def test_bands_are_of_the_generation_where_it_was_measured() -> None:
    fit = fit_for()
    hopper, blackwell, ampere = (fit.residuals_for("known", CATALOGUE.gpu(name)) for name in ("H100", "B200", "A100-SXM-80GB"))
    assert hopper == fit.generation_residuals["9.0"]["known"] != blackwell
    assert ampere == fit.residuals["known"]
    # farther out no generation has bands of its own
    assert fit.residuals_for("roofline", H100) is fit.residuals["roofline"]
    step = step_time(LLAMA, H100, SETTINGS)
    low, high = (dict(step.residual_quantiles)[probability] for probability in (0.1, 0.9))
    assert step.residual_quantiles == fit.generation_residuals["9.0"]["other_model"].tpot_quantiles
    assert f"p10 - p90 of step times {low:.2f} - {high:.2f}" in step.provenance


def test_quantiles_interpolate_and_stay_constant_outside() -> None:
    step = StepTime(1.0, 0.0, 0.0, ((0.1, 0.9), (0.5, 1.0), (0.9, 1.2)), "test")
    assert [step.quantile(point) for point in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)] == pytest.approx([0.9, 0.9, 0.95, 1.0, 1.1, 1.2, 1.2])
    assert replace(step, residual_quantiles=()).quantile(0.9) == 1.0


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_quantiles_do_not_decrease(low: float, high: float) -> None:
    step = step_time(LLAMA, H100, SETTINGS)
    assert step.quantile(min(low, high)) <= step.quantile(max(low, high))


@given(factor=st.floats(0.1, 10), tokens=st.integers(1, 10_000), kv=st.integers(0, 10**6), sequences=st.integers(1, 500))
def test_slower_slows_every_part(factor: float, tokens: int, kv: int, sequences: int) -> None:
    step = step_time(EXPERTS, H100, SETTINGS)
    pairs = attended_pairs(tokens)
    assert step.slower(factor).step_s(tokens, kv, sequences, pairs) == pytest.approx(factor * step.step_s(tokens, kv, sequences, pairs))


@given(chunks=st.lists(st.integers(1, 500), min_size=1, max_size=8))
def test_pairs_of_chunks_add_up_to_those_of_the_prompt(chunks: list[int]) -> None:
    before = [sum(chunks[:place]) for place in range(len(chunks))]
    total = sum(chunks)
    assert sum(attended_pairs(chunk, cached) for chunk, cached in zip(chunks, before, strict=True)) == total * (total + 1) / 2


@pytest.mark.parametrize("gpu", [name for name in CATALOGUE.gpu_names if CATALOGUE.gpu(name).engine is None])
def test_every_gpu_of_the_catalogue_gives_sane_times(gpu: str) -> None:
    step = step_time(CATALOGUE.model("Qwen/Qwen2.5-0.5B-Instruct"), CATALOGUE.gpu(gpu), replace(SETTINGS, dtype="float16"))
    assert 0.0017 < step.base_s < 0.02
    assert 0 < step.per_token_s < 1e-3
    assert 0 < step.per_kv_token_s < 1e-6
    assert 0 < step.per_pair_s < 1e-8
