"""Fleets of benchmarks.churn: a demand that walks, and workloads and nodes that come and go, all from one seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from planner.spec import Fleet, load_fleet
from profiles.catalogue import builtin

GPUS_PER_NODE = 4
CLASSES = ("interactive", "standard", "standard", "background")

# Models and rates per GPU of the fleet at which six of them take about a third of its H100: an assumption.
SERVED = (
    ("meta-llama/Llama-3.1-8B", 0.98),
    ("Qwen/Qwen3-14B", 0.49),
    ("Qwen/Qwen2.5-7B-Instruct", 0.98),
    ("meta-llama/Llama-3.2-3B", 1.5),
    ("Qwen/Qwen3-32B-FP8", 0.2),
    ("google/gemma-2-9b", 0.39),
    ("Qwen/Qwen3-1.7B", 2),
    ("mistralai/Mistral-7B-Instruct-v0.3", 0.49),
    ("Qwen/Qwen3-0.6B", 2),
    ("microsoft/Phi-4-mini-instruct", 0.72),
)
# So many of them are there at first.
FIRST = 6
LEAST, MOST = 3, len(SERVED)

# Our choice: a step moves every rate by up to a fifth, and no rate leaves this range around the first one.
STEP_FACTOR = 1.2
LEAST_FACTOR, MOST_FACTOR = 0.25, 2.0
# Our choice: so many of the steps also edit the fleet.
EDITED_FRACTION = 0.5


def walk(gpus: int, steps: int, seed: int) -> Iterator[dict[str, Any]]:
    """What the fleet files of all steps say; the first one is before any change."""
    rng = Random(seed)  # noqa: S311 -- the same walk for the same seed, no secret
    nodes = most_nodes = gpus // GPUS_PER_NODE
    present = list(range(FIRST))
    factors = [1.0] * len(SERVED)
    yield _written(gpus, nodes, present, factors)
    for _ in range(steps):
        factors = [_within(factor * STEP_FACTOR ** rng.uniform(-1, 1)) for factor in factors]
        edit = rng.choice(("add", "remove", "node", "rate")) if rng.random() < EDITED_FRACTION else ""
        number = rng.randrange(len(SERVED))
        if edit == "add" and len(present) < MOST:
            present.append(next(other for other in (*range(number, MOST), *range(number)) if other not in present))
        elif edit == "remove" and len(present) > LEAST:
            present.pop(number % len(present))
        elif edit == "node":
            nodes = nodes - 1 if nodes == most_nodes and nodes > 1 else most_nodes
        elif edit == "rate":
            factors[number] = _within(factors[number] * rng.choice((0.5, 2.0)))
        yield _written(gpus, nodes, sorted(present), factors)


def loaded(written: dict[str, Any], **policy: Sequence[str]) -> Fleet:
    """The fleet of a step, with parts of its policy set."""
    return load_fleet(Path("fleet.yaml"), json.dumps({**written, "policy": policy}), builtin())


def _within(factor: float) -> float:
    return min(MOST_FACTOR, max(LEAST_FACTOR, factor))


def _written(gpus: int, nodes: int, present: list[int], factors: list[float]) -> dict[str, Any]:
    names = {number: f"m{number}" for number in present}
    return {
        "schema_version": 1,
        "pools": {"h100": {"gpu": "H100-SXM-80GB", "nodes": nodes, "gpus_per_node": GPUS_PER_NODE, "price": "2.95 USD/h"}},
        "models": {name: {"source": SERVED[number][0], "max_model_len": 4096} for number, name in names.items()},
        "workloads": {
            name: {
                "model": name,
                "class": CLASSES[number % len(CLASSES)],
                "demand": {"rate": f"{SERVED[number][1] * gpus * factors[number]:.4g}/s", "input_tokens": 400, "output_tokens": 150},
            }
            for number, name in names.items()
        },
    }
