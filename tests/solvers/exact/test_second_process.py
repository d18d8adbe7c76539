"""A search in a process of its own: what it finds arrives in order, what goes wrong is heard of, and it ends when asked to."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from planner.problem import Pattern, violations
from solvers.exact import lexicographic as exact
from solvers.exact import stage
from solvers.exact.second_process import Findings, Found, SecondProcess
from tests.strategies import random_problem

FINDINGS: tuple[Found, ...] = ((Pattern(0, (1, 2), 3), Pattern(1, (4,))), ())


def _some() -> Iterator[Found]:
    yield from FINDINGS


def _fails() -> Iterator[Found]:
    yield ()
    raise ValueError("no such slot")


def _endless() -> Iterator[Found]:
    yield ()
    while True:
        pass


def never() -> bool:
    return False


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("forks", [True, False])
def test_findings_arrive_in_the_order_in_which_they_were_found(forks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not forks:
        monkeypatch.delattr(os, "fork")
    assert tuple(SecondProcess(_some).found(never)) == FINDINGS


def test_a_search_that_fails_is_heard_of() -> None:
    found = SecondProcess(_fails).found(never)
    assert next(found) == ()
    with pytest.raises(RuntimeError, match="ValueError: no such slot"):
        next(found)


def test_a_search_that_does_not_end_is_ended() -> None:
    second = SecondProcess(_endless)
    seen: list[Found] = []
    # over as soon as something has arrived
    for each in second.found(lambda: bool(seen)):
        seen.append(each)  # noqa: PERF402 -- what was seen decides when it is over
    assert seen == [()]
    assert second.pid == 0


def test_what_is_ready_is_read_without_waiting() -> None:
    second = SecondProcess(_endless)
    seen: list[Found] = []
    while not seen:
        seen.extend(second.ready())
    assert seen == [()]
    assert list(second.ready()) == []
    assert second.pid
    second.end()
    assert list(second.ready()) == []


def test_a_search_that_has_ended_has_nothing_more() -> None:
    second = SecondProcess(_some)
    seen: list[Found] = []
    while second.pid:
        seen.extend(second.ready())
    assert tuple(seen) == FINDINGS


@pytest.mark.parametrize("seed", [3, 26, 58])
def test_two_processes_give_the_same_answer_every_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[SecondProcess] = []

    def start(search: Findings) -> SecondProcess:
        started.append(SecondProcess(search))
        return started[-1]

    monkeypatch.setattr(stage, "SecondProcess", start)
    problem = random_problem(seed, 160, 10, 60)
    first = exact.solve(problem)
    assert violations(problem, first) == ()
    assert started
    assert exact.solve(problem) == first
    assert not any(each.pid for each in started)


def test_the_process_is_gone_afterwards() -> None:
    second = SecondProcess(_endless)
    pid = second.pid
    assert pid
    second.end()
    second.end()
    assert _is_gone(pid)
