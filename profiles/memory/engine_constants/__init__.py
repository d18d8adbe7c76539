"""Engine constants: what an engine version takes beside weights and KV cache, one YAML file per range of versions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from profiles.fields import FieldError, Fields
from profiles.memory.engine_constants.constants import ByLayout, EngineConstants, decode_constants, encode_constants
from profiles.store.versions import version_key
from profiles.yaml_text import YamlTextError, plain_yaml

__all__ = ["ByLayout", "EngineConstants", "constants_for", "constants_text", "read_constants"]


def read_constants(name: str, text: str) -> EngineConstants:
    """The constants a YAML text holds; FieldError names the file and the key that is missing, unknown or wrong."""
    try:
        content = plain_yaml(text)
    except YamlTextError as error:
        raise FieldError(f"{name}: {error}") from None
    if not isinstance(content, dict):
        raise FieldError(f"{name}: must be a mapping")
    return decode_constants(Fields(name, content))


def constants_text(constants: EngineConstants) -> str:
    """YAML text that read_constants reads."""
    # PyYAML's own limit for plain text is 80 columns; a source is one line here.
    return yaml.safe_dump(encode_constants(constants), sort_keys=False, width=10_000, allow_unicode=True)


@cache
def _builtin() -> tuple[EngineConstants, ...]:
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    found = (read_constants(file.name, file.read_text(encoding="utf-8")) for file in files)
    return tuple(sorted(found, key=lambda constants: version_key(constants.from_version)))


@cache
def constants_for(engine_version: str) -> EngineConstants:
    """The constants that hold for a version of vLLM; the oldest ones for versions before every range."""
    held = [constants for constants in _builtin() if version_key(constants.from_version) <= version_key(engine_version)]
    return held[-1] if held else _builtin()[0]
