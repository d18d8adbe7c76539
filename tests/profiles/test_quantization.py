"""Quantisation that a checkpoint does not have, and the fp8 KV cache on GPUs that convert it in software."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiles.catalogue import builtin
from profiles.memory.caveats import caveats
from profiles.memory.coexistence import ResidentEngine, fit
from profiles.precision import quantization_reason
from profiles.settings import EngineSettings
from profiles.support import check_supported

PLAIN = builtin().model("Qwen/Qwen2.5-32B-Instruct")
AWQ = builtin().model("Qwen/Qwen2.5-32B-Instruct-AWQ")
FP8_KV = EngineSettings(kv_cache_dtype="fp8")


@pytest.mark.parametrize("asked", [None, "fp8"])
def test_an_unquantised_checkpoint_is_served_as_it_is_or_in_fp8(asked: str | None) -> None:
    assert quantization_reason(PLAIN, asked) is None


@pytest.mark.parametrize("asked", ["awq", "gptq", "int4", "int8", "mxfp4", "nvfp4"])
def test_other_formats_must_be_in_the_checkpoint(asked: str) -> None:
    expected = f"Qwen/Qwen2.5-32B-Instruct is not quantised, so vLLM would find no configuration of {asked!r} in it; name a checkpoint"
    assert (quantization_reason(PLAIN, asked) or "").startswith(expected)


def test_a_quantised_checkpoint_is_served_as_it_is() -> None:
    assert quantization_reason(AWQ, None) is None
    assert quantization_reason(AWQ, "awq") is None
    assert (quantization_reason(AWQ, "gptq") or "").startswith(
        "Qwen/Qwen2.5-32B-Instruct-AWQ comes as awq, so it cannot be served as 'gptq'"
    )


def test_names_that_vllm_does_not_know_are_refused_with_those_it_knows() -> None:
    assert quantization_reason(PLAIN, "magic") == "vLLM has no quantization 'magic' that can be planned (known: awq, fp8, gptq, mxfp4)"
    packed = replace(PLAIN, checkpoint_quant="int8", quant_scope="linear")
    assert (quantization_reason(packed, "int8") or "").startswith(
        "vLLM has no --quantization 'int8' (known: awq, fp8, gptq, mxfp4); leave it out"
    )


def test_fit_refuses_quantisation_that_the_checkpoint_does_not_have() -> None:
    answer = fit([ResidentEngine("deep", PLAIN, EngineSettings(quantization="awq"))], builtin().gpu("H100"), None, 1024)
    assert not answer.fits
    assert "is not quantised" in (answer.residents[0].reason or "")


@pytest.mark.parametrize("gpu", ["A100-SXM-80GB", "A10G"])
@pytest.mark.parametrize("kv_cache_dtype", ["fp8", "fp8_e4m3", "fp8_e5m2"])
def test_an_fp8_kv_cache_runs_on_ampere_with_a_warning(gpu: str, kv_cache_dtype: str) -> None:
    found, settings = builtin().gpu(gpu), EngineSettings(kv_cache_dtype=kv_cache_dtype)
    model = builtin().model("Qwen/Qwen3-8B")
    check_supported(model, found, settings)
    (caveat,) = caveats(model, found, settings)
    assert caveat.startswith(f"Qwen/Qwen3-8B: kv_cache_dtype {kv_cache_dtype} on compute capability {found.compute_capability}")
    (resident,) = fit([ResidentEngine("one", model, replace(settings, max_model_len=4096))], found, None, 1024).residents
    assert "converted in software" in next(line.provenance for line in resident.lines if line.name == "KV cache")


def test_no_warning_where_the_gpu_has_the_instructions() -> None:
    assert caveats(builtin().model("Qwen/Qwen3-8B"), builtin().gpu("H100"), FP8_KV) == ()
    assert caveats(builtin().model("Qwen/Qwen3-8B"), builtin().gpu("A100-SXM-80GB"), EngineSettings()) == ()
