"""Memory of LoRA adapters beside the base model they belong to."""

from __future__ import annotations

from profiles.models import Architecture

# What vLLM 0.32 takes for --max-lora-rank (its option table); another rank takes the room of the next one.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def adapter_reason(architecture: Architecture) -> str | None:
    """Why adapters of a model cannot be planned; None when they can."""
    if architecture.experts or architecture.mla or architecture.recurrent or architecture.mlp_only_layers or architecture.global_layers:
        return "adapters are planned for models of dense attention and MLP layers only"
    return None


def lora_rank(rank: int) -> int:
    """The smallest --max-lora-rank that holds an adapter of this rank; ValueError above 512."""
    return next((allowed for allowed in RANKS if allowed >= rank), None) or _too_large(rank)


def _too_large(rank: int) -> int:
    raise ValueError(f"rank {rank} is more than the {RANKS[-1]} that vLLM takes")


def adapter_elements(architecture: Architecture) -> int:
    """Elements of one adapter per unit of its rank: an input and an output side for every linear layer and the output head.

    vLLM keeps such a pair of matrices per slot for every layer it can adapt, whatever an adapter itself covers (vllm/lora/layers). Ranks
    of a tensor-parallel block divide some of them; all are counted in full here, which is on the safe side.
    """
    heads, kv_heads = architecture.heads * architecture.head_dim, architecture.kv_heads * architecture.head_dim
    attention = 2 * (architecture.hidden + heads) + 2 * (architecture.hidden + kv_heads)
    mlp = (3 if architecture.gated_mlp else 2) * (architecture.hidden + architecture.intermediate)
    return architecture.layers * (attention + mlp) + architecture.hidden + architecture.vocab
