"""Models with task: embed, and demand for them: what cannot be said of models that generate nothing."""

from __future__ import annotations

from collections.abc import Iterable

from planner.spec.declared_model import DEFAULT_MAX_MODEL_LEN, DeclaredModel
from planner.spec.messages import Loc
from profiles.models import Architecture


def embed_problems(declared: DeclaredModel, architecture: Architecture) -> Iterable[tuple[Loc, str]]:
    """What is wrong with the settings of a model that makes one vector or score of each prompt.

    A prompt is read in one step: vLLM reads no prompt in parts for encoders, and for decoders only where the last token is what is pooled
    (ModelConfig.is_chunked_prefill_supported, 0.32).
    """
    longest = declared.max_model_len or min(DEFAULT_MAX_MODEL_LEN, architecture.max_position)
    steps: list[tuple[Loc, int]] = [
        (("choices", "max_num_batched_tokens", index), tokens) for index, tokens in enumerate(declared.choices.max_num_batched_tokens)
    ]
    if "max_num_batched_tokens" in declared.model_fields_set:
        steps.append((("max_num_batched_tokens",), declared.max_num_batched_tokens))
    for loc, tokens in steps:
        if tokens < longest:
            yield loc, f"{tokens} tokens are less than max_model_len {longest}: a prompt that is embedded is read in one step"
    if declared.adapters:
        yield ("adapters",), "adapters are planned for models that generate only"
    if declared.stream_interval != 1:
        yield ("stream_interval",), "nothing is streamed by a model with task: embed; leave it out"
    if architecture.encoder is not None and (declared.kv_cache_dtype != "auto" or declared.choices.kv_cache_dtype):
        yield ("kv_cache_dtype",), f"{architecture.name} is an encoder and has no KV cache; leave it out, in choices too"
