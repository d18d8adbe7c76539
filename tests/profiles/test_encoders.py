"""Encoders and pooled decoders: their config.json, memory and work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profiles.catalogue import architecture_from_path, builtin
from profiles.fields import FieldError
from profiles.latency.work import step_work
from profiles.memory.calibration import LoggedStart
from profiles.memory.kv import has_cache, kv_bytes_for_tokens, min_kv_bytes
from profiles.memory.ledger import memory_ledger, weight_bytes
from profiles.memory.pool import least_kv_bytes, pool_reason
from profiles.model_parts import Encoder
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.store.measurements import Provenance, StartPoint

# The dimensions of BAAI/bge-m3, as XLMRobertaConfig writes them.
BGE_M3 = {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "vocab_size": 250002,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "position_embedding_type": "absolute",
    "torch_dtype": "float32",
}
BERT = {
    **BGE_M3,
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
SETTINGS = EngineSettings(dtype="float16", max_model_len=8192, max_num_batched_tokens=8192)


def _read(folder: Path, config: Mapping[str, Any]) -> Architecture:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return architecture_from_path(folder)


def test_the_catalogue_s_bge_m3_is_that_of_its_config(tmp_path: Path) -> None:
    known, found = builtin().model("BAAI/bge-m3"), _read(tmp_path, BGE_M3)
    assert replace(found, name=known.name, aliases=known.aliases, source=known.source) == known
    assert (found.pooling, found.encoder, found.dtype) == (True, Encoder(learned_positions=8194, segments=1), "float16")
    # two positions are never used: they are numbered from pad_token_id + 1 on
    assert found.max_position == 8192


def test_bert_is_read_with_its_positions_and_segments(tmp_path: Path) -> None:
    found = _read(tmp_path, BERT)
    assert (found.max_position, found.encoder, found.gated_mlp) == (512, Encoder(learned_positions=512, segments=2), False)
    assert found.position_parameters == 514 * 1024


def test_modernbert_has_rotary_positions_and_gated_mlps(tmp_path: Path) -> None:
    windows = {"global_attn_every_n_layers": 3, "local_attention": 128}
    config = {**BERT, "architectures": ["ModernBertModel"], "model_type": "modernbert", **windows}
    found = _read(tmp_path, {key: value for key, value in config.items() if key != "type_vocab_size"})
    assert (found.encoder, found.gated_mlp, found.sliding_layers) == (Encoder(0, 0), True, 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type: 'relative_key' is not supported by vLLM's encoders"),
        ({"max_position_embeddings": 2}, "max_position_embeddings: 2 positions, of which the first 2 are not used"),
        ({"new_head_size": 3}, "new_head_size: xlm-roberta models are not known to have this key (value 3)"),
        ({"type_vocab_size": None}, "type_vocab_size: missing"),
    ],
)
def test_what_would_change_an_encoder_s_shape_is_refused(tmp_path: Path, change: Mapping[str, Any], expected: str) -> None:
    with pytest.raises(FieldError, match=expected.replace("(", r"\(").replace(")", r"\)")):
        _read(tmp_path, {**BGE_M3, **change})


def test_a_head_for_scores_makes_a_pooling_model_of_any_type(tmp_path: Path) -> None:
    found = _read(tmp_path, {**BGE_M3, "architectures": ["XLMRobertaForSequenceClassification"]})
    assert found.pooling
    qwen = {
        "architectures": ["Qwen3ForSequenceClassification"],
        "model_type": "qwen3",
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
    }
    kept = {key: BGE_M3[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")}
    decoder = _read(tmp_path, {**kept, **qwen, "tie_word_embeddings": False})
    assert (decoder.pooling, decoder.encoder, decoder.tie_embeddings) == (True, None, True)


@pytest.mark.parametrize(
    ("named", "pooling"),
    [
        ("LlamaForCausalLM", False),
        ("LlamaModel", True),
        ("LlamaForRewardModeling", True),
        ("Qwen2RewardModel", True),
        ("QWenLMHeadModel", False),
        ("Gemma3ForConditionalGeneration", False),
        (None, False),
    ],
)
def test_the_name_of_the_architecture_tells_what_a_decoder_makes(tmp_path: Path, named: str | None, pooling: bool) -> None:
    kept = {key: BGE_M3[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")}
    written = {} if named is None else {"architectures": [named]}
    assert _read(tmp_path, {**kept, **written, "model_type": "llama", "max_position_embeddings": 4096}).pooling is pooling


def test_an_encoder_has_no_kv_cache() -> None:
    model = builtin().model("BAAI/bge-m3")
    assert not has_cache(model)
    assert [min_kv_bytes(model, SETTINGS), least_kv_bytes(model, SETTINGS), kv_bytes_for_tokens(model, SETTINGS, 10_000)] == [0, 0, 0]
    assert pool_reason(model, SETTINGS, 0) is None


def test_weights_are_embeddings_positions_and_blocks_without_an_output_head() -> None:
    model = builtin().model("BAAI/bge-m3")
    # 250,048 padded rows, 8,194 positions and a segment; 24 layers of 4 h^2 + 8 h^2; 49 norms; no rotary tables
    elements = 1024 * (250_048 + 8_195) + 24 * 12 * 1024 * 1024 + 49 * 1024
    assert weight_bytes(model, SETTINGS) == 2 * elements


def test_a_pooled_decoder_loads_no_output_head_and_samples_nothing() -> None:
    model, gpu = builtin().model("Qwen/Qwen3-8B"), builtin().gpu("H100-SXM-80GB")
    settings = EngineSettings(max_num_seqs=1024, max_num_batched_tokens=2048)
    plain, pooled = (memory_ledger(item, gpu, settings, 0) for item in (model, model.pooled()))
    head_mib = 151_936 * 4096 * 2 / 2**20
    assert plain.weights_mib - pooled.weights_mib == pytest.approx(head_mib, abs=1)
    # logits of 1,024 sequences: 14 bytes for each of 151,936 tokens are 2.0 GiB, a forward pass of 2,048 tokens takes 0.2
    assert plain.activation_mib - pooled.activation_mib > 1500
    assert has_cache(model.pooled())


def test_tokens_of_an_encoder_attend_in_both_directions_and_read_no_cache() -> None:
    model = builtin().model("BAAI/bge-m3")
    decoder = replace(model, encoder=None)
    both, causal = step_work(model, SETTINGS), step_work(decoder, SETTINGS)
    assert (both.kv_bytes, both.kv_flops) == (0, 0)
    assert both.pair_flops == 2 * causal.pair_flops > 0
    assert both.token_flops == causal.token_flops
    # only rows of its tokens are read of the embeddings
    assert both.weights_bytes == pytest.approx(2 * (24 * 12 * 1024 * 1024 + 49 * 1024), rel=1e-3)


def test_a_start_of_an_encoder_tells_nothing_of_a_pool() -> None:
    provenance = Provenance(kind="measured", source="test", engine_version="0.32.0")
    # what vLLM's metrics of an encoder say
    point = StartPoint(model="BAAI/bge-m3", gpu="L4", kv_blocks=1, block_size=16, provenance=provenance)
    assert LoggedStart(builtin().model("BAAI/bge-m3"), builtin().gpu("L4"), point).kv_bytes is None
