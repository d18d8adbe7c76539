"""What a config.json of Gemma 4 says beyond the keys of other models (transformers, Gemma4TextConfig)."""

from __future__ import annotations

from profiles.fields import Fields
from profiles.model_parts import Experts, GlobalLayers, PerLayerInput, SharedKv

MODEL_TYPE = "gemma4_text"
# Defaults of Gemma4TextConfig: one layer in six, and the last one, attends to everything.
_PATTERN = 6
_GLOBAL_HEAD_DIM = 512
_LAYER_INPUT_VOCAB = 262_144
SLIDING = "sliding_attention"


def default_layer_types(layers: int) -> list[str]:
    """The kinds of the layers where the file does not list them."""
    return [SLIDING if (layer + 1) % _PATTERN and layer + 1 < layers else "full_attention" for layer in range(layers)]


def global_layers(text: Fields, kv_heads: int) -> GlobalLayers:
    """Heads of the layers that attend to everything; a number of their own counts only where keys serve as values too."""
    own = text.optional_integer("num_global_key_value_heads") if text.flag("attention_k_eq_v", default=False) else None
    return GlobalLayers(own or kv_heads, text.optional_integer("global_head_dim") or _GLOBAL_HEAD_DIM)


def per_layer_input(text: Fields) -> PerLayerInput | None:
    """The embeddings of the layers, None for a model without."""
    hidden = text.optional_integer("hidden_size_per_layer_input", minimum=0)
    if not hidden:
        return None
    return PerLayerInput(hidden, text.optional_integer("vocab_size_per_layer_input") or _LAYER_INPUT_VOCAB)


def shared_kv(text: Fields, layers: int) -> SharedKv | None:
    """The last layers, which read the cache of earlier ones; None for a model without."""
    shared = text.optional_integer("num_kv_shared_layers", minimum=0)
    if not shared:
        return None
    if shared >= layers:
        raise text.error("num_kv_shared_layers", f"must be less than the {layers} layers, is {shared}")
    kinds = text.texts("layer_types")[-shared:]
    return SharedKv(shared, kinds.count(SLIDING), text.flag("use_double_wide_mlp", default=False))


def experts(text: Fields, layers: int) -> Experts | None:
    """Experts of every layer, beside its MLP, which every token passes as through a shared expert."""
    if not text.flag("enable_moe_block", default=False):
        return None
    return Experts(
        count=text.integer("num_experts"),
        per_token=text.integer("top_k_experts"),
        intermediate=text.integer("moe_intermediate_size"),
        layers=layers,
        shared_intermediate=text.integer("intermediate_size"),
    )
