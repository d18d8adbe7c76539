"""What llama-swap takes as its configuration, as far as it is rendered here.

Written in our own words after the description in its repository (mostlygeek/llama-swap: config-schema.json, and the guides about
groups and matrix, about cmd and about unloading), read in November 2026; strict where that is lax: no field beside the described ones.
"""

from __future__ import annotations

from typing import Any

NAME_OF_VARIABLE = "^[a-zA-Z0-9]{1,8}$"
ASSIGNMENT = "^[A-Z_][A-Z0-9_]*=.*$"


def _fields(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _number(least: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least}


def _named(value: dict[str, Any], pattern: str = "") -> dict[str, Any]:
    return {"type": "object", "minProperties": 1, "additionalProperties": value, "propertyNames": {"pattern": pattern}}


TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT}

MODEL = _fields(
    ("cmd",),
    cmd=TEXT,
    proxy={"type": "string", "format": "uri"},
    checkEndpoint={"type": "string", "pattern": "^/.*$|^none$"},
    ttl=_number(-1),
    unloadTimeout=_number(0),
    env={"type": "array", "items": {"type": "string", "pattern": ASSIGNMENT}},
    aliases=TEXTS,
)
MATRIX = _fields(
    ("vars", "sets"),
    vars=_named(TEXT, NAME_OF_VARIABLE),
    evict_costs=_named(_number(1), NAME_OF_VARIABLE),
    sets=_named(TEXT),
)
CONFIG = _fields(
    ("models",),
    healthCheckTimeout=_number(15),
    unloadTimeout=_number(0),
    globalTTL=_number(0),
    models={"type": "object", "additionalProperties": MODEL},
    matrix=MATRIX,
    hooks=_fields((), on_startup=_fields((), preload=TEXTS)),
)
