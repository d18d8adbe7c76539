"""What a config.json says about encoders: BERT, RoBERTa, XLM-RoBERTa and ModernBERT."""

from __future__ import annotations

from profiles.checkpoints.hf_keys import ENCODER_TYPES
from profiles.fields import Fields
from profiles.model_parts import Encoder

# Their positions are numbered from pad_token_id + 1 on (transformers, create_position_ids_from_input_ids), so that many rows are unused.
_OFFSET_TYPES = ("roberta", "xlm-roberta")
_DEFAULT_PAD_TOKEN = 1


def encoder(text: Fields, model_type: str) -> Encoder | None:
    """The embeddings of positions and segments, None for a decoder."""
    if model_type not in ENCODER_TYPES:
        return None
    if model_type == "modernbert":
        # rotary positions, and segments are no input (transformers, ModernBertEmbeddings)
        return Encoder(learned_positions=0, segments=0)
    kind = text.optional_text("position_embedding_type") or "absolute"
    if kind != "absolute":
        raise text.error("position_embedding_type", f"{kind!r} is not supported by vLLM's encoders; it must be 'absolute'")
    return Encoder(learned_positions=text.integer("max_position_embeddings"), segments=text.integer("type_vocab_size", minimum=0))


def longest_prompt(text: Fields, model_type: str) -> int:
    """Tokens that the model can take at most."""
    positions = text.integer("max_position_embeddings")
    if model_type not in _OFFSET_TYPES:
        return positions
    pad_token = text.optional_integer("pad_token_id", minimum=0)
    unused = (_DEFAULT_PAD_TOKEN if pad_token is None else pad_token) + 1
    if positions <= unused:
        raise text.error(
            "max_position_embeddings", f"{positions} positions, of which the first {unused} are not used, leave none for a prompt"
        )
    return positions - unused
