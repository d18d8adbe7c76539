"""Small fleets that many tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from planner.spec import Fleet, load_fleet
from profiles.catalogue import builtin

# A small Llama without its hidden_size, as a local config.json says it.
SMALL_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "intermediate_size": 5632,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "num_hidden_layers": 16,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


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
