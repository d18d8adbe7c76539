"""Sleep and wake of a real engine. Its CPU build gives no memory back, but it has the same paths, states and metrics."""

from __future__ import annotations

import asyncio

import pytest

from executor.backends import sleep_mode
from executor.backends.probes import read_load
from planner.plan import Replica
from tests.e2e.engines import Engine
from tests.plans import replica

pytestmark = pytest.mark.vllm

LIMIT_S = 120.0


def as_replica(engine: Engine) -> Replica:
    return replica("llama-0", engine.served_name, args={"port": int(engine.url.rpartition(":")[2])})


def level(engine: Engine) -> int | None:
    load = read_load(engine.metrics().decode())
    assert load is not None
    return load.asleep


def test_an_engine_sleeps_says_so_and_wakes_to_make_tokens(engine: Engine) -> None:
    item = as_replica(engine)
    assert level(engine) in (None, 0)
    try:
        for _ in range(2):
            asyncio.run(sleep_mode.put_to_sleep(item, 1, LIMIT_S))
        assert level(engine) in (None, 1)
    finally:
        for _ in range(2):
            asyncio.run(sleep_mode.wake(item, LIMIT_S))
    assert level(engine) in (None, 0)
    assert engine.complete("one two", 3)["usage"]["completion_tokens"] == 3
