"""Quantised checkpoints found by their names, and the limits vLLM takes by itself."""

import pytest

from profiles.catalogue import UnknownNameError, builtin
from profiles.memory.weights import weight_bytes
from profiles.settings import EngineSettings
from profiles.usual_limits import usual_limits


@pytest.mark.parametrize(
    ("name", "base", "quant"),
    [
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "meta-llama/Llama-3.1-8B", "fp8"),
        ("RedHatAI/Llama-3.3-70B-Instruct-quantized.w4a16", "meta-llama/Llama-3.1-70B", "int4"),
        ("RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8", "Qwen/Qwen2.5-7B-Instruct", "int8"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct", "awq"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct", "gptq"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "Qwen/Qwen2.5-7B-Instruct", "int8"),
        ("nvidia/Qwen3-14B-NVFP4", "Qwen/Qwen3-14B", "nvfp4"),
        ("nobody/Qwen3-14B-AWQ-4bit", "Qwen/Qwen3-14B", "awq"),
        ("nobody/Qwen3-14B-GPTQ-4b-128g", "Qwen/Qwen3-14B", "gptq"),
    ],
)
def test_a_checkpoint_in_another_format_has_the_dimensions_of_its_model(name: str, base: str, quant: str) -> None:
    found, plain = builtin().model(name), builtin().model(base)
    assert (found.name, found.checkpoint_quant, found.quant_scope) == (name, quant, "linear")
    assert found.parameter_count == plain.parameter_count
    assert weight_bytes(found, EngineSettings()) < weight_bytes(plain, EngineSettings())
    assert builtin().model_id(name) == name


def test_a_copy_by_another_organisation_has_the_dimensions_of_its_model() -> None:
    found, plain = builtin().model("unsloth/Llama-3.2-3B-Instruct"), builtin().model("meta-llama/Llama-3.2-3B-Instruct")
    assert (found.name, found.parameter_count, found.checkpoint_quant) == ("unsloth/Llama-3.2-3B-Instruct", plain.parameter_count, None)
    assert found.source.endswith("taken for a copy by its name")
    assert builtin().model_id("unsloth/Llama-3.2-3B-Instruct") == "unsloth/Llama-3.2-3B-Instruct"


@pytest.mark.parametrize(
    "name", ["nobody/unheard-of-FP8", "Qwon/Qwen3-14B", "meta-lama/Llama-3.2-3B-Instruct", "Qwen3-14B-NVFP4", "RedHatAI/Qwen3-14B-exl2"]
)
def test_other_names_stay_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown model"):
        builtin().model(name)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("nvidia/DeepSeek-R1-FP4", "deepseek-ai/DeepSeek-R1"),
        ("nvidia/DeepSeek-R1-0528-FP4-v2", "deepseek-ai/DeepSeek-R1"),
        ("nvidia/DeepSeek-V3.2-NVFP4", "deepseek-ai/DeepSeek-V3.2"),
    ],
)
def test_a_narrower_copy_of_a_quantised_mixture_narrows_its_experts(name: str, listed: str) -> None:
    found, base = builtin().model(name), builtin().model(listed)
    assert (found.name, found.checkpoint_quant, found.quant_scope) == (name, "nvfp4", "experts")
    assert found.parameter_count == base.parameter_count
    assert weight_bytes(found, EngineSettings()) < weight_bytes(base, EngineSettings())


def test_a_checkpoint_that_is_listed_is_taken_as_listed() -> None:
    assert "by the checkpoint's name" not in builtin().model("Qwen/Qwen3-32B-FP8").source


@pytest.mark.parametrize(
    ("gpu", "limits"),
    [("B200", (1024, 16384)), ("H100", (1024, 8192)), ("H200", (1024, 8192)), ("A100-SXM-80GB", (256, 2048)), ("L4", (256, 2048))],
)
def test_the_usual_limits_are_those_of_vllm(gpu: str, limits: tuple[int, int]) -> None:
    assert usual_limits(builtin().gpu(gpu)) == limits
