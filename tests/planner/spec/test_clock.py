"""Windows by the clock: hours past midnight, days of the week, and what cannot be meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.sizing.groups import joint_demand
from planner.spec import Fleet, SpecError
from planner.spec.clock import DAY_S, WEEK_S, read_days, read_hours, stretches_of
from tests.planner.spec.fleet_files import load

HOUR_S = 3600.0

_FLEET = """
schema_version: 1
pools: {p: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 8, price: 1 USD/h}}
models:
  a: {source: Qwen/Qwen2.5-7B-Instruct}
  b: {source: meta-llama/Llama-3.1-8B-Instruct}
workloads:
"""
_LENGTHS = "input_tokens: 100, output_tokens: 10"


def _fleet(*windows: str) -> Fleet:
    """Workloads of models a and b in turn, each with its list of windows."""
    rows = [f"  w{i}: {{model: {'ab'[i]}, demand: {{windows: [{text}]}}}}\n" for i, text in enumerate(windows)]
    return load(_FLEET + "".join(rows))


def _rates(fleet: Fleet) -> list[tuple[float, ...]]:
    return [tuple(window.rates_rps[name] for name in sorted(window.rates_rps)) for window in joint_demand(fleet)[1]]


@given(st.integers(0, 1439), st.integers(0, 1439))
def test_hours_last_until_their_end_on_this_or_the_next_day(start: int, end: int) -> None:
    text = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    start_s, end_s = read_hours(text)
    assert (start_s, end_s % DAY_S) == (start * 60.0, end * 60.0)
    assert 0 < end_s - start_s <= DAY_S
    assert sum(last - first for first, last in stretches_of((start_s, end_s), None)) == end_s - start_s
    week = stretches_of((start_s, end_s), (2, 6))
    assert sum(last - first for first, last in week) == 2 * (end_s - start_s)
    assert all(0 <= first < last <= WEEK_S for first, last in week)


@pytest.mark.parametrize(
    ("text", "days"),
    [("mon-fri", (0, 1, 2, 3, 4)), ("sat,sun", (5, 6)), ("fri-mon", (0, 4, 5, 6)), ("wed", (2,)), ("mon, wed-thu", (0, 2, 3))],
)
def test_days_of_the_week(text: str, days: tuple[int, ...]) -> None:
    assert read_days(text) == days


def test_day_and_night_do_not_meet() -> None:
    fleet = _fleet(f"{{hours: 08:00-20:00, rate: 30/s, {_LENGTHS}}}", f"{{hours: 22:00-06:00, rate: 20/s, {_LENGTHS}}}")
    assert sorted(_rates(fleet)) == [(0.0, 20.0), (30.0, 0.0)]


def test_a_night_of_sunday_goes_on_on_monday() -> None:
    fleet = _fleet(
        f"{{hours: 22:00-06:00, days: sun, rate: 5/s, {_LENGTHS}}}",
        f"{{hours: 00:00-06:00, days: mon, rate: 7/s, {_LENGTHS}}}, {{hours: 00:00-06:00, days: tue, rate: 9/s, {_LENGTHS}}}",
    )
    assert sorted(_rates(fleet)) == [(0.0, 9.0), (5.0, 7.0)]


def test_what_is_declared_for_a_day_repeats_on_all_days_of_others() -> None:
    fleet = _fleet(f"{{hours: 08:00-20:00, days: sat-sun, rate: 3/s, {_LENGTHS}}}", f"{{start: 9h, end: 10h, rate: 4/s, {_LENGTHS}}}")
    assert _rates(fleet) == [(3.0, 4.0)], "on Saturday at nine both are there"


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ("{hours: 8-20, rate: 1/s, L}", "windows[0].hours: '8-20' are no hours of a day; write for example 08:00-20:00"),
        ("{hours: 08:00-25:00, rate: 1/s, L}", "are no hours of a day"),
        (
            "{hours: 08:00-09:00, days: weekend, rate: 1/s, L}",
            "windows[0].days: 'weekend' are no days of a week; write for example mon-fri",
        ),
        ("{hours: 08:00-09:00, start: 1h, rate: 1/s, L}", "windows[0]: a window with hours has no start and no end; leave them out"),
        ("{start: 1h, rate: 1/s, L}", "windows[0].end: is missing; give hours, or start and end"),
        ("{end: 1h, rate: 1/s, L}", "windows[0].start: is missing; give hours, or start and end"),
        ("{rate: 1/s, L}", "windows[0].hours: is missing; give hours, or start and end"),
        ("{start: 1h, end: 2h, days: mon, rate: 1/s, L}", "windows[0].days: days need hours"),
        ("{hours: 08:00-09:00, rate: 1/s, L}, {start: 9h, end: 10h, rate: 1/s, L}", "windows[1]: some windows of this workload have hours"),
        ("{hours: 08:00-12:00, rate: 1/s, L}, {hours: 11:00-13:00, rate: 1/s, L}", "windows[1].hours: overlaps windows[0] at 11:00"),
        (
            "{hours: 22:00-06:00, days: sun, rate: 1/s, L}, {hours: 05:00-07:00, days: mon-fri, rate: 1/s, L}",
            "windows[1].hours: overlaps windows[0] at mon 05:00",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(windows: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        _fleet(windows.replace("L}", f"{_LENGTHS}}}"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        ("{hours: 09:00-18:00, days: mon-fri, rate: 8/s, L}, {hours: 18:00-09:00, rate: 1/s, L}", "sat 09:00 to sat 18:00, sun 09:00"),
        ("{hours: 09:00-18:00, days: mon-fri, rate: 8/s, L}, {hours: 18:00-09:00, rate: 1/s, L}", "18 of 168 hours"),
        ("{hours: 06:00-23:00, rate: 8/s, L}, {hours: 23:00-05:00, rate: 1/s, L}", "no window has 05:00 to 06:00, 1 of 24 hours"),
        ("{start: 0h, end: 20h, rate: 8/s, L}", "no window has 20:00 to 00:00, 4 of 24 hours"),
        # whoever leaves out more means it, and these leave out nothing or do not repeat
        ("{hours: 08:00-20:00, rate: 8/s, L}", ""),
        ("{hours: 08:00-20:00, rate: 8/s, L}, {hours: 20:00-08:00, rate: 1/s, L}", ""),
        ("{start: 0h, end: 200h, rate: 8/s, L}, {start: 201h, end: 300h, rate: 8/s, L}", ""),
    ],
)
def test_hours_that_may_be_forgotten_are_named(windows: str, told: str) -> None:
    found = [warning for warning in _fleet(windows.replace("L}", f"{_LENGTHS}}}")).warnings if "demand.windows" in warning]
    assert len(found) == bool(told)
    assert all(told in warning and "add a window" in warning for warning in found)
