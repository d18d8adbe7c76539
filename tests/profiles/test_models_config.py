"""Architectures from config.json files: the families agree with the catalogue, faults are named by file and key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import architecture_from_path, builtin
from profiles.checkpoints.hf_config import TYPE_DEFAULTS
from profiles.fields import FieldError
from profiles.models import Architecture

CONFIGS: Mapping[str, Mapping[str, Any]] = json.loads((Path(__file__).parent / "configs.json").read_text(encoding="utf-8"))
LLAMA = CONFIGS["meta-llama/Llama-3.1-8B"]


def _write(folder: Path, config: Mapping[str, Any]) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


def _refused(tmp_path: Path, config: Mapping[str, Any]) -> str:
    file = _write(tmp_path, config)
    with pytest.raises(FieldError) as caught:
        architecture_from_path(tmp_path)
    assert str(file) in str(caught.value)
    return str(caught.value)


def _dimensions(architecture: Architecture) -> Architecture:
    return replace(architecture, name="", aliases=(), source="", vision_parameters=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_each_family_agrees_with_the_catalogue(tmp_path: Path, name: str) -> None:
    _write(tmp_path, CONFIGS[name])
    assert _dimensions(architecture_from_path(tmp_path)) == _dimensions(builtin().model(name))


@pytest.mark.parametrize("name", ["google/gemma-3-4b-it", "Qwen/Qwen3-VL-8B-Instruct", "meta-llama/Llama-4-Scout-17B-16E-Instruct"])
def test_the_vision_estimate_errs_on_the_large_side_but_not_by_much(tmp_path: Path, name: str) -> None:
    _write(tmp_path, CONFIGS[name])
    estimated, known = architecture_from_path(tmp_path), builtin().model(name)
    assert known.vision_parameters <= estimated.vision_parameters
    assert estimated.parameter_count <= known.parameter_count * 1.05


def test_folder_and_file_give_the_same_architecture_named_after_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama"
    folder.mkdir()
    file = _write(folder, LLAMA)
    assert architecture_from_path(folder) == architecture_from_path(file)
    assert architecture_from_path(folder).name == "my-llama"
    assert architecture_from_path(folder).source == str(file)


REQUIRED = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "vocab_size")
WRONG: tuple[object, ...] = (-1, 0, 1.5, "many", True, [], {}, float("nan"), float("inf"))


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_dimension_is_named(tmp_path: Path, key: str) -> None:
    assert f"{key}: missing" in _refused(tmp_path, {name: value for name, value in LLAMA.items() if name != key})


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("key", [*REQUIRED, "num_key_value_heads", "head_dim"])
def test_a_wrong_dimension_is_named(tmp_path: Path, key: str, value: object) -> None:
    assert f"{key}: must be" in _refused(tmp_path, {**LLAMA, key: value})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"head_dim": None, "hidden_size": 4100, "num_attention_heads": 32}, "head_dim: missing, and hidden_size 4100"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: must be true or false"),
        ({"torch_dtype": "float8"}, "torch_dtype: must be one of"),
        ({"quantization_config": {"quant_method": "magic"}}, "quantization_config.quant_method: 'magic' is not a supported"),
        ({"quantization_config": {}}, "quantization_config.quant_method: missing"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "quantization_config.bits: 3 is not a supported"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "X"}}, "quantization_config.quant_algo: 'X'"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {}}}, "config_groups"),
        ({"quantization_config": "fp8"}, "quantization_config: must be a mapping"),
        ({"num_local_experts": 8}, "moe_intermediate_size: missing"),
        ({"num_local_experts": 8, "moe_intermediate_size": 64}, "num_experts_per_tok: missing"),
        ({"moe_num_experts": 8}, "moe_num_experts: llama models are not known to have this key"),
        (
            {"num_experts": 8, "moe_intermediate_size": 64, "num_experts_per_tok": 2, "first_k_dense_replace": 32},
            "num_hidden_layers: leaves no layer",
        ),
        ({"kv_lora_rank": 512}, "qk_nope_head_dim: missing"),
        ({"layer_types": ["full_attention"]}, "layer_types: lists 1 layers, num_hidden_layers is 32"),
        ({"layer_types": ["mamba"] * 32}, "layer_types: 'mamba' layers are not supported"),
        ({"layer_types": ["sliding_attention"] * 32}, "sliding_window: missing"),
        ({"layer_types": "full_attention"}, "layer_types: must be a list"),
        ({"mamba_d_state": 128}, "mamba_d_state: models with state-space"),
        ({"index_topk": 2048}, "index_topk: llama models are not known to have this key"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder: encoder-decoder models"),
        ({"text_config": {"hidden_size": -1}}, "text_config.hidden_size: must be at least 1"),
        ({"vision_config": {"hidden_size": 64}}, "vision_config.num_hidden_layers: missing"),
    ],
)
def test_what_cannot_be_served_is_named(tmp_path: Path, change: Mapping[str, Any], expected: str) -> None:
    assert expected in _refused(tmp_path, {**LLAMA, **change})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"hidden_size": 1' + b"0" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_file_that_is_not_a_json_object_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(FieldError, match=expected):
        architecture_from_path(tmp_path)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match=r"config\.json: cannot be read: No such file"):
        architecture_from_path(tmp_path)


@pytest.mark.parametrize(
    ("quantization_config", "expected"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}}, "fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}}, "int4"),
    ],
)
def test_weight_formats_are_recognised(tmp_path: Path, quantization_config: Mapping[str, Any], expected: str) -> None:
    _write(tmp_path, {**LLAMA, "quantization_config": quantization_config})
    found = architecture_from_path(tmp_path)
    assert (found.checkpoint_quant, found.quant_scope, found.unquantized_modules) == (expected, "linear", ())


def test_qwen_windows_count_from_max_window_layers(tmp_path: Path) -> None:
    window = {"sliding_window": 4096, "max_window_layers": 20, "use_sliding_window": True, "model_type": "qwen2"}
    _write(tmp_path, {**LLAMA, **window})
    assert architecture_from_path(tmp_path).sliding_layers == 12
    _write(tmp_path, {**LLAMA, **window, "use_sliding_window": False})
    assert architecture_from_path(tmp_path).sliding_window_tokens is None


def test_a_float32_checkpoint_is_served_in_bfloat16(tmp_path: Path) -> None:
    _write(tmp_path, {**LLAMA, "torch_dtype": "float32"})
    assert architecture_from_path(tmp_path).dtype == "bfloat16"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted({key for config in CONFIGS.values() for key in config} | {key for keys in TYPE_DEFAULTS.values() for key in keys})


@given(name=st.sampled_from(sorted(CONFIGS)), changes=st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3))
def test_any_change_gives_an_architecture_or_a_field_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: Mapping[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("model")
    _write(folder, {**CONFIGS[name], **changes})
    try:
        outcome: str = architecture_from_path(folder).source
    except FieldError as error:
        outcome = str(error)
    assert outcome.startswith(str(folder / "config.json"))
