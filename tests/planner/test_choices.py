from __future__ import annotations

from typing import Any

import pytest

from planner.plan import State
from planner.sizing.blueprint import build
from planner.spec import SpecError
from tests.fleets import fleet, fleet_dict, workload
from ullage.planning.plan import plan_fleet

CHOICES = {"max_num_seqs": ["64"], "max_num_batched_tokens": ["512", "8192"], "kv_cache_dtype": ["fp8"]}


def _models(choices: dict[str, Any], **changes: Any) -> dict[str, Any]:
    models: dict[str, Any] = fleet_dict()["models"]
    return {**models, "middle": {**models["middle"], "choices": choices, **changes}}


def _cost_usd_per_h(models: dict[str, Any], rate: str) -> tuple[float, float]:
    pools = {"l40s": {"gpu": "L40S", "nodes": 1, "gpus_per_node": 8, "price": "1 USD/h"}}
    chat = workload("middle", rate, slo={"ttft_p95": "3s", "tpot_p95": "80ms"})
    chat["demand"].update(input_tokens=2500, output_tokens=400)
    desired = plan_fleet(fleet(models=models, pools=pools, workloads={"chat": chat}), State()).plan.desired
    return sum(row.unserved_rps for row in desired.workloads), desired.cost_usd_per_h


def test_replicas_have_every_choice_that_vllm_takes() -> None:
    found = build(fleet(models=_models(CHOICES)), State()).candidates
    middle = {
        (item.settings.max_num_seqs, item.settings.max_num_batched_tokens, item.settings.kv_cache_dtype)
        for item in found
        if item.group.name == "middle"
    }
    assert middle == {(seqs, tokens, kind) for seqs in (64, 256) for tokens in (512, 2048, 8192) for kind in ("auto", "fp8")}
    assert {item.settings.max_num_seqs for item in found if item.group.name == "small"} == {256}


def test_a_step_holds_a_token_of_every_request() -> None:
    found = fleet(models=_models({"max_num_seqs": ["4096"], "max_num_batched_tokens": ["8192"]})).models
    middle = next(model for model in found if model.name == "middle")
    assert {(choice.max_num_seqs, choice.max_num_batched_tokens) for choice in middle.choices} == {(256, 8192), (4096, 8192)}


def test_more_choices_are_never_worse_and_the_plan_renders_what_it_chose() -> None:
    plain, free = _cost_usd_per_h(_models({}), "20/s"), _cost_usd_per_h(_models(CHOICES), "20/s")
    assert free <= plain


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"max_num_seqs": ["0"]}, "max_num_seqs"),
        ({"kv_cache_dtype": ["fp4"]}, "kv_cache_dtype"),
        ({"max_num_seqs": ["1", "2", "3", "4", "5"]}, "max_num_seqs"),
        ({"dtype": ["float16"]}, "unknown field"),
    ],
)
def test_choices_that_are_none_are_refused(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        fleet(models=_models(choices))
