"""What a step asks of a GPU, against arithmetic by hand."""

from dataclasses import replace

import pytest

from profiles.catalogue import builtin
from profiles.latency.work import kind, step_work
from profiles.settings import EngineSettings

SETTINGS = EngineSettings()
CATALOGUE = builtin()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("meta-llama/Llama-3.1-8B", "dense"),
        ("Qwen/Qwen3-30B-A3B", "moe"),
        ("deepseek-ai/DeepSeek-V3", "moe+mla"),
        ("Qwen/Qwen3.5-397B-A17B", "moe+recurrent"),
        ("google/gemma-2-9b-it", "windows"),
        ("openai/gpt-oss-20b", "moe+windows"),
    ],
)
def test_kinds(model: str, expected: str) -> None:
    assert kind(CATALOGUE.model(model)) == expected


def test_a_dense_model() -> None:
    llama = CATALOGUE.model("meta-llama/Llama-3.1-8B")
    work = step_work(llama, SETTINGS)
    # 8.03 billion parameters less the input embedding of 128256 x 4096, 2 bytes each
    assert work.weights_bytes == pytest.approx((8.03e9 - 128_256 * 4096) * 2, rel=0.005)
    assert work.expert_bytes == 0
    # 32 layers x 8 KV heads x 128 x (K, V) x 2 bytes
    assert work.kv_bytes == 131_072
    assert work.pair_flops == 32 * 4 * 32 * 128
    assert work.reduced_bytes == work.all_reduces == work.sequence_bytes == work.window_flops == 0
    two = step_work(llama, replace(SETTINGS, tensor_parallel_size=2))
    assert two.all_reduces == 64
    # ring over two: all of 4096 x 2 bytes once
    assert two.reduced_bytes == 64 * 4096 * 2
    assert two.token_flops == work.token_flops / 2


def test_experts_are_told_from_what_every_token_passes() -> None:
    qwen = CATALOGUE.model("Qwen/Qwen3-30B-A3B")
    work = step_work(qwen, SETTINGS)
    # 48 layers x 128 experts x 3 matrices of 2048 x 768, 2 bytes each; routers go with them
    assert work.expert_bytes == pytest.approx(48 * 128 * 3 * 2048 * 768 * 2, rel=0.001)
    assert work.weights_bytes + work.expert_bytes == pytest.approx((30.5e9 - qwen.vocab * qwen.hidden) * 2, rel=0.01)
    assert work.token_flops < 2 * 3.4e9


def test_absorbed_latent_attention() -> None:
    work = step_work(CATALOGUE.model("deepseek-ai/DeepSeek-V3"), replace(SETTINGS, tensor_parallel_size=8))
    # 61 layers x 576 elements x 2 bytes, on every rank
    assert work.kv_bytes == 61 * 576 * 2
    assert work.kv_flops == 61 * 2 * 16 * (512 + 512 + 64)
    assert work.pair_flops == 61 * 2 * 16 * (192 + 128)


def test_short_windows_cost_per_request_and_long_ones_per_token() -> None:
    gpt_oss = step_work(CATALOGUE.model("openai/gpt-oss-20b"), SETTINGS)
    gemma = CATALOGUE.model("google/gemma-2-9b-it")
    assert gpt_oss.sequence_bytes > 0
    assert gpt_oss.window_flops > 0
    long = step_work(gemma, SETTINGS)
    assert long.sequence_bytes == long.window_flops == 0
