from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.spec.nearest import nearest
from planner.spec.units import BYTES, PRICE, RATE, SECONDS, Dimension, UnitError

DIMENSIONS = [BYTES, PRICE, RATE, SECONDS]


def memory_bytes(text: object) -> int:
    return int(BYTES.read(text))


def duration_s(text: object) -> float:
    return float(SECONDS.read(text))


def rate_rps(text: object) -> float:
    return float(RATE.read(text))


def price_usd_per_h(text: object) -> float:
    return float(PRICE.read(text))


@pytest.mark.parametrize(
    ("text", "expected_bytes"),
    [("80GiB", 80 * 1024**3), ("512 MiB", 512 * 1024**2), ("1.5TiB", 3 * 2**39), ("80GB", 80 * 10**9), (" 0GiB ", 0)],
)
def test_memory(text: str, expected_bytes: int) -> None:
    assert memory_bytes(text) == expected_bytes


@pytest.mark.parametrize(("text", "expected_s"), [("500ms", 0.5), ("2s", 2.0), ("10min", 600.0), ("0.5h", 1800.0), ("1d", 86400.0)])
def test_duration(text: str, expected_s: float) -> None:
    assert duration_s(text) == expected_s


@pytest.mark.parametrize(("text", "expected_rps"), [("3.2/s", 3.2), ("120/min", 2.0), ("50 /h", 50 / 3600)])
def test_rate(text: str, expected_rps: float) -> None:
    assert rate_rps(text) == expected_rps


@pytest.mark.parametrize("text", ["2 EUR/h", "2 AUD/h", "2 €/h", "2 dollars/h"])
def test_a_price_in_another_currency_is_not_turned_into_dollars(text: str) -> None:
    with pytest.raises(UnitError) as error:
        price_usd_per_h(text)
    written = text.split()[1].removesuffix("/h")
    assert str(error.value) == f"is in {written!r}; prices are in US dollars (USD): convert it, as in 2.95 USD/h"


def test_a_price_per_another_time_is_corrected() -> None:
    with pytest.raises(UnitError, match="did you mean 2 USD/h"):
        price_usd_per_h("2 USD/hr")


def test_price() -> None:
    assert price_usd_per_h("2.95 USD/h") == 2.95
    assert price_usd_per_h("48USD/d") == 2.0


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (memory_bytes, "80", "has no unit; write 80GiB if that is meant"),
        (price_usd_per_h, "2.95", "has no unit; write 2.95 USD/h"),
        (rate_rps, "3", "has no unit; write 3/s"),
        (duration_s, "500", "has no unit; write 500ms"),
        (memory_bytes, "80gib", "did you mean 80GiB?"),
        (rate_rps, "3/sec", "did you mean 3/s?"),
        (duration_s, "-2s", "must not be negative"),
        (duration_s, "soon", "is not a duration; write for example 500ms"),
        (duration_s, "nan", "is not a duration"),
        (duration_s, ".inf", "is not a duration"),
        (rate_rps, "1e999/s", "has the unknown unit"),
        (memory_bytes, "9" * 5000 + "GiB", "has the unknown unit"),
        (memory_bytes, None, "is not a memory size"),
        (memory_bytes, ["80GiB"], "is not a memory size"),
    ],
)
def test_errors_say_what_to_write(read: object, text: object, expected: str) -> None:
    assert callable(read)
    with pytest.raises(UnitError, match=re.escape(expected)):
        read(text)


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda dimension: dimension.noun)
def test_examples_match_the_pattern_and_read(dimension: Dimension) -> None:
    for example in dimension.examples:
        assert re.fullmatch(dimension.pattern, example)
        assert dimension.read(example) > 0


@given(st.sampled_from(DIMENSIONS), st.text(alphabet="0123456789. -+eE/hsminUSDGMKTB_\n", max_size=24))
def test_the_pattern_of_the_schema_is_what_is_read(dimension: Dimension, text: str) -> None:
    try:
        value: Fraction | None = dimension.read(text)
    except UnitError:
        value = None
    assert (value is not None) == bool(re.search(dimension.pattern, text))
    assert value is None or (value >= 0 and math.isfinite(value))


@given(st.integers(0, 10**15), st.sampled_from(sorted(BYTES.factors)))
def test_whole_numbers_of_any_unit_are_exact(number: int, unit: str) -> None:
    assert memory_bytes(f"{number}{unit}") == number * BYTES.factors[unit]


def test_nearest() -> None:
    assert nearest("Interactve", ["interactive", "standard"]) == "interactive"
    assert nearest("zzz", ["interactive", "standard"]) is None
    assert nearest("x", []) is None
