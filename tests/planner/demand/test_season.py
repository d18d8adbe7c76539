"""Forecasts by the hour of the day and of the week, and the band above them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.demand.back_test import back_test, forecast_of
from planner.demand.forecast import DemandForecast
from planner.demand.recorded import WEEK_H, DemandHistory, Values
from planner.demand.season import as_last_week, margins, seasonal, week_share
from planner.plan.json_files import to_json
from tests.planner.demand.test_recorded import history

HOURS = np.arange(3 * WEEK_H)
DAYS: Values = (1 + HOURS % 24).astype(np.float64)
# nobody works on the last two days of a week
OFFICE: Values = np.where(HOURS // 24 % 7 < 5, DAYS, 0.5)

rates = st.one_of(st.none(), st.floats(0, 1000).map(lambda value: round(value, 3)))
histories = st.lists(rates, min_size=1, max_size=400)


def forecast(known: DemandHistory, holdout_h: int = 48, quantile: float = 0.9) -> tuple[DemandForecast, list[str]]:
    said: list[str] = []
    return forecast_of(known, holdout_h=holdout_h, quantile=quantile, warn=said.append), said


def made(known: DemandHistory) -> str | None:
    try:
        return to_json(forecast(known)[0])
    except ValueError:
        # nothing was asked, or in too few hours
        return None


def moved(known: DemandHistory, start: str) -> DemandHistory:
    return known.model_copy(update={"start": start})


@given(histories)
@settings(max_examples=60)
def test_the_same_history_gives_the_same_forecast_and_whole_weeks_move_nothing(rates_rps: list[float | None]) -> None:
    known = history(rates_rps)
    first, again = made(known), made(known)
    later = made(moved(known, "2027-01-04T00:00:00Z"))
    assert first == again
    if first is not None and later is not None:
        assert json.loads(first)["workloads"] == json.loads(later)["workloads"]
    else:
        assert first is later is None


@given(histories, st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=60)
def test_the_band_is_never_below_the_forecast_and_wider_for_more(rates_rps: list[float | None], quantile: float) -> None:
    values = np.array([np.nan if value is None else value for value in rates_rps])
    if np.isnan(values).all():
        return
    for method in (seasonal, as_last_week):
        expected, room = method(values, WEEK_H), margins(values, method, quantile)
        assert (expected >= 0).all()
        assert (room >= 0).all()
        assert (room <= margins(values, method, 0.995)).all()
        assert expected.max() <= np.nanmax(values)


def test_what_repeats_itself_is_forecast() -> None:
    np.testing.assert_allclose(seasonal(DAYS[:72], 30), DAYS[72:102])
    np.testing.assert_allclose(seasonal(OFFICE[: 2 * WEEK_H], WEEK_H), OFFICE[2 * WEEK_H :])
    assert week_share(OFFICE[: 2 * WEEK_H]) == 1.0
    assert week_share(DAYS[: 2 * WEEK_H]) == 0.0
    np.testing.assert_allclose(margins(OFFICE, seasonal, 0.9), 0.0)


def test_one_burst_and_hours_without_a_record_move_nothing() -> None:
    burst = DAYS.copy()
    burst[-30] = 500.0
    burst[-60:-50] = np.nan
    np.testing.assert_allclose(seasonal(burst, WEEK_H), DAYS[:WEEK_H])
    # last week's would come again
    assert as_last_week(burst, WEEK_H).max() == 500.0
    assert not np.isnan(as_last_week(burst, WEEK_H)).any()


def test_the_band_holds_what_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(40):
        noisy = DAYS + rng.normal(0, 1, len(DAYS))
        room = margins(noisy[:-24], seasonal, 0.9)
        inside.append((noisy[-24:] <= seasonal(noisy[:-24], 24) + room).mean())
    assert 0.85 <= float(np.mean(inside)) <= 0.97


def test_the_better_method_is_taken() -> None:
    steady = list(map(float, DAYS[: 2 * WEEK_H]))
    bursts = [*steady]
    bursts[WEEK_H - 30] = 300.0
    found, said = forecast(history(bursts))
    demand = found.workloads["chat"]
    assert demand.method == "seasonal"
    assert demand.back_test is not None
    assert demand.back_test.seasonal_error_fraction < demand.back_test.compared_error_fraction
    assert (len(demand.rate_rps), said) == (24, [])
    # every hour has a rate of its own, that comes again in a week and not the day after, and was another one before
    before, own = np.random.default_rng(2).uniform(1, 50, (2, WEEK_H))
    repeated: Values = np.concatenate([before, own, own])
    tested = back_test(repeated, 48, 0.9)
    assert tested is not None
    assert (tested.compared_error_fraction, tested.compared_with) == (0.0, "last week")
    found, _ = forecast(history(list(map(float, repeated))))
    demand = found.workloads["chat"]
    assert demand.method == "as last week"
    assert len(demand.rate_rps) == WEEK_H


def test_hours_are_counted_from_monday_in_utc() -> None:
    rates_rps = [float(value) for value in OFFICE[: 2 * WEEK_H]]
    # the same hours of the week, from Wednesday, 06:00 on
    turned = moved(history(rates_rps[54:] + rates_rps[:54]), "2026-11-18T06:00:00Z")
    expected = forecast(history(rates_rps))[0].workloads["chat"].rate_rps
    assert forecast(turned)[0].workloads["chat"].rate_rps == expected == tuple(rates_rps[:WEEK_H])


@pytest.mark.parametrize(
    ("hours", "method", "season_h", "expected"),
    [
        (47, "flat", 1, "chat: 47 hours of history are too few for a season, which takes 48; the forecast is flat"),
        (95, "seasonal", 24, "chat: no back-test: 48 hours held out take 96 hours of history, there are 95"),
    ],
)
def test_short_histories(hours: int, method: str, season_h: int, expected: str) -> None:
    found, said = forecast(history([float(value) for value in DAYS[:hours]]))
    demand = found.workloads["chat"]
    assert (demand.method, len(demand.rate_rps), demand.back_test) == (method, season_h if method != "flat" else len(demand.rate_rps), None)
    assert said == [expected]


def test_workloads_without_requests() -> None:
    idle = history([0.0] * 100)
    with pytest.raises(ValueError, match="no workload of this history had requests"):
        forecast(idle)
    both = idle.model_copy(update={"workloads": {**idle.workloads, "busy": history([1.0] * 100).workloads["chat"]}})
    found, said = forecast(both)
    assert list(found.workloads) == ["busy"]
    assert said == ["chat: no requests in the 100 hours that were recorded; it is left out"]
    found, said = forecast(history([2.0] * 60 + [0.0] * 48))
    assert found.workloads["chat"].back_test is None
    assert said == ["chat: no back-test: no requests in the 48 hours held out, or no record before them"]


def test_lengths_are_those_of_the_hour() -> None:
    lengths = tuple(100.0 + hour % 24 for hour in range(100))
    found, _ = forecast(history([1.0] * 100, input_mean_tokens=lengths, output_p99_tokens=(None,) * 100))
    demand = found.workloads["chat"]
    assert demand.input_mean_tokens == lengths[:24]
    assert demand.output_p99_tokens == ()
