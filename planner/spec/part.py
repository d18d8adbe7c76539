"""What all mappings of a fleet file have in common."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Declared(BaseModel):
    """A mapping of the file; moved tells where fields of before are now."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)
    moved: ClassVar[Mapping[str, str]] = MappingProxyType({})
