"""`ullage fit MODEL --prompt-tokens N`: on how many GPUs of which type a prompt fits, its KV cache, and how long it is read."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest

from profiles.catalogue import builtin
from profiles.latency.prediction import predict
from profiles.memory.coexistence import fit
from profiles.memory.kv import kv_bytes_per_block
from tests.ullage.commands import ullage
from ullage.model_fit import AskedModel, engine_settings, resident_engine
from ullage.planning.prompt import prefill_s
from ullage.prompt_fit import fit_prompt
from ullage.prompt_sites import PromptSite

LARGE, TOKENS = "llama-3.1-70b-instruct", 60_000


def test_the_numbers_are_those_of_memory_and_latency() -> None:
    [site] = fit_prompt(LARGE, TOKENS, gpu="h100").sites
    assert site.tensor_parallel_size == 4
    gpu, settings = builtin().gpu("h100"), engine_settings(dtype="auto", tensor_parallel_size=4)
    engine = resident_engine(AskedModel(LARGE, None, TOKENS + 1), settings, None)
    [resident] = fit([engine], gpu, None, 1024).residents
    assert (site.total_mib, site.memory_mib) == (resident.total_mib, gpu.memory_usable_mib)
    # 60000 tokens and one of answer in blocks of 16; one block of the pool is nobody's
    blocks = math.ceil((TOKENS + 1) / 16)
    assert (site.prompt_blocks, site.free_blocks) == (blocks, resident.kv_blocks - 1 - blocks)
    # 80 layers, keys and values of 8 / 4 heads of 128 elements of 2 bytes
    assert kv_bytes_per_block(engine.architecture, engine.settings) == 16 * 80 * 2 * 2 * 128 * 2
    assert site.prompt_kv_mib == math.ceil(blocks * 16 * 80 * 2 * 2 * 128 * 2 / 2**20)
    assert site.prefill_s == pytest.approx(prefill_s(predict(engine.architecture, gpu, engine.settings), engine.settings, TOKENS))
    assert site.usd_per_h == pytest.approx(4 * (gpu.price_usd_per_h or 0.0))


@pytest.mark.parametrize("gpu", ["h100", "b200", "l40s"])
def test_the_size_is_the_smallest_that_fits(gpu: str) -> None:
    [site] = fit_prompt(LARGE, TOKENS, gpu=gpu).sites
    assert site.tensor_parallel_size is not None
    for size in (1, 2, 4, 8):
        arguments = ("fit", LARGE, "--gpu", gpu, "--max-model-len", TOKENS + 1, "--tensor-parallel-size", size)
        assert (ullage(*arguments).code == 0) == (size >= site.tensor_parallel_size)


def test_without_a_gpu_type_every_type_is_answered() -> None:
    result = ullage("fit", LARGE, "--prompt-tokens", TOKENS)
    found = fit_prompt(LARGE, TOKENS)
    assert (result.code, result.out) == (0, str(found))
    assert [site.gpu for site in found.sites] == [gpu.name for gpu in builtin().gpus()]
    able = [site for site in found.sites if site.fits]
    model = "meta-llama/Llama-3.1-70B-Instruct (max_model_len 60001)"
    assert result.out.startswith(f"a prompt of 60000 tokens to {model} fits {len(able)} of {len(found.sites)} GPU types\n")
    for site in found.sites:
        others = [
            getattr(site, field.name) for field in fields(PromptSite) if field.name not in {"gpu", "mig_profile", "reason", "usd_per_h"}
        ]
        assert all(value is not None for value in others) if site.fits else set(others) == {None}
    reasons = {site.gpu: site.reason for site in found.sites}
    assert (reasons["A10"] or "").startswith("with 8 GPUs: ")
    assert "MiB are missing" in (reasons["A10"] or "")
    assert "  not on A10: with 8 GPUs: " in result.out
    assert "bfloat16 needs compute capability 8.0" in (reasons["T4"] or "")


def test_json_and_frame_have_the_sites() -> None:
    result = ullage("fit", "qwen3-8b", "--prompt-tokens", 30000, "--gpu", "h100", "--mig", "3g.40gb", "--json")
    document = json.loads(result.out)
    found = fit_prompt("qwen3-8b", 30000, gpu="h100", mig="3g.40gb")
    assert document == json.loads(json.dumps(found.document()))
    [site] = document["sites"]
    assert (site["mig_profile"], site["tensor_parallel_size"], site["usd_per_h"]) == ("3g.40gb", 1, None)
    frame = found.to_frame()
    assert list(frame.columns) == [field.name for field in fields(PromptSite)]
    assert frame["prefill_s"][0] == site["prefill_s"]
    assert "H100-SXM-80GB MIG 3g.40gb" in str(found)
    assert repr(found).startswith("<PromptAnswer: a prompt of 30000 tokens to Qwen/Qwen3-8B")


def test_a_slice_reads_slower_than_the_whole() -> None:
    [whole], [part] = (fit_prompt("qwen3-8b", 30000, gpu="h100", mig=mig).sites for mig in (None, "3g.40gb"))
    assert whole.prefill_s is not None
    assert part.prefill_s is not None
    assert part.prefill_s > whole.prefill_s


def test_no_is_exit_code_2() -> None:
    result = ullage("fit", LARGE, "--prompt-tokens", TOKENS, "--gpu", "a10")
    assert result.code == 2
    assert "fits 0 of 1 GPU type\n  not on A10: with 8 GPUs: " in result.out


def test_an_encoder_has_no_cache_and_no_answer() -> None:
    found = fit_prompt("bge-m3", 6000, gpu="h100")
    [site] = found.sites
    assert (found.max_model_len, site.prompt_blocks, site.prompt_kv_mib, site.free_blocks) == (6000, 0, 0, 0)
    assert "no KV cache" in str(found)


def test_a_decoder_that_embeds_needs_no_token_of_answer() -> None:
    assert fit_prompt("qwen3-8b", 4096, gpu="h100", task="embed").max_model_len == 4096
    assert fit_prompt("qwen3-8b", 4096, gpu="h100").max_model_len == 4097


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("qwen3-8b", "--prompt-tokens", "60000"),
            "Qwen/Qwen3-8B: a prompt of 60000 tokens and one of answer need 60001 tokens of context",
        ),
        (("bge-m3", "--prompt-tokens", "60000"), "a prompt of 60000 tokens needs 60000 tokens of context"),
        (("qwen3-8b", "--prompt-tokens", "100", "--max-model-len", "50"), "--max-model-len 50: a prompt of 100 tokens and one of answer"),
        (("qwen3-8b", "--prompt-tokens", "100", "--mig", "3g.40gb"), "--mig names a slice of one GPU type; give --gpu too"),
        (("qwen3-8b", "--prompt-tokens", "100", "--tensor-parallel-size", "2"), "finds the tensor-parallel size by itself"),
        (
            ("qwen3-8b", "--prompt-tokens", "100", "--max-num-seqs", "2", "--max-num-seqs", "3"),
            "--max-num-seqs is given 2 times for 1 model",
        ),
        (("no-such-model", "--prompt-tokens", "100"), "no-such-model"),
        (("none.json", "--prompt-tokens", "100"), "none.json: there is no such file; `ullage plan"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    result = ullage("fit", *arguments)
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert words in result.err


def test_a_longer_max_model_len_leaves_the_prompt_as_it_is() -> None:
    [short], [longer] = (fit_prompt("qwen3-8b", 1000, gpu="h100", max_model_len=length).sites for length in (None, 32768))
    assert short.prompt_blocks == longer.prompt_blocks == math.ceil(1001 / 16)


def test_a_file_is_a_plan_and_a_folder_a_model(work: Path) -> None:
    assert ullage("fit", "plan.json", "--prompt-tokens", 100).out.startswith("a prompt of 100 tokens fits 3 of 3 replicas\n")
    with pytest.raises(ValueError, match="a prompt of 0 tokens is none"):
        fit_prompt("qwen3-8b", 0)
