"""Quantised checkpoints of models the catalogue has, recognised by what people append to the model's name."""

from __future__ import annotations

import re
from dataclasses import replace

from profiles.memory.weights import whole_weight_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings

_GIB = 1 << 30
# Endings (letter case aside) and the weight format they stand for: RedHatAI and Neural Magic, Qwen, NVIDIA and others name theirs so.
_ENDINGS = (
    (r"fp8(?:[-_](?:dynamic|static|block|kv))*", "fp8"),
    (r"awq(?:[-_](?:int4|4bit))?", "awq"),
    (r"gptq[-_]int8", "int8"),
    (r"gptq(?:[-_](?:int4|4bit|4b))?(?:[-_]128g)?", "gptq"),
    (r"(?:nvfp4|fp4)(?:-v\d)?", "nvfp4"),
    (r"(?:quantized[.-])?w4a16(?:[-_]g128)?|int4", "int4"),
    (r"(?:quantized[.-])?w8a(?:8|16)|int8", "int8"),
)
_PATTERNS = tuple((re.compile(rf"(?P<base>.+?)[-_.](?:{ending})", re.IGNORECASE), quant) for ending, quant in _ENDINGS)


def base_and_format(name: str) -> tuple[str, str] | None:
    """(name of the plain model without its organisation, weight format) of an id with an organisation; None for other names."""
    organisation, _, checkpoint = name.partition("/")
    if not organisation or not checkpoint:
        return None
    for pattern, quant in _PATTERNS:
        found = pattern.fullmatch(checkpoint)
        if found is not None:
            return found["base"], quant
    return None


# What published checkpoints leave unquantised at most. AutoAWQ and GPTQ quantise every linear layer but routers and recurrent layers; of
# the others Meta's Llama-3.1-405B-Instruct-FP8 leaves out most: attention and the first and last layer.
_ROUTERS_AND_STATES = ("mlp.gate", "block_sparse_moe.gate", "linear_attn", "re:.*mixer\\.(?:in|out)_proj")
_EVERY_LINEAR = ("awq", "gptq")


def variant(model: Architecture, name: str, quant: str) -> Architecture:
    """The checkpoint of that name, of which nothing else is known: the most that it may leave unquantised is counted."""
    # Narrower copies of a mixture of experts that comes quantised narrow the experts alone (nvidia/DeepSeek-R1-FP4).
    narrowed = model.checkpoint_quant is not None and model.checkpoint_quant != quant and model.experts is not None
    scope = "experts" if narrowed else "linear"
    least = replace(model, name=name, aliases=(), checkpoint_quant=quant, quant_scope=scope, unquantized_modules=())
    kept = _ROUTERS_AND_STATES if quant in _EVERY_LINEAR else (*_ROUTERS_AND_STATES, "self_attn", "layers.0", f"layers.{model.layers - 1}")
    most = replace(least, unquantized_modules=kept)
    low_gib, high_gib = (whole_weight_bytes(one, EngineSettings(dtype="auto")) / _GIB for one in (least, most))
    known_by = f"format {quant} by the checkpoint's name"
    if low_gib == high_gib:
        return replace(least, source=f"{model.source}; {known_by}")
    note = (
        f"{known_by}, which does not tell what is left unquantised: weights of {low_gib:.1f} to {high_gib:.1f} GiB, "
        "the most is counted; give a folder with its config.json as source to know"
    )
    return replace(most, source=f"{model.source}; {note}", weights_note=f"{name}: {note}")
