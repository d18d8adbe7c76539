"""Speculative decoding: what vLLM's --speculative-config asks for, as far as its memory and its steps can be counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from profiles.models import Architecture, Speculation
from profiles.settings import EngineSettings

FLAG = "speculative-config"
"""The flag of `vllm serve` that asks for it, without dashes."""

# Methods that propose tokens from the prompt, on the CPU and on the GPU, and with a smaller model (vllm/config/speculative.py, 0.32).
_LOOK_UP = ("ngram", "ngram_gpu")
_DRAFT = "draft_model"
_KEYS = ("method", "model", "num_speculative_tokens", "prompt_lookup_max", "prompt_lookup_min")
# Far more than pays: engines are run with two to eight.
_MOST_TOKENS = 64


class SpeculationError(ValueError):
    """A --speculative-config that is wrong or whose cost cannot be counted; the message says what is."""


def speculating(architecture: Architecture, config: str, find: Callable[[str], Architecture]) -> Architecture:
    """The model as an engine with this --speculative-config (JSON) runs it. find looks a draft model up by its name or absolute path.

    SpeculationError for what vLLM refuses and for methods whose memory is not counted.
    """
    asked = _parsed(config)
    tokens = _tokens(asked)
    method = asked.get("method") or (_DRAFT if "model" in asked else None)
    if method in _LOOK_UP:
        if "model" in asked:
            raise SpeculationError(f"model: method {method} looks tokens up in the prompt and has no draft model; leave it out")
        return architecture.speculating(Speculation(tokens, None))
    if method != _DRAFT:
        known = ", ".join((*_LOOK_UP, _DRAFT))
        raise SpeculationError(f"method: {method!r} is not counted: what it takes of the GPU's memory is not known (known: {known})")
    return architecture.speculating(Speculation(tokens, _draft(architecture, asked, find)))


def draft_settings(draft: Architecture, settings: EngineSettings) -> EngineSettings:
    """The settings of the draft model in an engine with these: its own weight format, and no more than its own positions."""
    return replace(settings, quantization=None, max_model_len=min(settings.max_model_len, draft.max_position))


def _parsed(config: str) -> dict[str, object]:
    try:
        asked = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise SpeculationError(f"is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise SpeculationError(f"must be a JSON object with {', '.join(_KEYS)}")
    unknown = sorted(set(asked) - set(_KEYS))
    if unknown:
        raise SpeculationError(f"{unknown[0]}: what this key changes is not counted; leave it out (known: {', '.join(_KEYS)})")
    return asked


def _tokens(asked: dict[str, object]) -> int:
    value = asked.get("num_speculative_tokens")
    if type(value) is not int or not 1 <= value <= _MOST_TOKENS:
        raise SpeculationError(f"num_speculative_tokens: must be a whole number from 1 to {_MOST_TOKENS}, is {value!r}")
    return value


def _draft(architecture: Architecture, asked: dict[str, object], find: Callable[[str], Architecture]) -> Architecture:
    name = asked.get("model")
    if not isinstance(name, str) or not name:
        raise SpeculationError("model: missing; method draft_model needs the name of a smaller model of the same vocabulary")
    if name.startswith("."):
        raise SpeculationError(f"model: {name!r} is a relative path; give a name of the catalogue or an absolute path")
    try:
        draft = find(name)
    except ValueError as error:
        raise SpeculationError(f"model: {error}") from None
    if draft.vocab != architecture.vocab:
        raise SpeculationError(
            f"model: the vocabulary of {draft.name} has {draft.vocab} tokens, that of {architecture.name} {architecture.vocab}; "
            "they must be the same"
        )
    for model in (architecture, draft):
        if model.recurrent or model.mla or model.sliding_layers or model.global_layers or model.encoder or model.pooling:
            raise SpeculationError(
                f"model: {model.name} does not keep keys and values of all tokens in every layer; beside such a model the KV cache of "
                "a draft model is not counted"
            )
    return draft
