"""What a config.json says about attention: latent ranks, and which layers see a window only."""

from __future__ import annotations

from profiles.fields import Fields
from profiles.model_parts import Indexer, Mla

# Kinds of layers in `layer_types` (transformers): those with a growing cache and those bounded by a window or chunk.
FULL_KINDS = frozenset({"full_attention"})
# Layers that keep a state instead of a cache: profiles.checkpoints.hf_recurrent counts them.
STATE_KINDS = frozenset({"linear_attention"})
WINDOW_KINDS = frozenset({"chunked_attention", "sliding_attention"})
# Model types in which every layer slides once sliding_window is set (vLLM reads the key as the window of the whole model).
ALL_SLIDING_TYPES = ("ministral", "mistral", "mixtral", "phi3", "starcoder2")
# transformers, Gemma3TextConfig: one layer in six attends to everything.
GEMMA3_PATTERN = 6
# transformers, Llama4TextConfig: one layer in four attends to everything.
LLAMA4_PATTERN = 4


def mla(text: Fields) -> Mla | None:
    """The latent-attention ranks, or None for a model with plain key and value heads."""
    if not text.has("kv_lora_rank"):
        return None
    return Mla(
        kv_lora_rank=text.integer("kv_lora_rank"),
        q_lora_rank=text.optional_integer("q_lora_rank"),
        qk_nope_head_dim=text.integer("qk_nope_head_dim"),
        qk_rope_head_dim=text.integer("qk_rope_head_dim"),
        v_head_dim=text.integer("v_head_dim"),
    )


def indexer(text: Fields) -> Indexer | None:
    """What chooses the tokens of sparse attention, None for a model that reads all."""
    if not text.has("index_topk"):
        return None
    if not text.has("kv_lora_rank"):
        raise text.error("kv_lora_rank", "missing, though index_topk is there; sparse attention is known for latent attention only")
    return Indexer(heads=text.integer("index_n_heads"), head_dim=text.integer("index_head_dim"))


def sliding(text: Fields, model_type: str, layers: int) -> tuple[int, int | None]:
    """How many layers see a window only, and its length in tokens; (0, None) when all see everything."""
    window_key = "attention_chunk_size" if text.has("attention_chunk_size") else "sliding_window"
    window_tokens = text.optional_integer(window_key)
    if text.has("layer_types"):
        count = _listed(text, layers)
    elif window_tokens is None or window_tokens >= text.integer("max_position_embeddings"):
        count = 0
    else:
        count = _by_type(text, model_type, layers)
    if count and window_tokens is None:
        raise text.error(window_key, "missing, though some layers slide")
    return (count, window_tokens) if count else (0, None)


def _listed(text: Fields, layers: int) -> int:
    kinds = text.texts("layer_types")
    known = FULL_KINDS | WINDOW_KINDS | STATE_KINDS
    unknown = sorted(set(kinds) - known)
    if unknown:
        raise text.error("layer_types", f"{unknown[0]!r} layers are not supported (known: {', '.join(sorted(known))})")
    if len(kinds) != layers:
        raise text.error("layer_types", f"lists {len(kinds)} layers, num_hidden_layers is {layers}")
    return sum(kind in WINDOW_KINDS for kind in kinds)


def _by_type(text: Fields, model_type: str, layers: int) -> int:
    """Sliding layers of the model types that do not list them."""
    if model_type == "gemma2":
        # every other layer, beginning with the first (transformers, Gemma2Config)
        return (layers + 1) // 2
    if model_type == "gemma3_text":
        key = next((key for key in ("sliding_window_pattern", "_sliding_window_pattern") if text.has(key)), None)
        return layers - layers // (text.integer(key) if key else GEMMA3_PATTERN)
    if model_type == "llama4_text":
        return layers - layers // LLAMA4_PATTERN
    if model_type.startswith(("qwen2", "qwen3")):
        # the layers from max_window_layers on (transformers, Qwen2Config)
        first = text.optional_integer("max_window_layers", minimum=0) or 0
        return max(layers - first, 0) if text.flag("use_sliding_window", default=False) else 0
    return layers if model_type in ALL_SLIDING_TYPES else 0
