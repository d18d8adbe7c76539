"""The least pool of models with recurrent states: a block for every sequence, or vLLM does not start."""

from dataclasses import replace

import pytest

from profiles.catalogue import builtin
from profiles.memory.coexistence import ResidentEngine, fit
from profiles.memory.kv import kv_bytes_per_block, min_kv_bytes
from profiles.memory.pool import largest_max_num_seqs, least_kv_bytes, least_pool_holds, pool_reason
from profiles.settings import EngineSettings

HYBRID = builtin().model("Qwen/Qwen3.6-27B")
DENSE = builtin().model("Qwen/Qwen3-8B")
SETTINGS = EngineSettings(max_model_len=32768, max_num_seqs=256)
# Groups of 16 layers. A state is 48 x 128 x 128 x 4 bytes and 10,240 x 3 x 2 of the convolution, 3,207,168 bytes; a token takes 4,096, so a
# block holds 784 tokens.
BLOCK_BYTES = 16 * 784 * 4096


@pytest.mark.parametrize("name", ["Qwen/Qwen3.6-27B", "Qwen/Qwen3-Next-80B-A3B-Instruct", "nvidia/Nemotron-H-56B-Base-8K"])
def test_every_sequence_takes_a_block(name: str) -> None:
    model = builtin().model(name)
    settings = replace(SETTINGS, max_model_len=8192)
    assert least_kv_bytes(model, settings) == 256 * kv_bytes_per_block(model, settings) > min_kv_bytes(model, settings)


def test_the_least_pool_in_bytes() -> None:
    assert kv_bytes_per_block(HYBRID, SETTINGS) == BLOCK_BYTES
    assert least_kv_bytes(HYBRID, SETTINGS) == 256 * BLOCK_BYTES
    # One request: 42 blocks of 784 tokens, three of states, the null block
    assert least_kv_bytes(HYBRID, replace(SETTINGS, max_num_seqs=46)) == 46 * BLOCK_BYTES
    assert least_kv_bytes(HYBRID, replace(SETTINGS, max_num_seqs=8)) == 46 * BLOCK_BYTES == min_kv_bytes(HYBRID, SETTINGS)


@pytest.mark.parametrize(
    ("kv_bytes", "sequences"), [(64 * BLOCK_BYTES, 64), (65 * BLOCK_BYTES - 1, 64), (256 * BLOCK_BYTES, 256), (300 * BLOCK_BYTES, 256)]
)
def test_a_pool_allows_as_many_sequences_as_it_has_blocks(kv_bytes: int, sequences: int) -> None:
    assert largest_max_num_seqs(HYBRID, SETTINGS, kv_bytes) == sequences


@pytest.mark.parametrize(
    ("settings", "exempt"),
    [
        (replace(SETTINGS, enforce_eager=True), True),
        (replace(SETTINGS, engine_version="0.18.1"), True),
        (replace(SETTINGS, engine_version="0.9.2"), True),
        (replace(SETTINGS, engine_version="0.19.0"), False),
        (replace(SETTINGS, engine_version="0.32.0"), False),
    ],
)
def test_eager_engines_and_versions_before_0_19_are_exempt(settings: EngineSettings, exempt: bool) -> None:
    assert (least_kv_bytes(HYBRID, settings) == min_kv_bytes(HYBRID, settings)) == exempt
    assert largest_max_num_seqs(HYBRID, settings, 64 * BLOCK_BYTES) == (256 if exempt else 64)


def test_models_without_states_are_exempt() -> None:
    assert least_kv_bytes(DENSE, SETTINGS) == min_kv_bytes(DENSE, SETTINGS)
    assert largest_max_num_seqs(DENSE, SETTINGS, 0) == 256


def test_reasons_name_what_is_missing() -> None:
    assert pool_reason(HYBRID, SETTINGS, 256 * BLOCK_BYTES) is None
    assert pool_reason(HYBRID, SETTINGS, 64 * BLOCK_BYTES) == (
        f"max_num_seqs 256 is more than the 64 blocks of a KV pool of {64 * BLOCK_BYTES} bytes, and each sequence takes a block with its "
        f"recurrent state; lower max_num_seqs to 64, or give the pool {256 * BLOCK_BYTES} bytes"
    )
    assert "cannot hold one request of 32768 tokens" in (pool_reason(HYBRID, SETTINGS, BLOCK_BYTES) or "")
    assert least_pool_holds(HYBRID, SETTINGS) == "states of 256 sequences (max_num_seqs)"
    assert least_pool_holds(HYBRID, replace(SETTINGS, max_num_seqs=8)) == "one request of 32768 tokens"


def test_fit_gives_a_hybrid_a_block_for_every_sequence() -> None:
    gpu = builtin().gpu("H100")
    settings = replace(SETTINGS, max_num_batched_tokens=8192, async_scheduling=True)
    (resident,) = fit([ResidentEngine("q36", HYBRID, settings)], gpu, None, 1024).residents
    assert resident.min_kv_bytes == 256 * BLOCK_BYTES
    assert resident.kv_blocks >= 256
    most = resident.largest_max_num_seqs
    assert fit([ResidentEngine("q36", HYBRID, replace(settings, max_num_seqs=most))], gpu, None, 1024).fits
    assert not fit([ResidentEngine("q36", HYBRID, replace(settings, max_num_seqs=most + 1))], gpu, None, 1024).fits
