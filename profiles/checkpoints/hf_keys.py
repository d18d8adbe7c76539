"""Which model types and shape-bearing keys of a config.json are understood; everything else is refused by name.

A key that is not read here may change the shape of a model, and with it weights and KV cache, without anybody noticing. So of each model
type the keys are known, and another one whose name speaks of shapes and whose value is a whole number or a list is refused.
"""

from __future__ import annotations

from profiles.fields import Fields


def _keys(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words in names of keys that speak of shapes.
_SHAPE_WORDS = frozenset(
    {"dim", "dims", "expert", "experts", "head", "heads", "layer", "layers", "rank", "size", "sizes", "topk", "width", "window"}
)
# Keys that the reader takes into account, for every model type.
_READ = _keys(
    "attention_chunk_size decoder_sparse_step experts_per_token first_k_dense_replace full_attention_interval "
    "head_dim hidden_size interleave_moe_layer_step intermediate_size intermediate_size_mlp kv_lora_rank "
    "layer_types linear_conv_kernel_dim linear_key_head_dim linear_num_key_heads linear_num_value_heads "
    "linear_value_head_dim mlp_only_layers moe_intermediate_size moe_layer_freq n_routed_experts n_shared_experts "
    "num_attention_heads num_experts num_experts_per_tok num_hidden_layers num_key_value_heads num_local_experts "
    "q_lora_rank qk_nope_head_dim qk_rope_head_dim shared_expert_intermediate_size sliding_window v_head_dim "
    "vocab_size max_window_layers mlp_layer_types "
)
# Keys that change no weights and no cache (transformers, their configuration classes): draft layers that are not loaded, routing limits,
# training, chunking of computations, widths that follow from others, and what every configuration inherited once.
_HARMLESS = _keys(
    "chunk_size_feed_forward encoder_no_repeat_ngram_size ep_size input_layernorm_size max_batch_size "
    "mtp_num_hidden_layers mtp_num_layers no_repeat_ngram_size no_rope_layer_interval no_rope_layers "
    "num_mtp_modules num_nextn_predict_layers output_hidden_layers qk_head_dim topk_group vision_feature_layer "
)
# Keys of single model types, read or harmless; the types without keys of their own are described by those above.
_TYPES: dict[str, str] = {
    "deepseek_v2": "",
    "deepseek_v3": "",
    "deepseek_v32": "index_head_dim index_n_heads index_topk",
    "gemma": "",
    "gemma2": "",
    "gemma3_text": "sliding_window_pattern _sliding_window_pattern",
    "gemma4_text": "global_head_dim hidden_size_per_layer_input num_global_key_value_heads num_kv_shared_layers top_k_experts "
    "vocab_size_per_layer_input",
    "glm": "",
    "glm4": "",
    "glm4_moe": "",
    "gpt_oss": "",
    "granite": "",
    "granitemoe": "",
    "kimi_k2": "",
    "llama": "",
    # moe_layers follows from interleave_moe_layer_step (transformers, Llama4TextConfig)
    "llama4_text": "moe_layers",
    "minimax_m2": "mtp_transformer_layers rotary_dim",
    "ministral": "",
    "ministral3": "",
    "mistral": "",
    "mixtral": "",
    "nemotron": "",
    # chunk_size only cuts the prefill into parts; the pattern tells the rest (transformers, NemotronHConfig)
    "nemotron_h": "attention_head_dim chunk_size mamba_chunk_size mamba_head_dim mamba_num_heads moe_shared_expert_intermediate_size "
    "ssm_state_size time_step_rank",
    "olmo": "",
    "olmo2": "",
    "olmo3": "",
    "olmoe": "",
    "phi3": "",
    "phimoe": "",
    "qwen2": "",
    "qwen2_5_vl": "",
    "qwen2_5_vl_text": "",
    "qwen2_moe": "",
    "qwen2_vl": "",
    "qwen2_vl_text": "",
    "qwen3": "",
    "qwen3_5_moe_text": "",
    "qwen3_5_text": "",
    "qwen3_moe": "",
    "qwen3_next": "",
    "qwen3_vl_moe_text": "",
    "qwen3_vl_text": "",
    "seed_oss": "",
    "smollm3": "",
    "starcoder2": "",
    # The pooler's and type_vocab_size (transformers, BertConfig); local attention changes no weights and encoders have no cache
    "bert": "type_vocab_size pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head",
    "modernbert": "global_attn_every_n_layers",
    "roberta": "type_vocab_size",
    "xlm-roberta": "type_vocab_size",
}
# Encoders of which vLLM has an implementation that is modelled here (vllm/model_executor/models/registry.py, 0.32).
ENCODER_TYPES = _keys("bert modernbert roberta xlm-roberta")
# Other encoders (transformers, their modelling files).
_OTHER_ENCODER_TYPES = _keys("albert camembert deberta deberta-v2 distilbert electra gte mpnet new nomic_bert xlm-roberta-xl")
# Ends of names of architectures that generate and, of the others, of those that make a vector or score of each prompt: a model without
# any head does (_SUFFIX_TO_DEFAULTS in vllm/config/model.py, 0.32).
_GENERATING = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")
_POOLING = ("ForTextEncoding", "ForSequenceClassification", "ForRewardModeling", "Model")
# Heads that write no text either, and say something of each token (transformers, modeling_auto.py).
_OTHER_HEADS = ("ForMaskedLM", "ForQuestionAnswering", "ForTokenClassification")


def is_pooling(top: Fields) -> bool:
    """Whether the model makes vectors or scores of whole prompts instead of text; FieldError for what cannot be planned at all."""
    kinds = top.texts("architectures") if top.has("architectures") else ()
    model_type = top.optional_text("model_type") or ""
    named = kinds[0] if kinds else model_type
    key = "architectures" if kinds else "model_type"
    if model_type in _OTHER_ENCODER_TYPES:
        known = ", ".join(sorted(ENCODER_TYPES))
        raise top.error(key, f"{named} is an encoder of a type that is not modelled (known: {known}), so its memory cannot be counted")
    if named.endswith(_OTHER_HEADS):
        raise top.error(key, f"{named} writes no text and gives no vector or score per prompt, and so cannot be planned")
    if top.flag("is_encoder_decoder", default=False):
        raise top.error("is_encoder_decoder", "encoder-decoder models are not supported")
    return model_type in ENCODER_TYPES or (not named.endswith(_GENERATING) and named.endswith(_POOLING))


def check_known(text: Fields, model_type: str) -> None:
    """FieldError for a model type, or a key of it that speaks of shapes, of which nothing is known."""
    if not model_type:
        raise text.error("model_type", f"missing; it says how the other keys are to be read (known: {', '.join(_TYPES)})")
    if model_type not in _TYPES:
        known = ", ".join(_TYPES)
        hint = "take a model of the catalogue, or add one there with its dimensions"
        raise text.error("model_type", f"{model_type!r} is not known, so weights and KV cache cannot be counted (known: {known}); {hint}")
    keys = _READ | _HARMLESS | _keys(_TYPES[model_type])
    for key in sorted(text.values):
        if key not in keys and _bears_shape(key, text.values[key]):
            hint = "add the model to the catalogue with its dimensions, or remove the key when it changes no shape"
            unknown = f"{model_type} models are not known to have this key (value {text.values[key]!r})"
            raise text.error(key, f"{unknown}, whose name speaks of shapes: weights and KV cache could be counted wrongly; {hint}")


def _bears_shape(key: str, value: object) -> bool:
    """Whether it may: 0, null and an empty list stand for what is not there."""
    counts = isinstance(value, int | list) and not isinstance(value, bool) and bool(value)
    return counts and not _SHAPE_WORDS.isdisjoint(key.lower().split("_"))
