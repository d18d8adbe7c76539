"""config.json: model types and keys that nobody knows are refused by name, Gemma 4 and DeepSeek-V3.2 are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from profiles.catalogue import architecture_from_path, builtin
from profiles.catalogue.decode import decode_model
from profiles.fields import FieldError, Fields
from profiles.memory.kv import kv_blocks_per_request, kv_bytes_per_block, kv_bytes_per_token, min_kv_bytes, request_blocks
from profiles.model_parts import Experts, GlobalLayers, Indexer, PerLayerInput, SharedKv
from profiles.models import Architecture
from profiles.settings import EngineSettings

MIB, GIB = 1 << 20, 1 << 30
LLAMA = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
}
# The dimensions that google publishes for Gemma 4: 31B, 26B-A4B and E2B.
DENSE = {
    "model_type": "gemma4_text",
    "hidden_size": 5376,
    "intermediate_size": 21504,
    "num_hidden_layers": 60,
    "num_attention_heads": 32,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "global_head_dim": 512,
    "num_global_key_value_heads": 4,
    "attention_k_eq_v": True,
    "sliding_window": 1024,
    "vocab_size": 262144,
    "max_position_embeddings": 262144,
    "hidden_size_per_layer_input": 0,
}
MIXTURE = {
    **DENSE,
    "hidden_size": 2816,
    "intermediate_size": 2112,
    "moe_intermediate_size": 704,
    "num_experts": 128,
    "top_k_experts": 8,
    "enable_moe_block": True,
    "num_hidden_layers": 30,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_global_key_value_heads": 2,
}
SMALL = {
    **DENSE,
    "hidden_size": 1536,
    "intermediate_size": 6144,
    "num_hidden_layers": 35,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "num_global_key_value_heads": None,
    "attention_k_eq_v": False,
    "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7,
    "sliding_window": 512,
    "hidden_size_per_layer_input": 256,
    "vocab_size_per_layer_input": 262144,
    "num_kv_shared_layers": 20,
    "use_double_wide_mlp": True,
}


def _read(folder: Path, config: Mapping[str, Any]) -> Architecture:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return architecture_from_path(folder)


def _refused(folder: Path, config: Mapping[str, Any]) -> str:
    with pytest.raises(FieldError) as caught:
        _read(folder, config)
    return str(caught.value)


def _gemma4(folder: Path, text: Mapping[str, Any]) -> Architecture:
    return _read(folder, {"model_type": "gemma4", "dtype": "bfloat16", "text_config": text})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"model_type": "brand_new"},
            "model_type: 'brand_new' is not known, so weights and KV cache cannot be counted (known: ",
        ),
        ({"model_type": None}, "model_type: missing"),
        ({"num_global_key_value_heads": 4}, "num_global_key_value_heads: llama models are not known to have this key (value 4)"),
        ({"compressor_dim": 64}, "compressor_dim: llama models are not known"),
        ({"shared_window": 64}, "shared_window: llama models are not known"),
        ({"value_head_sizes": [64, 128]}, "value_head_sizes: llama models are not known"),
        ({"moe_latent_size": 64}, "moe_latent_size: llama models are not known"),
        ({"cross_attention_layers": [1, 2]}, "cross_attention_layers: llama models are not known"),
        ({"index_topk": 2048, "model_type": "deepseek_v32"}, "kv_lora_rank: missing, though index_topk is there"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path: Path, change: Mapping[str, Any], expected: str) -> None:
    assert expected in _refused(tmp_path, {**LLAMA, **change})


def test_keys_that_change_no_shape_are_let_through(tmp_path: Path) -> None:
    harmless = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "chunk_size_feed_forward": 0,
        "cross_attention_hidden_size": None,
        "eos_token_id": [2, 3],
        "initializer_range": 0.02,
        "max_window_layers": 2,
        "no_repeat_ngram_size": 0,
        "num_beams": 1,
        "num_experts": 0,
        "num_nextn_predict_layers": 1,
        "output_hidden_states": False,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"original_max_position_embeddings": 8192},
        "rope_theta": 500000,
        "top_k": 50,
        "use_sliding_window": False,
    }
    assert _read(tmp_path, {**LLAMA, **harmless}) == _read(tmp_path, LLAMA)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "deberta", "architectures": ["DebertaModel"]}, "architectures: DebertaModel is an encoder of a type that is not"),
        ({"model_type": "nomic_bert"}, "model_type: nomic_bert is an encoder of a type that is not modelled"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM writes no text and gives no vector or score"),
        ({"architectures": ["LlamaForTokenClassification"]}, "LlamaForTokenClassification writes no text and gives no vector or score"),
    ],
)
def test_models_that_can_neither_write_nor_embed_are_refused_with_their_kind(
    tmp_path: Path, config: Mapping[str, Any], expected: str
) -> None:
    assert expected in _refused(tmp_path, {**LLAMA, **config})


def test_gemma_4_31b_has_heads_of_its_own_in_global_layers(tmp_path: Path) -> None:
    found = _gemma4(tmp_path, DENSE)
    assert (found.sliding_layers, found.sliding_window_tokens) == (50, 1024)
    assert found.global_layers == GlobalLayers(kv_heads=4, head_dim=512)
    assert (found.experts, found.per_layer_input, found.shared_kv) == (None, None, None)
    assert found.parameter_count == pytest.approx(30.7e9, rel=0.02)


def test_gemma_4_31b_takes_892_gib_for_a_request_of_65536_tokens(tmp_path: Path) -> None:
    found = _gemma4(tmp_path, DENSE)
    settings = EngineSettings(max_model_len=65536, async_scheduling=True)
    # Sliding: 2 x 16 x 256 x 2 bytes = 16 KiB per token and layer; global: 2 x 4 x 512 x 2 = 8 KiB, so that its blocks hold 32 tokens.
    assert kv_bytes_per_token(found, settings) == 50 * 16384 + 10 * 8192
    # Ten layers per group: one global and five sliding groups, blocks of 10 x 16 x 16 KiB
    assert kv_bytes_per_block(found, settings) == 2560 * 1024
    assert kv_blocks_per_request(found, settings, 65536) == 65536 // 32 + 5 * (-(-(1023 + 4096) // 16) + 1)
    assert min_kv_bytes(found, settings) / GIB == pytest.approx(8.92, abs=0.005)
    blocks = request_blocks(found, settings)
    assert (blocks.block_tokens, blocks.window_block_tokens) == (32, 16)


def test_ranks_beyond_the_global_heads_keep_one_each(tmp_path: Path) -> None:
    settings = EngineSettings(tensor_parallel_size=8)
    # Sliding 2 x 2 x 256 x 2 bytes, global 2 x 1 x 512 x 2 bytes
    assert kv_bytes_per_token(_gemma4(tmp_path, DENSE), settings) == 50 * 2048 + 10 * 2048


def test_gemma_4_26b_has_experts_beside_its_mlps(tmp_path: Path) -> None:
    found = _gemma4(tmp_path, MIXTURE)
    assert found.experts == Experts(count=128, per_token=8, intermediate=704, layers=30, shared_intermediate=2112)
    assert found.parameter_count == pytest.approx(25.2e9, rel=0.02)
    assert found.active_parameter_count == pytest.approx(3.8e9, rel=0.05)


def test_gemma_4_e2b_shares_caches_and_has_embeddings_per_layer(tmp_path: Path) -> None:
    found = _gemma4(tmp_path, SMALL)
    assert found.per_layer_input == PerLayerInput(hidden=256, vocab=262144)
    assert found.shared_kv == SharedKv(layers=20, sliding_layers=16, double_mlp=True)
    assert found.global_layers == GlobalLayers(kv_heads=1, head_dim=512)
    assert found.per_layer_embedding_parameters == 35 * 256 * 262144
    # 15 layers keep caches: 12 sliding of 2 x 256 x 2 bytes, 3 global of 2 x 512 x 2 bytes
    assert found.cached_layers == (3, 12)
    assert kv_bytes_per_token(found, EngineSettings()) == 12 * 1024 + 3 * 2048
    # 5.1 billion with embeddings, of which 2.35 billion are those of the layers
    assert found.parameter_count == pytest.approx(4.65e9, rel=0.02)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_kv_shared_layers": 60}, "num_kv_shared_layers: must be less than the 60 layers"),
        ({"enable_moe_block": True}, "num_experts: missing"),
        ({"layer_types": ["sliding_attention"]}, "layer_types: lists 1 layers"),
    ],
)
def test_faults_of_gemma_4_are_named(tmp_path: Path, change: Mapping[str, Any], expected: str) -> None:
    assert f"text_config.{expected}" in _refused(tmp_path, {"model_type": "gemma4", "text_config": {**DENSE, **change}})


def test_an_audio_tower_is_counted(tmp_path: Path) -> None:
    audio = {"audio_config": {"hidden_size": 1024, "num_hidden_layers": 12}}
    assert _read(tmp_path, {**LLAMA, **audio}).vision_parameters == 12 * 24 * 1024 * 1024


@pytest.mark.parametrize(
    ("kv_cache_dtype", "bytes_per_token"),
    [
        # 512 fp8 elements, 4 scales of 4 bytes, 64 elements of 2 bytes; the indexer's 128 fp8 elements and one scale
        ("fp8", 61 * (656 + 132)),
        ("fp8_ds_mla", 61 * (656 + 132)),
        ("auto", 61 * (576 * 2 + 132)),
    ],
)
def test_sparse_attention_caches_latents_and_the_keys_of_its_indexer(kv_cache_dtype: str, bytes_per_token: int) -> None:
    for name in ("deepseek-ai/DeepSeek-V3.2", "deepseek-ai/DeepSeek-V3.2-Exp"):
        model = builtin().model(name)
        assert model.indexer == Indexer(heads=64, head_dim=128)
        for size in (1, 8):
            settings = EngineSettings(kv_cache_dtype=kv_cache_dtype, tensor_parallel_size=size)
            assert kv_bytes_per_token(model, settings) == bytes_per_token


def test_a_config_of_deepseek_v32_is_read(tmp_path: Path) -> None:
    configs = json.loads((Path(__file__).parent / "configs.json").read_text(encoding="utf-8"))
    sparse = {"model_type": "deepseek_v32", "index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048}
    found = _read(tmp_path, {**configs["deepseek-ai/DeepSeek-R1"], **sparse})
    assert found.indexer == builtin().model("deepseek-ai/DeepSeek-V3.2").indexer
    assert found.parameter_count == builtin().model("deepseek-ai/DeepSeek-V3.2").parameter_count


@pytest.mark.parametrize("config", [DENSE, MIXTURE, SMALL], ids=["31b", "26b", "e2b"])
def test_a_catalogue_file_can_say_all_that_a_config_of_gemma_4_says(tmp_path: Path, config: Mapping[str, Any]) -> None:
    found = _gemma4(tmp_path, config)
    written = {key: value for key, value in asdict(found).items() if value not in (None, (), "", 0)}
    assert decode_model(Fields("model.yaml", {**written, "aliases": [], "tie_embeddings": found.tie_embeddings})) == found
