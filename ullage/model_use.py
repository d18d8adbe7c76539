"""What a model is used for."""

from __future__ import annotations

from enum import StrEnum


class ModelUse(StrEnum):
    """What a model does; see models.NAME.task of a fleet file."""

    EMBED = "embed"
    GENERATE = "generate"
