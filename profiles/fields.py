"""Typed reading of a mapping that came out of a file: every error names the file and the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


class FieldError(ValueError):
    """A file of facts that lacks a key, has an unknown one or a wrong value; the message names file and key."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The keys of one mapping; file and prefix say where it stands. Optional readers give None for a missing key and for null."""

    file: str
    values: Mapping[str, object]
    prefix: str = ""

    def error(self, key: str, problem: str) -> FieldError:
        """The error to raise about a key."""
        return FieldError(f"{self.file}: {self.prefix}{key}: {problem}")

    def has(self, key: str) -> bool:
        """Whether the key is there with a value other than null."""
        return self.values.get(key) is not None

    def _required(self, key: str) -> object:
        value = self.values.get(key)
        if value is None:
            raise self.error(key, "missing" if key not in self.values else "must not be null")
        return value

    def integer(self, key: str, minimum: int = 1) -> int:
        """A whole number, at least minimum."""
        value = self._required(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"must be a whole number, is {value!r}")
        if value < minimum:
            raise self.error(key, f"must be at least {minimum}, is {value}")
        return value

    def optional_integer(self, key: str, minimum: int = 1) -> int | None:
        """As integer, or None."""
        return self.integer(key, minimum) if self.has(key) else None

    def number(self, key: str) -> float:
        """A finite number above 0."""
        value = self._required(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"must be a number, is {value!r}")
        if not math.isfinite(value) or value <= 0:
            raise self.error(key, f"must be a finite number above 0, is {value}")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """As number, or None."""
        return self.number(key) if self.has(key) else None

    def text(self, key: str, choices: tuple[str, ...] = ()) -> str:
        """A non-empty string, one of the choices when there are any."""
        value = self._required(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"must be text, is {value!r}")
        if choices and value not in choices:
            raise self.error(key, f"must be one of {', '.join(choices)}, is {value!r}")
        return value

    def optional_text(self, key: str, choices: tuple[str, ...] = ()) -> str | None:
        """As text, or None."""
        return self.text(key, choices) if self.has(key) else None

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, is {value!r}")
        return value

    def items(self, key: str) -> tuple[object, ...]:
        """A list."""
        value = self._required(key)
        if not isinstance(value, list):
            raise self.error(key, f"must be a list, is {value!r}")
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be a list of texts")
        return tuple(str(value) for value in values)

    def table(self, key: str) -> Fields:
        """A nested mapping."""
        return self.nested(self._required(key), key)

    def nested(self, value: object, path: str) -> Fields:
        """Fields of a value found under path; the value must be a mapping with text keys."""
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise self.error(path, f"must be a mapping, is {value!r}")
        return Fields(self.file, value, f"{self.prefix}{path}.")

    def only(self, allowed: frozenset[str]) -> Fields:
        """These fields, after checking that no other key is present."""
        unknown = sorted(set(self.values) - allowed)
        if unknown:
            raise self.error(unknown[0], f"unknown key (allowed: {', '.join(sorted(allowed))})")
        return self
