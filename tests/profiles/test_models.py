"""Parameter counts against published ones, and the consistency of every model's dimensions."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.models import Architecture

CATALOGUE = builtin()
MODELS = tuple(CATALOGUE.model(name) for name in CATALOGUE.model_names)
with (Path(__file__).parent / "published_parameters.csv").open(encoding="utf-8", newline="") as opened:
    PUBLISHED = {row["name"]: row for row in csv.DictReader(opened)}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_parameter_count_is_within_one_percent_of_the_published_one(model: Architecture) -> None:
    row = PUBLISHED[model.name]
    counted = model.parameter_count - (0 if row["with_vision"] == "yes" else model.vision_parameters)
    assert counted == pytest.approx(float(row["billions"]) * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "active_billions"),
    [
        # computed by the survey the architecture rows come from, with the input embedding counted besides the output head
        ("Qwen/Qwen3-30B-A3B", 3.353),
        ("Qwen/Qwen3-235B-A22B", 22.19),
        ("mistralai/Mixtral-8x7B-v0.1", 12.88),
        ("deepseek-ai/DeepSeek-R1", 37.551),
        ("deepseek-ai/DeepSeek-V2-Lite", 2.661),
        ("openai/gpt-oss-120b", 5.71),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 17.168),
    ],
)
def test_active_parameters_agree_with_published_ones(name: str, active_billions: float) -> None:
    model = CATALOGUE.model(name)
    input_embedding = model.vocab * model.hidden
    assert model.active_parameter_count + input_embedding == pytest.approx(active_billions * 1e9, rel=0.01)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_dimensions_are_consistent(model: Architecture) -> None:
    assert model.heads % model.kv_heads == 0
    assert model.sliding_layers <= model.layers
    assert (model.sliding_layers == 0) == (model.sliding_window_tokens is None)
    assert (model.checkpoint_quant is None) == (model.quant_scope is None)
    if model.experts is not None:
        assert model.experts.layers <= model.layers
        assert model.experts.per_token <= model.experts.count
    if model.mla is not None:
        assert model.head_dim == model.mla.qk_nope_head_dim + model.mla.qk_rope_head_dim
    if model.quant_scope == "experts":
        assert model.experts is not None


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_parts_add_up_and_a_token_never_uses_more_than_there_is(model: Architecture) -> None:
    parts = model.embedding_parameters + model.attention_parameters + model.dense_mlp_parameters + model.expert_parameters
    assert parts + model.norm_parameters + model.vision_parameters == model.parameter_count
    assert model.active_parameter_count <= model.parameter_count


@given(
    model=st.sampled_from(MODELS),
    field=st.sampled_from(["layers", "hidden", "heads", "kv_heads", "head_dim", "vocab", "intermediate"]),
    extra=st.integers(min_value=1, max_value=1000),
)
def test_a_larger_dimension_never_means_fewer_parameters(model: Architecture, field: str, extra: int) -> None:
    larger = replace(model, **{field: getattr(model, field) + extra})
    assert larger.parameter_count >= model.parameter_count


def test_untied_embeddings_cost_one_more_matrix() -> None:
    tied = CATALOGUE.model("Qwen/Qwen3-1.7B")
    untied = replace(tied, tie_embeddings=False)
    assert untied.parameter_count - tied.parameter_count == tied.vocab * tied.hidden
