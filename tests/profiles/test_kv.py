"""KV arithmetic against the values that vLLM's own functions gave (fixtures/kv_vllm_functions.txt) and against its start-up logs."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.memory.kv import kv_blocks, kv_bytes_for_tokens, kv_bytes_per_block, kv_bytes_per_token, kv_pool_tokens, min_kv_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings, UnsupportedError

FIXTURES = Path(__file__).parent / "fixtures"
GIB_8 = 8 << 30
GQA = replace(builtin().model("meta-llama/Llama-3.1-8B"), layers=32, kv_heads=8, head_dim=128)
MLA = builtin().model("deepseek-ai/DeepSeek-V3")
MIXED = replace(GQA, layers=48, sliding_layers=40, sliding_window_tokens=1024)
ALL_SLIDING = replace(GQA, sliding_layers=32, sliding_window_tokens=4096)
MODELS = {
    "GQA 8GiB": GQA,
    "GQA fp8 8GiB": GQA,
    "GQA 8GiB L32768": GQA,
    "MLA(512+64) 61 layers 8GiB": MLA,
    "MLA 8GiB L32768": MLA,
    "gemma-like 5:1 sw1024 8GiB L2048": MIXED,
    "gemma-like 8GiB L32768": MIXED,
    "mistral-like sw4096 8GiB L32768": ALL_SLIDING,
}


def expected() -> dict[str, dict[str, float]]:
    """Name of the case -> numbers that vLLM's functions returned."""
    cases = {}
    for line in (FIXTURES / "kv_vllm_functions.txt").read_text().splitlines():
        found = re.match(r"(.+?): mem=(\d+) .* blocks=(\d+) bytes/block=(\d+) tokens=(\d+) conc=([\d.]+)", line)
        if found:
            numbers = [float(value) for value in found.groups()[1:]]
            cases[found[1]] = dict(zip(("mem", "blocks", "block_bytes", "tokens", "concurrency"), numbers, strict=True))
    return cases


def settings_of(case: str) -> EngineSettings:
    return EngineSettings(kv_cache_dtype="fp8" if "fp8" in case else "auto", max_model_len=32768 if "L32768" in case else 2048)


@pytest.mark.parametrize("case", sorted(MODELS))
def test_blocks_and_tokens_are_those_of_vllm(case: str) -> None:
    numbers, model, settings = expected()[case], MODELS[case], settings_of(case)
    assert kv_bytes_per_block(model, settings) == numbers["block_bytes"]
    assert kv_blocks(model, settings, int(numbers["mem"])) == numbers["blocks"]
    assert kv_pool_tokens(model, settings, int(numbers["mem"])) == numbers["tokens"]
    assert kv_pool_tokens(model, settings, int(numbers["mem"])) / settings.max_model_len == pytest.approx(numbers["concurrency"], abs=1e-3)


def test_the_minimum_is_exact_to_the_byte() -> None:
    settings = EngineSettings(max_model_len=2048)
    numbers = expected()["GQA exact min"]
    assert min_kv_bytes(GQA, settings) == numbers["mem"]
    assert kv_pool_tokens(GQA, settings, min_kv_bytes(GQA, settings)) == numbers["tokens"]


def test_latent_attention_is_not_divided_by_tensor_parallelism() -> None:
    one, eight = EngineSettings(), EngineSettings(tensor_parallel_size=8)
    assert kv_bytes_per_token(MLA, one) == kv_bytes_per_token(MLA, eight) == 70272


def test_kv_heads_are_divided_and_then_replicated() -> None:
    per_token = [kv_bytes_per_token(GQA, EngineSettings(tensor_parallel_size=size)) for size in (1, 2, 8, 16)]
    assert per_token == [131072, 65536, 16384, 16384]


@pytest.mark.parametrize("layers", [25, 41, 61, 80])
def test_an_uneven_pipeline_counts_the_layers_of_its_largest_stage(layers: int) -> None:
    model = replace(GQA, layers=layers)
    for stages in range(1, layers + 1):
        settings = EngineSettings(pipeline_parallel_size=stages)
        assert kv_bytes_per_token(model, settings) == -(-layers // stages) * 4096
        assert kv_bytes_per_block(model, settings) == -(-layers // stages) * 4096 * 16


def test_fp8_halves_the_cache_and_unknown_formats_are_refused() -> None:
    assert kv_bytes_per_token(GQA, EngineSettings(kv_cache_dtype="fp8")) == 65536
    with pytest.raises(UnsupportedError, match="turboquant_3bit_nc"):
        kv_bytes_per_token(GQA, EngineSettings(kv_cache_dtype="turboquant_3bit_nc"))


def test_groups_take_the_larger_count_when_the_counts_are_close() -> None:
    # 13 full and 12 sliding layers become two groups of 13 (comment in vLLM's _get_kv_cache_groups_uniform_page_size).
    close = replace(GQA, layers=25, sliding_layers=12, sliding_window_tokens=128)
    assert kv_bytes_per_block(close, EngineSettings()) == 13 * 16 * 4096


def log_rows() -> list[dict[str, str]]:
    with (FIXTURES / "vllm_memory_logs.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["pp"] == "1" and row["kv_blocks"]]


@pytest.mark.parametrize("row", log_rows(), ids=lambda row: f"{row['id']}-{row['model']}")
def test_blocks_agree_with_start_up_logs(row: dict[str, str]) -> None:
    model = builtin().model(row["model"])
    settings = EngineSettings(
        dtype=row["dtype"],
        kv_cache_dtype=row["kv_dtype"],
        tensor_parallel_size=int(row["tp"]),
        max_model_len=int(row["max_model_len"]),
        max_num_batched_tokens=int(row["max_num_batched_tokens"]),
    )
    # The logs round the pool to 0.01 GiB.
    assert kv_blocks(model, settings, int(float(row["kv_gib"]) * (1 << 30))) == pytest.approx(int(row["kv_blocks"]), rel=2e-4)


MODEL_CHOICES = st.sampled_from([GQA, MLA, MIXED, ALL_SLIDING])


@given(model=MODEL_CHOICES, tokens=st.integers(1, 10**6), length=st.integers(1, 131072))
def test_a_pool_sized_for_tokens_holds_them(model: Architecture, tokens: int, length: int) -> None:
    settings = EngineSettings(max_model_len=length)
    size_bytes = kv_bytes_for_tokens(model, settings, tokens)
    assert size_bytes % kv_bytes_per_block(model, settings) == 0
    assert size_bytes >= tokens * kv_bytes_per_token(model, settings)
    assert kv_bytes_for_tokens(model, settings, tokens + 1) >= size_bytes
    assert kv_bytes_for_tokens(model, settings, length) >= min_kv_bytes(model, settings)


@given(model=MODEL_CHOICES, length=st.integers(1, 131072))
def test_the_minimum_holds_one_longest_request_and_not_a_block_less(model: Architecture, length: int) -> None:
    settings = EngineSettings(max_model_len=length)
    least_bytes = min_kv_bytes(model, settings)
    assert kv_pool_tokens(model, settings, least_bytes) >= length
    assert kv_pool_tokens(model, settings, least_bytes - 2 * kv_bytes_per_block(model, settings)) < length
