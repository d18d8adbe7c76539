"""An Architecture from a Hugging Face config.json: a folder that holds one, or the file itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from profiles.checkpoints import hf_gemma4
from profiles.checkpoints.hf_attention import indexer, mla, sliding
from profiles.checkpoints.hf_encoder import encoder, longest_prompt
from profiles.checkpoints.hf_keys import ENCODER_TYPES, check_known, is_pooling
from profiles.checkpoints.hf_quantization import quantization
from profiles.checkpoints.hf_recurrent import GATED_ATTENTION_TYPES, mlp_only_layers, pattern_expert_layers, recurrent
from profiles.checkpoints.hf_vision import largest_image, vision_parameters
from profiles.fields import FieldError, Fields
from profiles.model_parts import Experts
from profiles.models import Architecture
from profiles.regular_files import read_regular

# Nested decoder configurations of multimodal models (transformers: Gemma3Config, Mistral3Config, Llama4Config, Qwen3VLConfig, KimiK25).
TEXT_KEYS = ("text_config", "language_config", "llm_config")
# Keys of mixtures whose caches the memory model does not cover.
UNSUPPORTED_KEYS = ("layers_block_type", "mamba_d_state")
# Model types whose embeddings are tied unless the file says otherwise (transformers, their config classes).
TIED_TYPES = ("gemma", "gemma2", "gemma3", "gemma3_text", "gemma4", "gemma4_text", "starcoder2")
# Model types with two matrices per MLP (transformers, their modelling files).
UNGATED_TYPES = ("bert", "gpt_neox", "nemotron", "nemotron_h", "phi", "roberta", "starcoder2", "xlm-roberta")
# Names of the number of routed experts (transformers: DeepSeek, Mixtral and Llama 4, Qwen).
EXPERT_COUNT_KEYS = ("n_routed_experts", "num_local_experts", "num_experts")
# Model types whose intermediate_size is the width of an expert (transformers, their modelling files).
EXPERT_WIDTH_TYPES = ("gpt_oss", "granitemoe", "llama4_text", "minimax_m2", "mixtral", "olmoe", "phimoe")
# Defaults that a file of the type may leave out (transformers, Gemma3TextConfig).
TYPE_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "gemma3_text": {
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262208,
    },
}
# Checkpoint types under --dtype auto (vllm/config/model.py, _resolve_auto_dtype): float32 is served in bfloat16, of encoders in
# float16.
DTYPES = {"bfloat16": "bfloat16", "float16": "float16", "float32": "bfloat16"}
ENCODER_DTYPES = {**DTYPES, "float32": "float16"}


def architecture_from_path(path: Path) -> Architecture:
    """The architecture a config.json describes; FieldError names file and key of what is missing, wrong or not supported."""
    file = path / "config.json" if path.is_dir() else path
    top = Fields(str(file), _read(file))
    pooling = is_pooling(top)
    text = _decoder(top)
    for key in UNSUPPORTED_KEYS:
        if text.has(key):
            raise text.error(key, "models with state-space layers of this kind are not supported")
    check_known(text, text.optional_text("model_type") or "")
    found = _architecture(file.resolve().parent.name, top, text)
    return found.pooled() if pooling else found


# The largest published config.json have some thousand lines.
_MOST_BYTES = 16 * 1024 * 1024


def _read(file: Path) -> dict[str, object]:
    try:
        content = json.loads(read_regular(file, _MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise FieldError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FieldError(f"{file}: not UTF-8 (byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        raise FieldError(f"{file}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise FieldError(f"{file}: must be a JSON object")
    return content


def _decoder(top: Fields) -> Fields:
    """The fields of the language model, with the defaults of its type underneath."""
    nested = next((key for key in TEXT_KEYS if top.has(key)), None)
    text = top.table(nested) if nested else top
    model_type = text.optional_text("model_type") or top.optional_text("model_type") or ""
    present = {key: value for key, value in text.values.items() if value is not None}
    if model_type == hf_gemma4.MODEL_TYPE and isinstance(layers := present.get("num_hidden_layers"), int):
        present.setdefault("layer_types", hf_gemma4.default_layer_types(layers))
    return Fields(text.file, {**TYPE_DEFAULTS.get(model_type, {}), "model_type": model_type or None, **present}, text.prefix)


def _architecture(name: str, top: Fields, text: Fields) -> Architecture:
    model_type = text.optional_text("model_type") or ""
    hidden, heads, layers = text.integer("hidden_size"), text.integer("num_attention_heads"), text.integer("num_hidden_layers")
    latent = mla(text)
    experts = _experts(text, model_type, layers)
    quant, quant_scope, unquantized_modules = quantization(top, text, moe=experts is not None)
    sliding_layers, window_tokens = sliding(text, model_type, layers)
    image_tokens, image_values = largest_image(top)
    kv_heads = heads if latent else text.optional_integer("num_key_value_heads") or heads
    gemma4 = model_type == hf_gemma4.MODEL_TYPE
    return Architecture(
        name=name,
        aliases=(),
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=latent.qk_nope_head_dim + latent.qk_rope_head_dim if latent else _head_dim(text, hidden, heads),
        intermediate=_mlp_width(text, experts),
        vocab=text.integer("vocab_size"),
        tie_embeddings=text.flag("tie_word_embeddings", top.flag("tie_word_embeddings", model_type in TIED_TYPES)),
        max_position=longest_prompt(text, model_type),
        dtype=_dtype(top, text, model_type),
        checkpoint_quant=quant,
        quant_scope=quant_scope,
        experts=experts,
        mla=latent,
        sliding_layers=sliding_layers,
        sliding_window_tokens=window_tokens,
        gated_mlp=model_type not in UNGATED_TYPES,
        vision_parameters=vision_parameters(top),
        source=top.file,
        recurrent=recurrent(text),
        mlp_only_layers=mlp_only_layers(text),
        chunked=sliding_layers > 0 and text.has("attention_chunk_size"),
        gated_attention=model_type in GATED_ATTENTION_TYPES,
        image_tokens=image_tokens,
        image_values=image_values,
        unquantized_modules=unquantized_modules,
        indexer=indexer(text),
        global_layers=hf_gemma4.global_layers(text, kv_heads) if gemma4 else None,
        per_layer_input=hf_gemma4.per_layer_input(text) if gemma4 else None,
        shared_kv=hf_gemma4.shared_kv(text, layers) if gemma4 else None,
        encoder=encoder(text, model_type),
    )


def _mlp_width(text: Fields, experts: Experts | None) -> int:
    """Width of the dense MLPs; of a model whose layers all have experts the file may leave it out."""
    key = "intermediate_size_mlp" if text.has("intermediate_size_mlp") else "intermediate_size"
    return experts.intermediate if experts and not text.has(key) else text.integer(key)


def _head_dim(text: Fields, hidden: int, heads: int) -> int:
    if text.has("head_dim"):
        return text.integer("head_dim")
    if hidden % heads:
        raise text.error("head_dim", f"missing, and hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    return hidden // heads


def _dtype(top: Fields, text: Fields, model_type: str) -> str:
    served_in = ENCODER_DTYPES if model_type in ENCODER_TYPES else DTYPES
    for fields in (text, top):
        for key in ("torch_dtype", "dtype"):
            if fields.has(key):
                return served_in[fields.text(key, tuple(served_in))]
    return served_in["float32"]


def _experts(text: Fields, model_type: str, layers: int) -> Experts | None:
    if model_type == hf_gemma4.MODEL_TYPE:
        return hf_gemma4.experts(text, layers)
    count_key = next((key for key in EXPERT_COUNT_KEYS if text.has(key)), None)
    if count_key is None:
        return None
    if text.integer(count_key, minimum=0) == 0:
        return None
    width = _expert_width(text, model_type)
    return Experts(
        count=text.integer(count_key),
        per_token=text.integer("num_experts_per_tok"),
        intermediate=width,
        layers=_expert_layers(text, layers),
        shared_intermediate=_shared_width(text, model_type, width),
    )


def _expert_width(text: Fields, model_type: str) -> int:
    if model_type in EXPERT_WIDTH_TYPES and not text.has("moe_intermediate_size"):
        return text.integer("intermediate_size")
    return text.integer("moe_intermediate_size")


def _expert_layers(text: Fields, layers: int) -> int:
    """Layers with experts: every step-th one, without the leading dense ones and those named as dense; or those a pattern names."""
    listed = pattern_expert_layers(text)
    if listed:
        return listed
    if text.has("mlp_layer_types"):
        return text.texts("mlp_layer_types").count("sparse") or _no_experts(text, "mlp_layer_types names none as sparse")
    step_key = next((key for key in ("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_freq") if text.has(key)), None)
    step = text.integer(step_key) if step_key else 1
    leading = text.optional_integer("first_k_dense_replace", minimum=0) or 0
    named = len(text.items("mlp_only_layers")) if text.has("mlp_only_layers") else 0
    expert_layers = layers // step - leading - named
    if expert_layers < 1:
        _no_experts(text, f"{layers} layers, step {step}, {leading + named} of them dense")
    return expert_layers


def _no_experts(text: Fields, why: str) -> NoReturn:
    raise text.error("num_hidden_layers", f"leaves no layer with experts: {why}")


def _shared_width(text: Fields, model_type: str, width: int) -> int:
    for key in ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"):
        if text.has(key):
            return text.integer(key, minimum=0)
    if model_type == "llama4_text":
        # one shared expert beside the routed one (transformers, Llama4TextMoe)
        return width
    return width * (text.optional_integer("n_shared_experts", minimum=0) or 0)
