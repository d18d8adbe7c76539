"""Parts that a model may have: experts, latent and sparse attention, recurrent layers, an encoder's embeddings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixture-of-experts part.

    layers of the model's layers hold `count` routed experts of width `intermediate`, of which `per_token` work on each token, and shared
    experts of total width shared_intermediate (0: none). The other layers are dense with Architecture.intermediate.
    """

    count: int
    per_token: int
    intermediate: int
    layers: int
    shared_intermediate: int


@dataclass(frozen=True, slots=True)
class Mla:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): ranks and head widths in elements.

    Per token and layer the cache holds kv_lora_rank + qk_rope_head_dim elements, once per tensor-parallel rank.
    """

    kv_lora_rank: int
    q_lora_rank: int | None
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int


@dataclass(frozen=True, slots=True)
class Indexer:
    """What chooses the tokens that sparse attention reads (DeepSeek-V3.2): query heads, and a key per token in the cache, of head_dim."""

    heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class GlobalLayers:
    """Heads of the layers that attend to everything, where they differ from those of the sliding layers (Gemma 4)."""

    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class PerLayerInput:
    """An embedding of its own for each layer (Gemma 4 E2B and E4B): elements per token and layer, and rows."""

    hidden: int
    vocab: int


@dataclass(frozen=True, slots=True)
class SharedKv:
    """Last layers of a model that read the cache of earlier ones and have queries only (Gemma 4 E2B and E4B).

    sliding_layers of the layers slide; with double_mlp the MLPs of all of them are twice as wide.
    """

    layers: int
    sliding_layers: int
    double_mlp: bool


@dataclass(frozen=True, slots=True)
class Encoder:
    """What makes a model an encoder (BERT): every token attends to the whole prompt, nothing is kept in a cache.

    learned_positions are the rows of its embedding of positions, 0 where positions are rotary; segments those of its token types.
    """

    learned_positions: int
    segments: int


# Kinds of layers that keep a state of fixed size per request instead of a growing cache.
RECURRENT_KINDS = ("gated_delta", "mamba2")


@dataclass(frozen=True, slots=True)
class Recurrent:
    """Layers with a recurrent state: gated delta rule (arXiv 2412.06464) or Mamba-2 (arXiv 2405.21060).

    Mamba-2 in the same words: key_heads are its groups, key_dim its state size, value_heads and value_dim its heads and their width. The
    convolution looks conv_kernel tokens back over keys, queries and values. state_dtype is the element type of the state.
    """

    kind: str
    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    state_dtype: str

    @property
    def value_width(self) -> int:
        """Elements of all value heads."""
        return self.value_heads * self.value_dim

    @property
    def conv_width(self) -> int:
        """Elements that pass the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.value_width

    def parameters(self, hidden: int) -> int:
        """Projections and convolution of one layer (gate, decay and step parameters included, biases left out)."""
        # Gated delta: in_proj_qkvz and in_proj_ba; Mamba-2: in_proj of gate, xBC and dt (their modelling files in transformers)
        per_head = 2 if self.kind == "gated_delta" else 1
        inner = self.conv_width + self.value_width + per_head * self.value_heads
        return hidden * (inner + self.value_width) + self.conv_width * self.conv_kernel
