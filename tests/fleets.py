"""Small fleets that many tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from planner.spec import Fleet, load_fleet
from profiles.catalogue import builtin


def fleet_dict(**changes: Any) -> dict[str, Any]:
    """Two H100 that three models share comfortably; `changes` replaces whole sections."""
    written: dict[str, Any] = {
        "schema_version": 1,
        "pools": {"h100": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h"}},
        "models": {
            "small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048},
            "middle": {"source": "meta-llama/Meta-Llama-3.1-8B", "max_model_len": 4096},
            "large": {"source": "Qwen/Qwen3-14B", "max_model_len": 4096},
        },
        "workloads": {name: workload(name) for name in ("small", "middle", "large")},
    }
    written.update(changes)
    return written


def workload(model: str, rate: str = "1/s", **changes: Any) -> dict[str, Any]:
    """A standard workload of 300 tokens in and 150 out."""
    return {"model": model, "class": "standard", "demand": {"rate": rate, "input_tokens": 300, "output_tokens": 150}, **changes}


def fleet(**changes: Any) -> Fleet:
    """`fleet_dict`, loaded."""
    return load_fleet(Path("fleet.yaml"), yaml.safe_dump(fleet_dict(**changes)), builtin())
