"""Quantities as people write them ("80GiB", "500ms", "3.2/s", "2.95 USD/h") read into numbers of one fixed unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from planner.spec.nearest import nearest

# Decimal digits only: exponents would let ten characters name a number that fills the memory.
NUMBER_PATTERN = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
_NUMBER = re.compile(rf"\s*(-?)({NUMBER_PATTERN})(.*)", re.DOTALL)


class UnitError(ValueError):
    """A quantity that cannot be read; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One kind of quantity: what people call it, its units as factors to the unit it is read into, and examples."""

    noun: str
    factors: Mapping[str, Fraction]
    examples: tuple[str, ...]
    currency: str = ""

    @property
    def pattern(self) -> str:
        """Regular expression of everything `read` accepts."""
        return rf"^\s*{NUMBER_PATTERN}\s*({'|'.join(re.escape(unit) for unit in self.factors)})\s*$"

    def read(self, text: object) -> Fraction:
        """The exact value, zero or more, in the dimension's own unit. Raises UnitError."""
        found = _NUMBER.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise UnitError(f"is not {self.noun}; write for example {self.examples[0]}")
        sign, number, unit = found[1], found[2], found[3].strip()
        units = ", ".join(self.factors)
        space = " " if " " in self.examples[0] else ""
        if not unit:
            likely = self.examples[0].lstrip("0123456789. ")
            raise UnitError(f"has no unit; write {number}{space}{likely} if that is meant (units: {units})")
        if unit not in self.factors:
            self._check_currency(unit)
            close = nearest(unit, self.factors)
            hint = f"; did you mean {number}{space}{close}?" if close else ""
            raise UnitError(f"has the unknown unit {unit[:20]!r}{hint} (units: {units})")
        if sign:
            raise UnitError("must not be negative")
        return Fraction(number) * self.factors[unit]

    def _check_currency(self, unit: str) -> None:
        """Other currencies are named as such: a figure in the right one would be another price."""
        written = unit.partition("/")[0].strip()
        if self.currency and written.casefold() not in {"", "$", "us$", self.currency.casefold()}:
            raise UnitError(f"is in {written[:20]!r}; prices are in US dollars ({self.currency}): convert it, as in {self.examples[0]}")


BYTES = Dimension(
    "a memory size",
    {
        "GiB": Fraction(1024**3),
        "MiB": Fraction(1024**2),
        "TiB": Fraction(1024**4),
        "KiB": Fraction(1024),
        "GB": Fraction(1000**3),
        "MB": Fraction(1000**2),
        "TB": Fraction(1000**4),
    },
    ("80GiB", "512MiB", "1.5TiB"),
)
SECONDS = Dimension(
    "a duration",
    {"ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)},
    ("500ms", "2s", "10min", "0.5h"),
)
RATE = Dimension(
    "a rate",
    {"/s": Fraction(1), "/min": Fraction(1, 60), "/h": Fraction(1, 3600), "/d": Fraction(1, 86400)},
    ("3.2/s", "120/min", "50/h"),
)
AMOUNT = Dimension("an amount of money", {"USD": Fraction(1)}, ("0.50 USD",), currency="USD")
PRICE = Dimension(
    "a price",
    {"USD/h": Fraction(1), "USD/d": Fraction(1, 24)},
    ("2.95 USD/h",),
    currency="USD",
)
