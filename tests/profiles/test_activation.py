"""The terms of the memory model against logged starts, and that each stays what it says for settings nobody logged."""

import csv
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.fields import FieldError
from profiles.memory.engine_constants import constants_for, constants_text, read_constants
from profiles.memory.ledger import graph_count, kv_pool_bytes, memory_ledger, memory_parts, stage_parts
from profiles.pipeline import stages
from profiles.settings import EngineSettings

CATALOGUE = builtin()
H100 = CATALOGUE.gpu("H100-SXM-80GB")
LLAMA = CATALOGUE.model("meta-llama/Llama-3.1-8B")
GIB = 1 << 30
FULL = EngineSettings(engine_version="0.19.0", max_num_seqs=1024, max_num_batched_tokens=8192)


def rows() -> list[dict[str, str]]:
    with (Path(__file__).parent / "fixtures" / "vllm_memory_logs.csv").open() as file:
        return list(csv.DictReader(file))


def settings_of(row: dict[str, str]) -> EngineSettings:
    return replace(
        FULL,
        dtype=row["dtype"],
        kv_cache_dtype=row["kv_dtype"],
        tensor_parallel_size=int(row["tp"]),
        pipeline_parallel_size=int(row["pp"]),
        max_model_len=int(row["max_model_len"]),
    )


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['id']}-{row['model']}")
def test_the_activation_peak_is_the_logged_one(row: dict[str, str]) -> None:
    parts = stage_parts(CATALOGUE.model(row["model"]), H100, settings_of(row))[0]
    assert parts.activation_bytes / GIB == pytest.approx(float(row["activation_gib"]), abs=0.06)


def test_the_pool_is_the_logged_one_given_the_logged_weights() -> None:
    errors = []
    for row in rows():
        constants = constants_for("0.19.0")
        parts = replace(
            stage_parts(CATALOGUE.model(row["model"]), H100, settings_of(row))[0], weights_bytes=float(row["weights_gib"]) * GIB
        )
        predicted_bytes = kv_pool_bytes(parts, float(row["gpu_total_gib"]) * GIB, float(row["gpu_memory_utilization"]), constants)
        errors.append(abs(predicted_bytes / GIB / float(row["kv_gib"]) - 1))
    assert fmean(errors) < 0.001
    assert max(errors) < 0.004


def test_a_stage_without_the_output_head_does_not_sample() -> None:
    first, last = stage_parts(LLAMA, H100, replace(FULL, pipeline_parallel_size=2))
    assert first.activation_bytes < last.activation_bytes
    # Logged on both stages: 7.51 GiB.
    assert first.weights_bytes / GIB == pytest.approx(7.51, abs=0.01)


@pytest.mark.parametrize(
    ("layers", "size", "expected"), [(32, 2, (16, 16)), (61, 4, (15, 15, 16, 15)), (30, 4, (7, 8, 8, 7)), (5, 5, (1,) * 5)]
)
def test_layers_are_divided_as_vllm_does(layers: int, size: int, expected: tuple[int, ...]) -> None:
    found = stages(replace(LLAMA, layers=layers), EngineSettings(pipeline_parallel_size=size))
    assert tuple(stage.layers for stage in found) == expected
    assert (found[0].first, found[-1].last) == (True, True)


@given(layers=st.integers(1, 128), size=st.integers(1, 16))
def test_no_layer_is_lost_and_no_stage_is_much_larger(layers: int, size: int) -> None:
    counts = [stage.layers for stage in stages(replace(LLAMA, layers=layers), EngineSettings(pipeline_parallel_size=min(size, layers)))]
    assert sum(counts) == layers
    assert max(counts) - min(counts) <= 1


def test_the_version_decides() -> None:
    # Qwen3-14B logged 5.64 GiB on 0.16 and 2.23 on 0.17 (llm-d-planner pull request 205).
    qwen = CATALOGUE.model("Qwen/Qwen3-14B")
    old, new = (memory_parts(qwen, H100, replace(FULL, engine_version=version)).activation_bytes / GIB for version in ("0.16.0", "0.17.0"))
    assert old == pytest.approx(5.64, abs=0.02)
    assert new == pytest.approx(2.23, abs=0.02)
    # Pools of starts with 256 sequences on 0.6 to 0.8, whose logs name 1.19 GiB for Llama-3.1-8B.
    early = replace(FULL, engine_version="0.6.6", max_num_seqs=256, max_num_batched_tokens=512)
    assert memory_parts(LLAMA, H100, early).activation_bytes / GIB == pytest.approx(1.19, abs=0.05)


def test_graphs_count_inside_the_budget_since_0_21() -> None:
    for version, inside in (("0.20.1", False), ("0.21.0", True), ("0.33.0", True)):
        assert constants_for(version).graphs_inside_budget is inside
    parts = memory_parts(LLAMA, H100, FULL)
    pools = [kv_pool_bytes(parts, 80 * GIB, 0.9, constants_for(version)) for version in ("0.20.0", "0.21.0")]
    assert pools[0] - pools[1] == parts.graphs_estimate_bytes
    # Logged estimate of most starts: 0.84 GiB.
    assert parts.graphs_estimate_bytes / GIB == pytest.approx(0.84, abs=0.005)


@pytest.mark.parametrize(("sequences", "graphs"), [(1024, 102), (256, 51 + 35), (8, 5 + 4), (1, 3)])
def test_graphs_are_captured_for_the_sizes_vllm_logs(sequences: int, graphs: int) -> None:
    assert graph_count(replace(FULL, max_num_seqs=sequences)) == graphs


def test_loading_can_take_more_than_running() -> None:
    gemma = CATALOGUE.model("google/gemma-3-4b-it")
    ledger = memory_ledger(gemma, H100, replace(FULL, max_num_seqs=1, max_num_batched_tokens=16, max_model_len=16, enforce_eager=True), 0)
    assert ledger.start_peak_mib > ledger.total_mib
    assert memory_ledger(gemma, H100, FULL, 10 * GIB).start_peak_mib == memory_ledger(gemma, H100, FULL, 10 * GIB).total_mib


def test_constants_survive_writing_and_reading() -> None:
    constants = constants_for("0.19.0")
    assert read_constants("x.yaml", constants_text(constants)) == constants


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("sampler_bytes_per_logit: -1", "sampler_bytes_per_logit: must be a finite number above 0"),
        ("graphs_inside_budget: maybe", "graphs_inside_budget: must be true or false"),
        ("surprise: 1", "surprise: unknown key"),
        ("non_torch_mib: {single: 1}", "non_torch_mib.tensor_parallel: missing"),
        ("kind: guessed", "kind: must be one of"),
    ],
)
def test_wrong_constants_name_file_and_key(change: str, expected: str) -> None:
    with pytest.raises(FieldError, match=f"x.yaml: {expected}"):
        read_constants("x.yaml", f"{constants_text(constants_for('0.19.0'))}{change}\n")
    with pytest.raises(FieldError, match=r"x\.yaml: not YAML"):
        read_constants("x.yaml", "{")
    with pytest.raises(FieldError, match=r"x\.yaml: must be a mapping"):
        read_constants("x.yaml", "[]")


@given(
    name=st.sampled_from(CATALOGUE.model_names),
    sequences=st.integers(1, 1024),
    tokens=st.integers(1024, 16384),
    stages_asked=st.integers(1, 4),
)
def test_more_of_anything_never_takes_less(name: str, sequences: int, tokens: int, stages_asked: int) -> None:
    model = replace(CATALOGUE.model(name), max_position=32768)
    settings = EngineSettings(
        dtype="auto", max_model_len=1024, max_num_seqs=sequences, max_num_batched_tokens=tokens, pipeline_parallel_size=stages_asked
    )
    parts = memory_parts(model, CATALOGUE.gpu("B200"), settings)
    for larger in (replace(settings, max_num_batched_tokens=tokens + 512), replace(settings, max_num_seqs=min(sequences + 16, 1024))):
        more = memory_parts(model, CATALOGUE.gpu("B200"), larger)
        assert more.activation_bytes >= parts.activation_bytes
        assert more.graphs_bytes >= parts.graphs_bytes
