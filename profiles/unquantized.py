"""Which weights of a quantised checkpoint are not quantised: the modules that its quantisation leaves out.

Names and patterns are those of config.json's quantization_config (modules_to_not_convert, ignore, ignored_layers, exclude_modules): `re:`
begins a regular expression, `*` stands for any text, and anything else is a module's name or a part of it between dots; what is named
stands for all below it. Where engines take a name more strictly, more is counted as unquantised here, which is the safe side.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from profiles.fields import Fields
from profiles.models import Architecture

# What stands before "layers.N" in the modules' names of text and multimodal models (transformers, their modelling files).
_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "backbone.", "")
_FROM_LAYER = re.compile(r"(?:.*\.)?(layers\.\d.*)")
_REGULAR = "re:"


@dataclass(frozen=True, slots=True)
class Unquantized:
    """Parameters that stay in the model's dtype: of attention and recurrent layers, of MLPs that every token passes, of routed experts."""

    attention_parameters: float = 0.0
    mlp_parameters: float = 0.0
    expert_parameters: float = 0.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """Modules of one kind of layer: what checkpoints call each below the layer, with its share; how many layers and parameters in all."""

    modules: tuple[tuple[tuple[str, ...], float], ...]
    layers: int
    parameters: int


def module_patterns(fields: Fields, key: str) -> tuple[str, ...]:
    """The names and patterns that a file lists under a key, () when it lists none; FieldError for what is no pattern."""
    patterns = fields.texts(key) if fields.has(key) else ()
    for pattern in patterns:
        try:
            re.compile(pattern.removeprefix(_REGULAR) if pattern.startswith(_REGULAR) else "")
        except re.error as error:
            raise fields.error(key, f"{pattern!r} is no regular expression: {error}") from None
    return patterns


@lru_cache(maxsize=256)
def unquantized(architecture: Architecture) -> Unquantized:
    """Parameters of the blocks' linear layers that architecture.unquantized_modules names; expert 0 of a layer stands for all of them."""
    if not architecture.unquantized_modules:
        return Unquantized()
    matches = _matcher(architecture.unquantized_modules)

    def kept(kinds: Sequence[_Kind]) -> float:
        return sum(kind.parameters * _fraction(kind, architecture.layers, matches) for kind in kinds)

    return Unquantized(kept(_attention(architecture)), kept(_mlps(architecture)), kept(_experts(architecture)))


def _fraction(kind: _Kind, model_layers: int, matches: Callable[[str], bool]) -> float:
    """Share of the kind's parameters that is named. Which layers are of the kind is not known: those named are counted, at most all."""
    total = sum(share for _, share in kind.modules)
    named = 0.0
    for names, share in kind.modules:
        layers = sum(any(matches(f"layers.{layer}.{name}") for name in names) for layer in range(model_layers))
        named += share * min(layers, kind.layers) / kind.layers
    return named / total


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    literals, regulars = set(), []
    for pattern in patterns:
        if pattern.startswith(_REGULAR):
            regulars.append(re.compile(pattern[len(_REGULAR) :]))
        elif "*" in pattern:
            regulars += [re.compile(fnmatch.translate(text)) for text in (pattern, f"{pattern}.*")]
        else:
            below = _FROM_LAYER.fullmatch(pattern)
            literals.add(below[1] if below else pattern)

    def matches(module: str) -> bool:
        parts = module.split(".")
        spans = (".".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1))
        if not literals.isdisjoint(spans):
            return True
        return any(regular.match(prefix + module) for regular in regulars for prefix in _PREFIXES)

    return matches


def _under(holders: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{holder}.{name}" for holder in holders for name in names)


def _attention(architecture: Architecture) -> tuple[_Kind, ...]:
    recurrent = architecture.recurrent
    found = []
    if architecture.attention_layers:
        if architecture.mla is not None:
            mla = architecture.mla
            queries = architecture.heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
            values = mla.kv_lora_rank * architecture.heads * (mla.qk_nope_head_dim + mla.v_head_dim)
            shares = [
                (("q_a_proj",), architecture.hidden * (mla.q_lora_rank or 0)),
                (("q_b_proj", "q_proj"), queries * (mla.q_lora_rank or architecture.hidden)),
                (("kv_a_proj_with_mqa",), architecture.hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim)),
                (("kv_b_proj",), values),
                (("o_proj",), architecture.hidden * architecture.heads * mla.v_head_dim),
            ]
        else:
            gates = 2 if architecture.gated_attention else 1
            shares = [
                (("q_proj", "qkv_proj", "c_attn"), architecture.heads * gates),
                (("k_proj", "qkv_proj", "c_attn"), architecture.kv_heads),
                (("v_proj", "qkv_proj", "c_attn"), architecture.kv_heads),
                (("o_proj", "out_proj", "dense"), architecture.heads),
            ]
        modules = tuple(((*_under(("self_attn", "attention"), names), f"mixer.{names[0]}"), float(share)) for names, share in shares)
        attention = architecture.attention_parameters - (recurrent.layers * recurrent.parameters(architecture.hidden) if recurrent else 0)
        found.append(_Kind(modules, architecture.attention_layers, attention))
    if recurrent is not None:
        incoming = ("in_proj", "in_proj_qkvz", "in_proj_qkv", "in_proj_ba")
        shares = [(incoming, recurrent.conv_width + recurrent.value_width), (("out_proj",), recurrent.value_width)]
        modules = tuple((_under(("linear_attn", "mixer"), names), float(share)) for names, share in shares)
        found.append(_Kind(modules, recurrent.layers, recurrent.layers * recurrent.parameters(architecture.hidden)))
    return tuple(found)


def _matrices(architecture: Architecture, holders: Sequence[str]) -> tuple[tuple[tuple[str, ...], float], ...]:
    """The matrices of an MLP, equal in size."""
    up, down = ("up_proj", "gate_up_proj", "w3", "fc1", "c_fc"), ("down_proj", "w2", "fc2", "c_proj")
    gate = [("gate_proj", "gate_up_proj", "w1")] if architecture.gated_mlp else []
    return tuple((_under(holders, names), 1.0) for names in (*gate, up, down))


def _mlps(architecture: Architecture) -> tuple[_Kind, ...]:
    plain = ("mlp", "feed_forward", "mixer")
    experts = architecture.experts
    if experts is None:
        return (_Kind(_matrices(architecture, plain), architecture.mlp_layers, architecture.dense_mlp_parameters),)
    found = []
    routers = experts.layers * architecture.hidden * experts.count
    shared = experts.layers * (3 if architecture.gated_mlp else 2) * architecture.hidden * experts.shared_intermediate
    dense_layers = architecture.mlp_layers - experts.layers
    if dense_layers > 0:
        found.append(_Kind(_matrices(architecture, plain), dense_layers, architecture.dense_mlp_parameters - routers - shared))
    if shared:
        holders = _under(plain, ("shared_expert", "shared_experts"))
        found.append(_Kind(_matrices(architecture, (*holders, "shared_mlp")), experts.layers, shared))
    if routers:
        names = _under((*plain, "block_sparse_moe"), ("gate", "router"))
        found.append(_Kind(((names, 1.0),), experts.layers, routers))
    return tuple(found)


def _experts(architecture: Architecture) -> tuple[_Kind, ...]:
    experts = architecture.experts
    if experts is None or not architecture.expert_parameters:
        return ()
    holders = _under(("mlp", "feed_forward", "mixer", "block_sparse_moe"), ("experts.0", "experts"))
    return (_Kind(_matrices(architecture, holders), experts.layers, architecture.expert_parameters),)
