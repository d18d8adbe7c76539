"""Every replica is replaced while clients ask: nobody notices."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.failure_bound import highest_fraction
from executor.waiting import wait_until
from planner.plan import Plan, Replica
from tests.executor.faults.clients import Answers, asking
from tests.executor.faults.keeping import Keeper
from tests.executor.worlds import World, engine, free_ports

LEAST_REQUESTS = 5_000


def four(ports: list[int], max_num_seqs: int) -> list[Replica]:
    """Two replicas for each of two models."""
    names = ("llama-0", "llama-1", "qwen-0", "qwen-1")
    made = [engine(name, port, gpu=gpu) for gpu, (name, port) in enumerate(zip(names, ports, strict=True))]
    return [item.model_copy(update={"args": item.args.model_copy(update={"max_num_seqs": max_num_seqs})}) for item in made]


async def change_under_load(keeper: Keeper, goals: list[Plan]) -> Answers:
    """Each goal in turn, and on until enough was asked."""
    async with asking(keeper.world.router, ["llama", "qwen"]) as answers:
        for goal in goals:
            before = answers.tried
            assert await wait_until(lambda asked=before: answers.tried > asked + 100, 120.0)  # type: ignore[misc]
            report = await keeper.reconciler.once(lambda goal=goal: goal)  # type: ignore[misc]
            assert (report.failures, report.drift) == ((), ())
        assert await wait_until(lambda: answers.tried >= LEAST_REQUESTS, 300.0)
    return answers


@pytest.mark.slow
def test_no_request_fails_while_every_replica_is_replaced(world: World) -> None:
    ports = free_ports(8)
    asyncio.run(world.apply(world.plan(four(ports[:4], 64))))
    keeper = Keeper(world)
    before = world.living()
    # other ports for all, and the first ones again
    goals = [world.plan(four(ports[4:], 64)), world.plan(four(ports[:4], 64))]
    answers = asyncio.run(change_under_load(keeper, goals))
    after = world.living()
    assert set(after) == set(before)
    assert {name for name in after if after[name] == before[name]} == {"router"}
    assert answers.tried >= LEAST_REQUESTS
    assert answers.failed == 0, answers.kinds
    bound = highest_fraction(answers.failed, answers.tried)
    print(f"{answers.failed} of {answers.tried} requests failed: at most {bound:.3%} do, with 95 % confidence")  # noqa: T201 - the figure
    assert bound < 0.0006
