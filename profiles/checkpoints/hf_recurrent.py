"""What a config.json says about layers with a recurrent state, and about layers that hold nothing but an MLP."""

from __future__ import annotations

from profiles.fields import Fields
from profiles.model_parts import Recurrent
from profiles.models import DTYPE_BYTES

LINEAR_KIND = "linear_attention"
# Model types whose attention has a gate of the size of its queries (transformers, their modelling files).
GATED_ATTENTION_TYPES = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")
# Letters of hybrid_override_pattern (transformers, NemotronHConfig): Mamba-2, attention, MLP, experts.
MAMBA, ATTENTION, MLP, EXPERTS = "M*-E"


def recurrent(text: Fields) -> Recurrent | None:
    """The recurrent layers, None for a model whose layers all attend."""
    if text.has("hybrid_override_pattern"):
        return _mamba(text)
    return _gated_delta(text) if text.has("linear_num_key_heads") else None


def mlp_only_layers(text: Fields) -> int:
    """Layers that hold nothing but an MLP or experts."""
    if not text.has("hybrid_override_pattern"):
        return 0
    pattern = text.text("hybrid_override_pattern")
    return pattern.count(MLP) + pattern.count(EXPERTS)


def pattern_expert_layers(text: Fields) -> int | None:
    """Layers with experts where a pattern lists them, else None."""
    return text.text("hybrid_override_pattern").count(EXPERTS) if text.has("hybrid_override_pattern") else None


def _mamba(text: Fields) -> Recurrent:
    pattern = text.text("hybrid_override_pattern")
    unknown = sorted(set(pattern) - {MAMBA, ATTENTION, MLP, EXPERTS})
    if unknown:
        raise text.error("hybrid_override_pattern", f"letter {unknown[0]!r} is not supported (known: {MAMBA} {ATTENTION} {MLP} {EXPERTS})")
    if len(pattern) != text.integer("num_hidden_layers"):
        raise text.error(
            "hybrid_override_pattern", f"names {len(pattern)} layers, num_hidden_layers is {text.integer('num_hidden_layers')}"
        )
    if MAMBA not in pattern or ATTENTION not in pattern:
        raise text.error("hybrid_override_pattern", "names no Mamba layer or no attention layer")
    return Recurrent(
        kind="mamba2",
        layers=pattern.count(MAMBA),
        key_heads=text.integer("n_groups"),
        value_heads=text.integer("mamba_num_heads"),
        key_dim=text.integer("ssm_state_size"),
        value_dim=text.integer("mamba_head_dim"),
        conv_kernel=text.integer("conv_kernel"),
        state_dtype=_state_dtype(text, "mamba_ssm_cache_dtype"),
    )


def _gated_delta(text: Fields) -> Recurrent:
    layers = text.integer("num_hidden_layers")
    if text.has("layer_types"):
        count = text.texts("layer_types").count(LINEAR_KIND)
    else:
        count = layers - layers // text.integer("full_attention_interval")
    if not 0 < count < layers:
        raise text.error("layer_types", f"{count} of {layers} layers are {LINEAR_KIND}; only mixtures with attention are supported")
    return Recurrent(
        kind="gated_delta",
        layers=count,
        key_heads=text.integer("linear_num_key_heads"),
        value_heads=text.integer("linear_num_value_heads"),
        key_dim=text.integer("linear_key_head_dim"),
        value_dim=text.integer("linear_value_head_dim"),
        conv_kernel=text.integer("linear_conv_kernel_dim"),
        state_dtype=_state_dtype(text, "mamba_ssm_dtype"),
    )


def _state_dtype(text: Fields, key: str) -> str:
    """The element type of the state; float32, the largest, when the file does not say."""
    return text.text(key, tuple(DTYPE_BYTES)) if text.has(key) else "float32"
