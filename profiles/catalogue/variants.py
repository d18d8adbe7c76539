"""Quantised checkpoints of models the catalogue has, recognised by what people append to the model's name."""

from __future__ import annotations

import re

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
