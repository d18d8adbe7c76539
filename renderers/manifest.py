"""What a renderer produces: texts with their places, nothing written yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


class RenderError(ValueError):
    """A plan that a target cannot express; the message says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class File:
    """One file: its path relative to the target's folder (with `/`), its text, and whether it may be executed."""

    path: str
    text: str
    executable: bool = False


Manifest: TypeAlias = tuple[File, ...]
"""Files in the order they must be written."""
