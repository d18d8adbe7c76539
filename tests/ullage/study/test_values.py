"""Values of settings: lists, ranges, brackets, and everything that is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.study.values import MOST_VALUES, setting_of, shown, split, values_of


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("2..6", ("2", "3", "4", "5", "6")),
        ("2..8..3", ("2", "5", "8")),
        ("x0.5,x1,x2", ("x0.5", "x1", "x2")),
        ("[exclusive],[exclusive, time_shared]", (["exclusive"], ["exclusive", "time_shared"])),
        ("{mean: 5, p99: 9},7", ({"mean": "5", "p99": "9"}, "7")),
        ("'a,b',c", ("a,b", "c")),
        ("2.5 USD/h", ("2.5 USD/h",)),
        (range(2, 4), (2, 3)),
        (["x1", "x2"], ("x1", "x2")),
        (3, (3,)),
        ({"mean": 5}, ({"mean": 5},)),
        (None, (None,)),
        (True, (True,)),
        ("1..3,2..4", ("1", "2", "3", "4")),
        ([1, 1, "1"], (1,)),
    ],
)
def test_values_are_read_as_they_are_written(given: object, values: tuple[object, ...]) -> None:
    assert values_of("a.b", given) == values


def test_arrays_are_lists_of_values() -> None:
    assert [shown(value) for value in values_of("a.b", np.arange(2, 5))] == ["2", "3", "4"]
    assert [shown(value) for value in values_of("a.b", np.array([0.5, 1.0]))] == ["0.5", "1"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("6..2", "the range 6..2 is empty; write 2..6"),
        ("2..6..0", "makes no steps"),
        ("1,,2", "a value is missing"),
        ("", "a value is missing"),
        ([], "there are no values in"),
        (range(0), "there are no values in"),
        ("1..99999999", f"more than {MOST_VALUES} values"),
        ([object()], "a fleet file holds texts"),
    ],
)
def test_what_is_no_value_is_refused_with_the_path(given: object, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        values_of("pools.h100.nodes", given)
    assert told in str(error.value)


@pytest.mark.parametrize("text", ["", "=", "pools.h100.nodes", "pools.h100.nodes=", "=3"])
def test_a_setting_needs_both_sides(text: str) -> None:
    with pytest.raises(ValueError, match="write PATH=VALUES"):
        setting_of(text)


@given(st.text(max_size=30))
def test_splitting_loses_nothing_but_the_separators(text: str) -> None:
    assert ",".join(split(text, ",")) == text


def test_what_controls_a_terminal_is_shown_as_text() -> None:
    assert shown("a\x1b[2Jb\u202ec\n") == r"a\x1b[2Jb\u202ec\n"
    assert shown({"\x07": 1}) == r"{\x07: 1}"


def test_values_are_shown_as_a_fleet_file_says_them() -> None:
    assert [shown(value) for value in (None, True, 3, 0.5, ["a", 1], {"a": [1]})] == ["default", "true", "3", "0.5", "[a, 1]", "{a: [1]}"]
