"""A fleet in which everybody yields to a chat: five workloads of four models on two GPUs."""

from __future__ import annotations

from typing import Any


def burst_fleet_dict(*bursts: float, **policy: Any) -> dict[str, Any]:
    """Chat shares its engine with a background workload, its GPU with a standard one, and the other GPU has background only."""

    def demand(rate: str, input_tokens: int, output_tokens: int) -> dict[str, Any]:
        return {"rate": rate, "input_tokens": input_tokens, "output_tokens": output_tokens}

    return {
        "schema_version": 1,
        "pools": {"h100": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 2, "price": "2.95 USD/h"}},
        "models": {
            "llama-8b": {"source": "meta-llama/Llama-3.1-8B-Instruct"},
            "qwen-7b": {"source": "Qwen/Qwen2.5-7B-Instruct"},
            "qwen-1b": {"source": "Qwen/Qwen2.5-1.5B-Instruct"},
            "phi-4": {"source": "microsoft/phi-4"},
        },
        "workloads": {
            "chat": {"model": "llama-8b", "class": "interactive", "demand": demand("4/s", 600, 250)},
            "batch-sum": {"model": "llama-8b", "class": "background", "demand": demand("1/s", 2000, 200)},
            "code": {"model": "qwen-7b", "class": "standard", "demand": demand("2/s", 900, 100)},
            "tags": {"model": "qwen-1b", "class": "background", "demand": demand("3/s", 500, 30)},
            "night": {"model": "phi-4", "class": "background", "demand": demand("12/min", 2000, 400)},
        },
        "policy": {"bursts": list(bursts), **policy},
    }
