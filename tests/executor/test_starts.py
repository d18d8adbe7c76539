"""Starts: plan order on each GPU, never two at once on one, nothing begins after a failure."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.applying.starts import run_starts
from planner.plan import Start

seats = st.sets(st.integers(min_value=0, max_value=3), min_size=1, max_size=3).map(lambda gpus: tuple(sorted(gpus)))
batches = st.lists(st.tuples(seats, st.integers(min_value=0, max_value=4)), max_size=10)


def starts_of(batch: list[tuple[tuple[int, ...], int]]) -> list[tuple[int, Start]]:
    return [(number, Start(replica=f"r{number}", node="n", gpus=gpus)) for number, (gpus, _) in enumerate(batch)]


@given(batches)
def test_each_gpu_starts_one_at_a_time_in_plan_order(batch: list[tuple[tuple[int, ...], int]]) -> None:
    busy: set[int] = set()
    order: dict[int, list[int]] = {}

    async def start(number: int, action: Start) -> None:
        assert not busy & set(action.gpus)
        busy.update(action.gpus)
        for gpu in action.gpus:
            order.setdefault(gpu, []).append(number)
        for _ in range(batch[number][1]):
            await asyncio.sleep(0)
        busy.difference_update(action.gpus)

    asyncio.run(run_starts(starts_of(batch), start))
    assert all(numbers == sorted(numbers) for numbers in order.values())
    assert sorted({number for numbers in order.values() for number in numbers}) == list(range(len(batch)))


def test_after_a_failure_what_was_begun_ends_and_nothing_begins() -> None:
    begun, ended = [], []

    async def start(number: int, action: Start) -> None:
        begun.append(number)
        await asyncio.sleep(0)
        if number == 0:
            raise RuntimeError("no memory")
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append(number)

    with pytest.raises(RuntimeError, match="no memory"):
        asyncio.run(run_starts(starts_of([((0,), 0), ((1,), 0), ((0,), 0), ((1,), 0)]), start))
    assert (begun, ended) == ([0, 1], [1])


def test_a_cancellation_reaches_every_start() -> None:
    cancelled = []

    async def start(number: int, action: Start) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async def cancel() -> None:
        work = asyncio.ensure_future(run_starts(starts_of([((0,), 0), ((1,), 0), ((0,), 0)]), start))
        for _ in range(3):
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancel())
    assert cancelled == [0, 1]
