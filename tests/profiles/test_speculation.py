"""Speculative decoding: its memory and steps, and what cannot be counted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from profiles.catalogue import builtin
from profiles.latency.prediction import predict
from profiles.memory.kv import kv_blocks, kv_bytes_per_block, kv_bytes_per_token, min_kv_bytes, request_blocks
from profiles.memory.ledger import graph_count, memory_ledger, weight_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings, UnsupportedError
from profiles.speculation import SpeculationError, speculating

LARGE, SMALL = builtin().model("Qwen/Qwen3-8B"), builtin().model("Qwen/Qwen3-0.6B")
GPU = builtin().gpu("H100-SXM-80GB")
SETTINGS = EngineSettings(max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=4096)
NGRAM = '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}'
DRAFT = '{"model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 4}'


def _with(config: str, model: Architecture = LARGE) -> Architecture:
    return speculating(model, config, builtin().model)


def test_a_draft_model_brings_its_weights_and_its_keys_and_values() -> None:
    found = _with(DRAFT)
    plain, drafted = (memory_ledger(model, GPU, SETTINGS, 0) for model in (LARGE, found))
    assert drafted.weights_mib - plain.weights_mib == pytest.approx(weight_bytes(SMALL, SETTINGS) / 2**20, abs=1)
    # 36 layers of 2 x 8 x 128 x 2 bytes, and 28 of the draft model
    assert kv_bytes_per_token(found, SETTINGS) == (36 + 28) * 4096
    assert kv_bytes_per_block(found, SETTINGS) == 16 * (36 + 28) * 4096
    assert kv_blocks(found, SETTINGS, 1 << 30) < kv_blocks(LARGE, SETTINGS, 1 << 30)
    assert min_kv_bytes(found, SETTINGS) == (4096 // 16 + 1) * kv_bytes_per_block(found, SETTINGS)


def test_the_draft_is_not_quantised_with_the_model() -> None:
    settings = replace(SETTINGS, quantization="fp8")
    extra_mib = memory_ledger(_with(DRAFT), GPU, settings, 0).weights_mib - memory_ledger(LARGE, GPU, settings, 0).weights_mib
    assert extra_mib == pytest.approx(weight_bytes(SMALL, SETTINGS) / 2**20, abs=1)


def test_proposed_tokens_are_verified_at_once_which_takes_logits_and_graphs() -> None:
    settings = replace(SETTINGS, max_num_seqs=1024, max_num_batched_tokens=8192)
    plain, looked_up = (memory_ledger(model, GPU, settings, 0) for model in (LARGE, _with(NGRAM)))
    assert plain.weights_mib == looked_up.weights_mib
    # 4,096 rows more of 151,936 logits of 14 bytes
    assert looked_up.activation_mib - plain.activation_mib > 7000
    assert graph_count(SETTINGS, 5) > graph_count(SETTINGS)


def test_a_recurrent_model_keeps_a_state_for_each_proposed_token() -> None:
    model = builtin().model("Qwen/Qwen3-Next-80B-A3B-Instruct")
    plain, found = (request_blocks(item, SETTINGS).state_blocks for item in (model, _with(NGRAM, model)))
    assert found == 5 * plain


def test_steps_are_those_of_an_engine_whose_proposals_are_never_accepted() -> None:
    plain, looked_up, drafted = (predict(model, GPU, SETTINGS) for model in (LARGE, _with(NGRAM), _with(DRAFT)))
    small = predict(SMALL, GPU, SETTINGS)
    assert looked_up.step_s(8, 8000, 8) == pytest.approx(plain.step_s(8 + 8 * 4, 8000, 8))
    assert drafted.step_s(1, 0, 1) == pytest.approx(plain.step_s(5, 0, 1) + 4 * small.step_s(1, 0, 1) + small.per_token_s)
    assert "as if no proposed token was accepted" in drafted.provenance


def test_a_block_that_the_draft_cannot_be_divided_over_is_refused() -> None:
    odd = replace(SMALL, name="odd", heads=6, kv_heads=3, vocab=LARGE.vocab)
    found = speculating(LARGE, DRAFT, lambda _: odd)
    with pytest.raises(UnsupportedError, match="odd on H100-SXM-80GB: tensor_parallel_size 4 does not divide"):
        memory_ledger(found, GPU, replace(SETTINGS, tensor_parallel_size=4), 0)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be a JSON object with method, model"),
        ("[" * 100_000, "is not JSON"),
        ('{"method": "ngram"}', "num_speculative_tokens: must be a whole number from 1 to 64, is None"),
        ('{"method": "ngram", "num_speculative_tokens": true}', "is True"),
        ('{"method": "ngram", "num_speculative_tokens": 1000000000}', "is 1000000000"),
        ('{"method": "eagle3", "model": "x/y", "num_speculative_tokens": 3}', "method: 'eagle3' is not counted"),
        ('{"method": ["ngram"], "num_speculative_tokens": 3}', "is not counted"),
        ('{"num_speculative_tokens": 3}', "method: None is not counted"),
        ('{"method": "ngram", "model": "x", "num_speculative_tokens": 3}', "has no draft model; leave it out"),
        ('{"method": "draft_model", "num_speculative_tokens": 3}', "model: missing"),
        ('{"model": "./draft", "num_speculative_tokens": 3}', "model: './draft' is a relative path"),
        ('{"model": "Qwen/Qwen3-0.7B", "num_speculative_tokens": 3}', "model: unknown model 'Qwen/Qwen3-0.7B'; nearest"),
        ('{"model": "meta-llama/Llama-3.2-1B", "num_speculative_tokens": 3}', "128256 tokens, that of Qwen/Qwen3-8B 151936; they must be"),
        ('{"model": "x", "num_speculative_tokens": 3, "quantization": "fp8"}', "quantization: what this key changes is not counted"),
    ],
)
def test_what_cannot_be_counted_is_refused_by_name(config: str, expected: str) -> None:
    with pytest.raises(SpeculationError) as caught:
        _with(config)
    assert expected in str(caught.value)


def test_a_draft_beside_windows_is_not_counted() -> None:
    model = builtin().model("google/gemma-3-4b-it")
    draft = replace(SMALL, vocab=model.vocab)
    with pytest.raises(SpeculationError, match="gemma-3-4b-it does not keep keys and values of all tokens in every layer"):
        speculating(model, json.dumps({"model": "x", "num_speculative_tokens": 2}), lambda _: draft)
