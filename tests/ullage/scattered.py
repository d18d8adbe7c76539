"""Fleets in which free capacity is scattered: models went, and what was left of the others stayed where it was."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

from planner.plan import Plan, State, as_applied
from planner.spec import Fleet
from tests.fleets import fleet, fleet_dict, workload
from ullage.planning.plan import plan_fleet

_SOURCES = (
    "meta-llama/Meta-Llama-3.1-8B",
    "Qwen/Qwen2.5-7B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "google/gemma-2-9b",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-1.7B",
    "Qwen/Qwen3-14B",
)
# a seed where compact helps, and one where it does not
SCATTERED, GATHERED = 2, 1


def sections(seed: int, *, before: bool = False, **policy: Any) -> dict[str, Any]:
    """Five to ten models on eight H100, and the two thirds of them that are left unless it is before the others went."""
    rng = Random(seed)
    models = {f"m{index}": _SOURCES[index % len(_SOURCES)] for index in range(rng.randint(5, 10))}
    rates = {name: f"{rng.choice([1, 2, 5, 10, 20])}/s" for name in models}
    left = list(models) if before else sorted(rng.sample(list(models), max(2, len(models) * 2 // 3)))
    return {
        "pools": {"h100": {"gpu": "H100-SXM-80GB", "nodes": 2, "gpus_per_node": 4, "price": "3 USD/h"}},
        "models": {name: {"source": models[name], "max_model_len": 2048} for name in left},
        "workloads": {name: workload(name, rates[name]) for name in left},
        "policy": policy,
    }


def written(seed: int, **policy: Any) -> dict[str, Any]:
    """The fleet that is left, as its file says it."""
    return fleet_dict(**sections(seed, **policy))


def left(seed: int, **policy: Any) -> Fleet:
    """The fleet that is left."""
    return fleet(**sections(seed, **policy))


@cache
def running_plan(seed: int) -> Plan:
    """What runs: the others have gone, and nobody has moved."""
    first = plan_fleet(fleet(**sections(seed, before=True)), State()).plan
    return plan_fleet(left(seed, goals=["churn"]), as_applied(first)).plan


def running(seed: int) -> State:
    """The state after it."""
    return as_applied(running_plan(seed))
