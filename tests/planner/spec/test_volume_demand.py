# ruff: noqa: E501 - one wrong field per line reads best
"""Volumes with a deadline in the fleet file: what they become beside other demand, and what is wrong with them."""

from __future__ import annotations

import pytest

from planner.demand.joint import offered, stretches
from planner.demand.scaled import scaled
from planner.spec import Fleet
from planner.spec.clock import DAY_S, WEEK_S
from planner.spec.fleet import Workload
from tests.planner.spec.fleet_files import TRACE, changed, load, problems

HOUR_S = 3600.0
_LENGTHS = "input_tokens: 800, output_tokens: 100"
_CHAT = f"{{windows: [{{hours: 08:00-20:00, rate: 20/s, {_LENGTHS}}}, {{hours: 20:00-08:00, rate: 4/s, {_LENGTHS}}}]}}"
_TIMES = "deadline: 06:00, released: 22:00"

FLEET = f"""\
schema_version: 1
pools: {{p: {{gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 2}}}}
models:
  small: {{source: Qwen/Qwen2.5-1.5B}}
  other: {{source: Qwen/Qwen2.5-1.5B}}
workloads:
  chat: {{model: small, class: interactive, demand: {{rate: 2/s, {_LENGTHS}}}}}
  nightly: {{model: other, class: background, {_TIMES}, demand: {{requests: 273600, {_LENGTHS}}}}}
"""


def _with(chat: str = f"{{rate: 2/s, {_LENGTHS}}}", times: str = _TIMES, every: str = "", requests: int = 273_600) -> str:
    text = changed(f"{{rate: 2/s, {_LENGTHS}}}", chat, FLEET)
    return changed("requests: 273600, ", f"requests: {requests}, {every}", changed(_TIMES, times, text))


def _nightly(text: str, files: dict[str, bytes] | None = None) -> Workload:
    return next(item for item in load(text, files).workloads if item.name == "nightly")


def _windows(workload: Workload) -> list[tuple[float, float, float]]:
    return [(item.start_s / HOUR_S, item.end_s / HOUR_S, item.rate_rps) for item in workload.demand.windows]


def _sum(workload: Workload) -> float:
    return sum((item.end_s - item.start_s) * item.rate_rps for item in workload.demand.windows)


@pytest.mark.parametrize(
    ("chat", "files"),
    [
        (f"{{rate: 2/s, {_LENGTHS}}}", {}),
        ("{trace: t.csv}", {"t.csv": TRACE}),
        (f"{{windows: [{{start: 0s, end: 9d, rate: 2/s, {_LENGTHS}}}]}}", {}),
    ],
)
def test_beside_demand_that_has_no_times_of_the_day_there_is_one_rate(chat: str, files: dict[str, bytes]) -> None:
    workload = _nightly(_with(chat), files)
    # 273,600 requests in eight hours less 24 minutes
    assert _windows(workload) == [(0.0, 5.6, 10.0), (22.0, 24.0, 10.0)]
    assert (workload.demand.every_s, workload.demand.timeline) == (DAY_S, "clock")
    assert workload.priority == 0


def test_a_volume_is_done_where_others_ask_for_least() -> None:
    workload = _nightly(_with(_CHAT, "deadline: 06:00", requests=2_736_000))
    windows = _windows(workload)
    assert [item[:2] for item in windows] == [(0.0, 4.8), (6.0, 8.0), (8.0, 20.0), (20.0, 24.0)]
    night_rps, day_rps = windows[0][2], windows[2][2]
    # all of both ask for the same work: the same model, and the same lengths
    assert night_rps + 4 == pytest.approx(day_rps + 20)
    assert _sum(workload) == pytest.approx(2_736_000)


def test_a_small_volume_is_done_in_the_quiet_hours_only() -> None:
    windows = _windows(_nightly(_with(_CHAT, "deadline: 06:00", requests=1000)))
    assert [item[:2] for item in windows] == [(0.0, 4.8), (6.0, 8.0), (20.0, 24.0)]


def test_every_day_of_a_week_has_its_own_volume() -> None:
    weekend = f"{{windows: [{{hours: 00:00-24:00, days: mon-fri, rate: 20/s, {_LENGTHS}}}]}}"
    workload = _nightly(_with(weekend))
    assert workload.demand.every_s == WEEK_S
    assert _sum(workload) == pytest.approx(7 * 273_600)
    # the night from Sunday to Monday: more is done before midnight
    assert [rate_rps for start_h, _, rate_rps in _windows(workload) if start_h == 6 * 24 + 22] > [10.0]


def test_a_weekly_volume_is_done_once_a_week() -> None:
    weekly = _nightly(_with(times="deadline: sun 06:00, released: sat 20:00", every="every: week, "))
    assert _windows(weekly) == [(5 * 24 + 20.0, 6 * 24 + 5.5, 8.0)]
    whole = _nightly(_with(times="deadline: sun 24:00", every="every: week, "))
    ((start_h, end_h, rate_rps),) = _windows(whole)
    assert (start_h, end_h, rate_rps) == pytest.approx((0.0, 0.95 * 7 * 24, 273_600 / (0.95 * WEEK_S)))


def test_volumes_level_each_other() -> None:
    more = f"  weekly: {{model: small, class: background, deadline: 06:00, demand: {{requests: 273600, {_LENGTHS}}}}}\n"
    fleet = load(_with() + more)
    times = stretches(item.demand for item in fleet.workloads)
    busy = [sum(offered(item.demand, stretch).rate_rps for item in fleet.workloads) for stretch in times]
    assert min(busy) < max(busy)
    # the nightly one fills its hours; the other keeps out of them
    night = next(item for item in fleet.workloads if item.name == "weekly").demand.windows
    assert all(item.start_s >= 6 * HOUR_S and item.end_s <= 22 * HOUR_S for item in night)


def test_volumes_in_other_pools_do_not_meet() -> None:
    pools = "pools: {p: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 2}, q: {gpu: L4, nodes: 1, gpus_per_node: 2}}"
    text = changed(
        "pools: {p: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 2}}", pools, _with(_CHAT, "deadline: 06:00", requests=2_736_000)
    )
    apart = changed("class: background", "class: background, pin: [q]", changed("class: interactive", "class: interactive, pin: [p]", text))
    assert len({rate_rps for *_, rate_rps in _windows(_nightly(apart))}) == 1
    assert len({rate_rps for *_, rate_rps in _windows(_nightly(text))}) == 2


def test_the_order_of_workloads_in_the_file_changes_nothing() -> None:
    rows = _with(_CHAT).splitlines(keepends=True)
    assert _nightly("".join([*rows[:-2], rows[-1], rows[-2]])).demand == _nightly("".join(rows)).demand


def test_more_demand_pours_the_volumes_again() -> None:
    def nightly(fleet: Fleet) -> Workload:
        return next(item for item in fleet.workloads if item.name == "nightly")

    fleet = load(_with(_CHAT, "deadline: 06:00", requests=2_736_000))
    assert _sum(nightly(scaled(fleet, {"nightly": 2.0}))) == pytest.approx(2 * 2_736_000)
    busier = nightly(scaled(fleet, {"chat": 3.0}))
    assert _sum(busier) == pytest.approx(2_736_000)
    assert _windows(busier) != _windows(nightly(fleet))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (_TIMES, "deadline: 2020-01-01", "8:56: workloads.nightly.deadline: '2020-01-01' names a date; deadlines come again every day or week"),
        (_TIMES, "deadline: 6am", "workloads.nightly.deadline: '6am' is no time of a day; write for example 06:00 (UTC), or sun 06:00 with"),
        (_TIMES, "deadline: 25:00", "workloads.nightly.deadline: '25:00' is no time of a day"),
        (_TIMES, "deadline: 1h", "workloads.nightly.deadline: '1h' is no time of a day"),
        (_TIMES, "deadline: [06:00]", "workloads.nightly.deadline: "),
        (_TIMES, "deadline: sun 06:00", "workloads.nightly.deadline: sun 06:00 names a day, while there are so many requests every day; write 06:00"),
        (_TIMES, "labels: {}", "workloads.nightly.deadline: is required with a volume of requests: by when those of each day must be done"),
        (_TIMES, "deadline: 06:00, released: 06:00", "workloads.nightly.released: 06:00 is the deadline, which leaves no time; leave it out"),
        ("requests: 273600", "requests: 9, every: week", "workloads.nightly.deadline: 06:00 names no day, while there are so many requests every week"),
        ("requests: 273600", "requests: 9, every: week", "workloads.nightly.released: 22:00 names no day"),
        ("requests: 273600", "requests: 9, every: month", "workloads.nightly.demand.every: 'month' is not allowed; allowed: day, week"),
        ("requests: 273600", "requests: 0", "workloads.nightly.demand.requests: '0' must be at least 1"),
        ("requests: 273600", "requests: 9999999999", "workloads.nightly.demand.requests: '9999999999' must be at most 1000000000"),
        ("requests: 273600", "requests: 200k", "workloads.nightly.demand.requests: '200k' is not a number"),
        ("requests: 273600", "requests: 9, rate: 2/s", "needs exactly one of rate, windows, trace, forecast or requests; found rate, requests"),
        ("requests: 273600", "request: 9", "found request, input_tokens, output_tokens; did you mean 'requests'?"),
        ("requests: 273600", "requests: 9, pace: 2", "workloads.nightly.demand.pace: unknown field; allowed: requests, every, input_tokens, output"),
        ("class: background", "class: standard", "workloads.nightly.class: standard: a volume of requests is done where others leave room; write"),
        ("class: background, ", "", "workloads.nightly.class: standard: a volume of requests is done where others leave room; write class: background"),
        ("class: background", "class: background, split: prompt_length", "workloads.nightly.split: a volume is not split by the length of prompts"),
        ("class: interactive", "class: background, deadline: 06:00", "workloads.chat.deadline: is for a volume of requests; write demand: {requests"),
        ("class: interactive", "released: 06:00", "workloads.chat.released: is for a volume of requests"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(old: str, new: str, expected: str) -> None:
    found = problems(changed(old, new, FLEET))
    assert any(expected in line for line in found), found
    assert all(line.startswith("fleet.yaml:") for line in found)
