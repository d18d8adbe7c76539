"""Credentials never reach a rendered file or a command line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel

from renderers.manifest import RenderError

# Hugging Face's user access tokens: hf_ and 34 letters or digits; 20 also catches a truncated one and no ordinary name.
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")


def refuse_credentials(document: BaseModel, where: str) -> None:
    """Raise RenderError, without repeating the value, when a text of the document looks like an access token."""
    found = [path for path, text in _texts(document.model_dump(mode="json"), where) if _TOKEN.search(text)]
    if found:
        raise RenderError(
            "\n".join(f"{path}: holds what looks like a Hugging Face access token (hf_...)" for path in found)
            + "\nremove it and give it to the engine in the environment variable HF_TOKEN; a token that was in a file should be revoked"
        )


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{path} (a key)", str(key)
            yield from _texts(item, f"{path}.{_TOKEN.sub('hf_...', str(key))}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}.{index}")
