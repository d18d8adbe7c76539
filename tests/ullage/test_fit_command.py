"""`ullage fit` and `ullage profile calibrate` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from profiles.memory.engine_constants import constants_for, read_constants
from profiles.store.measurements import Measurements, StartPoint
from profiles.store.store_folder import write
from tests.profiles.points import measured
from tests.ullage.commands import ullage

LOGS = Path(__file__).parents[1] / "profiles" / "fixtures" / "vllm_logs"
CONFIG = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def test_two_models_that_live_together() -> None:
    result = ullage("fit", "qwen3-8b", "llama-3.1-8b-instruct", "--gpu", "h100", "--max-model-len", "8192")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("2 models on one H100-SXM-80GB: fit together\n")
    assert "vllm serve meta-llama/Llama-3.1-8B-Instruct --dtype auto" in result.out
    assert "where the numbers come from:" in result.out


def test_models_that_do_not_fit_answer_with_exit_code_2_and_no_flags() -> None:
    result = ullage("fit", "qwen3-32b", "--gpu", "a100-sxm-40gb")
    assert result.code == 2
    assert "MiB are missing" in result.out
    assert "vllm serve" not in result.out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--max-model-len", "0"), "max_model_len is 0, it must be at least 1"),
        (("--max-num-seqs", "0"), "max_num_seqs is 0, it must be at least 1"),
        (("--pipeline-parallel", "99"), "pipeline_parallel_size is 99, it must be between 1 and the number of layers 36"),
    ],
)
def test_limits_that_cannot_be_get_the_reason_and_nothing_is_left_over(options: tuple[str, str], reason: str) -> None:
    result = ullage("fit", "qwen3-8b", "--gpu", "h100", *options)
    assert result.code == 2
    assert reason in result.out
    assert "left when" not in result.out


@pytest.mark.parametrize(
    ("arguments", "proposed"),
    [
        # Qwen3-32B: 61 GiB of weights, half of it in fp8; A100 does not multiply fp8
        (("qwen3-32b", "--gpu", "a100-sxm-40gb"), [((), 2)]),
        (("qwen3-32b", "--gpu", "l40s"), [(("Qwen/Qwen3-32B",), 1), ((), 2)]),
        (("qwen3-32b", "--gpu", "h100", "--mig", "3g.40gb"), [(("Qwen/Qwen3-32B",), 1)]),
        # what needs as many GPUs with fp8 as without is told once
        (("llama-3.1-8b", "--gpu", "l4", "--max-model-len", "100000"), [((), 2)]),
        (("llama-3.1-70b", "qwen3-8b", "--gpu", "h100"), [(("meta-llama/Llama-3.1-70B", "Qwen/Qwen3-8B"), 2), ((), 4)]),
        (("llama-3.1-405b", "--gpu", "a100"), []),
        # its own fp8 is all there is
        (("Qwen/Qwen3-32B-FP8", "--gpu", "l4"), [((), 4)]),
        (("qwen3-8b", "--gpu", "h100"), []),
    ],
)
def test_what_would_fit_is_proposed(arguments: tuple[str, ...], proposed: list[tuple[tuple[str, ...], int]]) -> None:
    answer = json.loads(ullage("fit", *arguments, "--json").out)
    assert [(tuple(item["quantized"]), item["tensor_parallel_size"]) for item in answer["proposals"]] == proposed
    text = ullage("fit", *arguments).out
    assert ("what would fit:" in text) == bool(proposed)
    for item in answer["proposals"]:
        # as proposed they do fit, with what is said to be left
        again = ("--tensor-parallel-size", item["tensor_parallel_size"], *(("--quantization", "fp8") if item["quantized"] else ()))
        found = json.loads(ullage("fit", *arguments, *again, "--json").out)
        assert (found["fits"], found["left_mib"]) == (True, item["left_mib"])


def test_a_proposal_is_the_smallest() -> None:
    sizes = {size: ullage("fit", "llama-3.1-405b", "--gpu", "h200", "--tensor-parallel-size", size).code for size in (1, 2, 4, 8)}
    [*_, last] = json.loads(ullage("fit", "llama-3.1-405b", "--gpu", "h200", "--json").out)["proposals"]
    assert last["tensor_parallel_size"] == min(size for size, code in sizes.items() if code == 0) == 8


def test_an_old_version_is_given_no_flag_it_lacks_and_no_neighbour() -> None:
    alone = ullage("fit", "qwen3-8b", "--gpu", "h100", "--engine-version", "0.6.4")
    assert alone.code == 0
    assert "--gpu-memory-utilization" in alone.out
    assert "--kv-cache-memory-bytes" not in alone.out
    both = ullage("fit", "qwen3-8b", "qwen3-0.6b", "--gpu", "h100", "--engine-version", "0.6.4")
    assert both.code == 2
    assert "vLLM 0.6.4 cannot be given the size of its KV cache in bytes" in both.out
    assert "counts what its neighbours hold of the GPU's memory as its own" in both.out
    sliced = ullage("fit", "qwen3-0.6b", "--gpu", "h100", "--mig", "1g.10gb", "--engine-version", "0.20.0")
    assert sliced.code == 2
    assert "vLLM 0.20.0 crashes when its device is named by UUID" in sliced.out


def test_models_need_a_gpu_type() -> None:
    result = ullage("fit", "qwen3-8b")
    assert result.code == 1
    assert "give --gpu: the GPU type that the models should share" in result.err


def test_json_has_the_whole_answer() -> None:
    result = ullage("fit", "qwen3-0.6b", "--gpu", "a100-sxm-80gb", "--mig", "1g.10gb", "--json")
    answer = json.loads(result.out)
    assert (result.code, answer["fits"], answer["mig_profile"]) == (0, True, "1g.10gb")
    assert answer["residents"][0]["lines"][0]["name"] == "weights"


def test_limits_are_given_once_or_per_model() -> None:
    each = ullage("fit", "qwen3-8b", "qwen3-4b", "--gpu", "h100", "--max-model-len", "4096", "--max-model-len", "8192", "--json")
    flags = [resident["flags"] for resident in json.loads(each.out)["residents"]]
    assert ["4096" in flags[0], "8192" in flags[1]] == [True, True]
    wrong = ullage("fit", "qwen3-8b", "--gpu", "h100", "--max-model-len", "1", "--max-model-len", "2")
    assert (wrong.code, wrong.err) == (
        1,
        "error: --max-model-len is given 2 times for 1 models; give it once, or once per model in their order\n",
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fit", "nope", "--gpu", "h100"), "unknown model 'nope'"),
        (("fit", "qwen3-8b", "--gpu", "h1000"), "unknown GPU type"),
        (("fit", "qwen3-8b", "--gpu", "t4", "--mig", "1g"), "has no MIG profile '1g'"),
        (("fit", "qwen3-8b", "--gpu", "h100", "--constants", "missing.yaml"), "missing.yaml: there is no such file"),
        (("profile", "calibrate", "--gpu", "h100"), "nothing to fit"),
        (("profile", "calibrate", "--gpu", "h100", "--log", "missing.log"), "missing.log: there is no such file"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: tuple[str, ...], expected: str) -> None:
    result = ullage(*arguments)
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert expected in result.err


def test_impossible_requests_answer_with_the_reason() -> None:
    result = ullage("fit", "qwen3-8b", "--gpu", "h100", "--tensor-parallel-size", "3")
    assert result.code == 2
    assert "tensor_parallel_size 3 does not divide the number of attention heads 32" in result.out
    # the older spelling is still taken, and no longer shown
    assert ullage("fit", "qwen3-8b", "--gpu", "h100", "--tensor-parallel", "3").out == result.out
    assert "--tensor-parallel " not in ullage("fit", "--help").out


def test_a_folder_takes_its_weights_from_the_headers_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    header = json.dumps({"model.layers.0.w": {"dtype": "BF16", "shape": [1 << 20, 64], "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    result = ullage("fit", str(folder), "--gpu", "h100", "--json")
    weights = json.loads(result.out)["residents"][0]["lines"][0]
    assert weights["provenance"] == "headers of the safetensors files"
    assert weights["memory_mib"] == pytest.approx(128, abs=3)
    (folder / "model.safetensors").write_bytes(b"short")
    broken = ullage("fit", str(folder), "--gpu", "h100")
    assert broken.code == 1
    assert "model.safetensors: header: the file has 5 bytes" in broken.err


def test_logs_become_constants_that_fit_takes(tmp_path: Path) -> None:
    logs = [argument for path in sorted(LOGS.iterdir()) if "FAILED" not in path.name for argument in ("--log", str(path))]
    output = tmp_path / "constants.yaml"
    result = ullage("profile", "calibrate", *logs, "--gpu", "h100", "-o", str(output))
    assert result.code == 0
    assert "KV pool, mean error: " in result.out
    fitted = read_constants(str(output), output.read_text(encoding="utf-8"))
    assert fitted.kind == "fitted"
    assert fitted.sampler_bytes_per_logit == pytest.approx(constants_for("0.19.0").sampler_bytes_per_logit, abs=0.3)
    used = ullage("fit", "qwen3-8b", "--gpu", "h100", "--constants", str(output))
    assert f"fitted, vllm 0.19.0 to before 0.21.0: {len(logs) // 2} start-ups" in used.out


def test_starts_of_a_store_raise_the_ledger(tmp_path: Path) -> None:
    start = StartPoint(model="Qwen/Qwen3-8B", gpu="H100-SXM-80GB", non_torch_mib=2000.0, provenance=measured(engine_version="0.32.0"))
    write(tmp_path, Measurements(starts=(start,)))
    shipped, raised = (ullage("fit", "qwen3-8b", "--gpu", "h100", "--json", *store) for store in ((), ("--store", tmp_path)))
    lines = [json.loads(result.out)["residents"][0]["lines"][1] for result in (shipped, raised)]
    assert lines[1]["memory_mib"] - lines[0]["memory_mib"] == pytest.approx(2000 - 472, abs=1)
    assert lines[1]["provenance"].startswith("measured, vllm 0.32.0")
    assert ullage("fit", "qwen3-8b", "--gpu", "h100", "--engine-version", "0.31.0", "--store", tmp_path).code == 0
    both = ullage("fit", "qwen3-8b", "--gpu", "h100", "--store", tmp_path, "--constants", tmp_path / "none.yaml")
    assert (both.code, "contradict each other" in both.err) == (1, True)


def test_a_failed_start_tells_why_and_what_to_do() -> None:
    path = next(LOGS.glob("codellama-codellama-34b*"))
    result = ullage("profile", "calibrate", "--log", str(path), "--gpu", "h100")
    assert result.code == 1
    assert "(free_memory)" in result.err
    assert "stop it or wait" in result.err


def test_a_start_that_failed_late_counts_and_its_cause_is_said() -> None:
    path = next(LOGS.glob("openai-gpt-oss-20b*FAILED*"))
    result = ullage("profile", "calibrate", "--log", str(path), "--gpu", "h100")
    assert result.code == 0
    assert "line 1034: the start failed (out_of_memory): torch.OutOfMemoryError: CUDA out of memory" in result.err
    assert "Values that were logged before the failure still count." in result.err
    assert read_constants("out", result.out).from_version == "0.19.0"


def test_sequences_that_nobody_stated_are_lowered_to_the_blocks_of_the_pool_as_plan_does() -> None:
    """256 states of Qwen3.6-27B are 12 GiB, which are not left beside Qwen3-8B."""
    asked = ("fit", "qwen/qwen3.6-27b", "qwen3-8b", "--gpu", "h100", "--max-model-len", "8192")
    answer = json.loads(ullage(*asked, "--json").out)
    assert answer["fits"]
    hybrid, dense = answer["residents"]
    assert hybrid["lowered_max_num_seqs"] == hybrid["kv_blocks"] < 256
    assert dense["lowered_max_num_seqs"] is None
    for resident, sequences in ((hybrid, hybrid["kv_blocks"]), (dense, 256)):
        assert resident["flags"][resident["flags"].index("--max-num-seqs") + 1] == str(sequences)
    result = ullage(*asked)
    assert result.code == 0
    assert (
        f"  --max-num-seqs is lowered from 256 to {hybrid['kv_blocks']}, the blocks of the pool: each sequence takes one block"
        in result.out
    )
    # the flags are an answer: stated as they are, they fit
    again = json.loads(ullage(*asked, "--max-num-seqs", hybrid["kv_blocks"], "--max-num-seqs", "256", "--json").out)
    assert (again["fits"], again["residents"][0]["lowered_max_num_seqs"]) == (True, None)
    assert hybrid["largest_max_num_seqs"] >= hybrid["kv_blocks"]
    # what is stated stays
    stated = ullage(*asked, "--max-num-seqs", "256")
    assert stated.code == 2
    assert "lowered" not in stated.out


def test_sequences_are_not_lowered_where_there_is_room_for_all() -> None:
    [resident] = json.loads(ullage("fit", "qwen/qwen3.6-27b", "--gpu", "h100", "--max-model-len", "8192", "--json").out)["residents"]
    assert (resident["lowered_max_num_seqs"], resident["kv_blocks"] >= 256) == (None, True)


def test_an_encoder_has_no_pool_and_the_flags_of_pooling_models() -> None:
    result = ullage("fit", "bge-m3", "--gpu", "l4")
    assert (result.code, result.err) == (0, "")
    assert "no KV pool: an encoder has no KV cache" in result.out
    (command,) = (line for line in result.out.splitlines() if "vllm serve" in line)
    assert "--max-num-batched-tokens 8192 --kv-cache-dtype auto --runner pooling --gpu-memory-utilization" in command
    assert "--kv-cache-memory-bytes" not in command


def test_what_is_left_goes_to_those_who_have_a_pool() -> None:
    both, alone = (json.loads(ullage("fit", *names, "--gpu", "l4", "--json").out) for names in (["bge-m3", "qwen3-0.6b"], ["qwen3-0.6b"]))
    encoder, decoder = both["residents"]
    assert (encoder["kv_bytes"], encoder["kv_blocks"]) == (0, 0)
    taken_mib = alone["residents"][0]["kv_bytes"] // 2**20 - decoder["kv_bytes"] // 2**20
    assert taken_mib == pytest.approx(encoder["total_mib"], rel=0.2)


def test_the_task_of_a_decoder_is_asked_for_and_that_of_an_encoder_is_known() -> None:
    result = ullage("fit", "qwen3-reranker-0.6b", "--task", "embed", "--gpu", "l4", "--json")
    flags = json.loads(result.out)["residents"][0]["flags"]
    assert (flags[flags.index("--runner") + 1], "Qwen3ForSequenceClassification" in flags[flags.index("--hf-overrides") + 1]) == (
        "pooling",
        True,
    )
    refused = ullage("fit", "bge-m3", "--task", "generate", "--gpu", "l4")
    assert (refused.code, "bge-m3 makes embeddings or scores and writes no text" in refused.err) == (1, True)
    short = ullage("fit", "bge-m3", "--gpu", "l4", "--max-num-batched-tokens", "1000")
    assert (short.code, "a prompt of max_model_len 8192 tokens is embedded in one step, which holds" in short.out) == (2, True)
