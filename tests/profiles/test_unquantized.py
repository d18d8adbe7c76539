"""Checkpoints that are quantised in part: which weights stay in the model's dtype, and what that makes per GPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiles.catalogue import architecture_from_path, builtin
from profiles.fields import FieldError
from profiles.memory.weights import weight_bytes, whole_weight_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.unquantized import Unquantized, unquantized

GIB = 1 << 30
LLAMA = builtin().model("meta-llama/Llama-3.1-8B")
MIXTURE = builtin().model("Qwen/Qwen3-30B-A3B")
HYBRID = builtin().model("Qwen/Qwen3.6-27B")
# 32 layers of width 4096: 32 query heads, 8 KV heads of 128; three MLP matrices of 4096 x 14336
QUERY, KEY, MATRIX = 4096 * 4096, 4096 * 1024, 4096 * 14336
CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


def _kept(architecture: Architecture, *patterns: str) -> Unquantized:
    return unquantized(replace(architecture, unquantized_modules=patterns))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("lm_head", Unquantized()),
        ("model.layers.3.self_attn.q_proj", Unquantized(attention_parameters=QUERY)),
        ("model.language_model.layers.3.self_attn.k_proj", Unquantized(attention_parameters=KEY)),
        ("model.layers.3.self_attn", Unquantized(attention_parameters=2 * QUERY + 2 * KEY)),
        ("self_attn", Unquantized(attention_parameters=32 * (2 * QUERY + 2 * KEY))),
        ("model.layers.31", Unquantized(2 * QUERY + 2 * KEY, 3 * MATRIX)),
        ("model.layers.3.mlp.gate_up_proj", Unquantized(mlp_parameters=2 * MATRIX)),
        ("re:.*\\.down_proj$", Unquantized(mlp_parameters=32 * MATRIX)),
        ("re:model\\.layers\\.(0|31)\\.", Unquantized(2 * (2 * QUERY + 2 * KEY), 2 * 3 * MATRIX)),
        ("model.layers.*.self_attn", Unquantized(attention_parameters=32 * (2 * QUERY + 2 * KEY))),
        ("*.layers.1.mlp*", Unquantized(mlp_parameters=3 * MATRIX)),
    ],
)
def test_a_pattern_keeps_the_parameters_of_what_it_names(pattern: str, expected: Unquantized) -> None:
    found = _kept(LLAMA, pattern)
    assert (found.attention_parameters, found.mlp_parameters, found.expert_parameters) == pytest.approx(
        (expected.attention_parameters, expected.mlp_parameters, expected.expert_parameters)
    )


def test_routers_experts_and_recurrent_layers_are_told_apart() -> None:
    assert _kept(MIXTURE, "re:.*mlp\\.gate$") == Unquantized(mlp_parameters=48 * 2048 * 128)
    assert _kept(MIXTURE, "re:.*mlp\\.experts.*") == Unquantized(expert_parameters=MIXTURE.expert_parameters)
    assert HYBRID.recurrent is not None
    assert _kept(HYBRID, "linear_attn") == Unquantized(attention_parameters=48 * HYBRID.recurrent.parameters(HYBRID.hidden))


def test_latent_attention_is_told_apart_by_projection() -> None:
    model = builtin().model("deepseek-ai/DeepSeek-R1")
    assert _kept(model, "kv_b_proj").attention_parameters == pytest.approx(61 * 512 * 128 * (128 + 128))
    assert _kept(model, "self_attn").attention_parameters == pytest.approx(model.attention_parameters)


def test_metas_405b_in_fp8_keeps_attention_and_the_first_and_last_layer() -> None:
    model = builtin().model("meta-llama/Meta-Llama-3.1-405B-Instruct-FP8")
    # attention 126 x 570 M, two MLPs 5.2 G and embeddings 4.2 G in two bytes, the other MLPs 324.5 G in one; 57.75 GiB are logged
    assert weight_bytes(model, EngineSettings(tensor_parallel_size=8)) / GIB == pytest.approx(56.76, abs=0.01)
    assert model.weights_note == ""


@pytest.mark.parametrize(
    ("quantization_config", "patterns"),
    [
        ({"quant_method": "fp8", "modules_to_not_convert": ["self_attn"]}, ("self_attn",)),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["self_attn"]}, ("self_attn",)),
        ({"quant_method": "fp8", "ignored_layers": ["self_attn"]}, ("self_attn",)),
        ({"quant_method": "awq", "modules_to_not_convert": ["self_attn"]}, ("self_attn",)),
        ({"quant_method": "gptq", "bits": 4, "modules_to_not_convert": ["self_attn"]}, ("self_attn",)),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*self_attn.*": {}, "+:.*mlp.*": {"bits": 4}}}, ("re:.*self_attn.*",)),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["*self_attn*"]}, ("*self_attn*",)),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}},
                "ignore": ["lm_head", "re:.*self_attn.*"],
            },
            ("lm_head", "re:.*self_attn.*"),
        ),
    ],
)
def test_what_a_config_leaves_out_is_counted_in_its_dtype(
    tmp_path: Path, quantization_config: Mapping[str, Any], patterns: tuple[str, ...]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": quantization_config}), encoding="utf-8")
    found = architecture_from_path(tmp_path)
    assert found.unquantized_modules == patterns
    assert unquantized(found).attention_parameters == pytest.approx(found.attention_parameters)
    # 1.34 G parameters of attention in two bytes instead of one or about a half
    whole = whole_weight_bytes(replace(found, unquantized_modules=()), EngineSettings())
    added = (whole_weight_bytes(found, EngineSettings()) - whole) / found.attention_parameters
    assert added == pytest.approx(1.0 if found.checkpoint_quant == "fp8" else 1.48, abs=0.001)


@pytest.mark.parametrize(
    ("value", "problem"),
    [("self_attn", "must be a list"), ([1], "must be a list of texts"), (["re:("], "'re:(' is no regular expression")],
)
def test_a_wrong_list_is_named(tmp_path: Path, value: object, problem: str) -> None:
    config = {**CONFIG, "quantization_config": {"quant_method": "fp8", "modules_to_not_convert": value}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(FieldError) as caught:
        architecture_from_path(tmp_path)
    assert f"quantization_config.modules_to_not_convert: {problem}" in str(caught.value)


def test_a_format_known_by_name_alone_counts_the_most_and_says_the_band() -> None:
    found, plain = builtin().model("RedHatAI/Llama-3.1-8B-Instruct-FP8"), replace(LLAMA, checkpoint_quant="fp8", quant_scope="linear")
    settings = EngineSettings()
    attention, mlps = LLAMA.attention_parameters, 2 * 3 * MATRIX
    added = whole_weight_bytes(found, settings) - whole_weight_bytes(plain, settings)
    assert added == pytest.approx((attention + mlps) * (1 - 4 / 16384))
    assert "weights of 8.5 to 10.0 GiB, the most is counted" in found.weights_note
    assert found.weights_note.removeprefix("RedHatAI/Llama-3.1-8B-Instruct-FP8: ") in found.source


def test_formats_whose_tools_quantise_every_layer_have_no_band_for_dense_models() -> None:
    found = builtin().model("Qwen/Qwen2.5-7B-Instruct-AWQ")
    assert unquantized(found) == Unquantized()
    hybrid = builtin().model("nobody/Qwen3.6-27B-AWQ")
    assert hybrid.recurrent is not None
    assert unquantized(hybrid).attention_parameters == pytest.approx(48 * hybrid.recurrent.parameters(hybrid.hidden))
