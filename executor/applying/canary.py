"""Changed replicas take a small part of the requests at first; one that dies, falls silent or does worse ends the change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from executor.backends.protocol import Backend, Buckets, Latencies
from executor.errors import RegressionError
from planner.plan import Desired, Replica, Route, State
from planner.rollout import Kept, regression
from planner.transitions.transition import same_engine

# Often enough to end a bad change within seconds, seldom enough to cost the engines nothing.
_LOOK_EVERY_S = 2.0
# so many looks without an answer, one after the other, are silence
_SILENT_LOOKS = 5


class Canary:
    """Knows what was there before a change, and watches what is new."""

    def __init__(self, backend: Backend, desired: Desired, before: State) -> None:
        """Before is the state that the change begins with."""
        self._backend = backend
        self._desired = desired
        self._before = before

    def newcomers(self, routes: Sequence[Route]) -> tuple[Replica, ...]:
        """The replicas of these routes that are changed or new, of models that were served before."""
        served = {route.served_name: {(item.host, item.port) for item in route.backends} for route in self._before.routes if route.backends}
        engines = {replica.name: replica for replica in self._before.replicas}
        wanted = {replica.name: replica for replica in self._desired.replicas}
        found = {
            item.replica: wanted[item.replica]
            for route in routes
            if route.served_name in served
            for item in route.backends
            if item.replica in wanted
            and not (
                (item.host, item.port) in served[route.served_name]
                and (item.replica not in engines or same_engine(engines[item.replica], wanted[item.replica]))
            )
        }
        return tuple(found[name] for name in sorted(found))

    async def watch(self, newcomers: Sequence[Replica], others: Sequence[Replica], window_s: float, every_s: float = _LOOK_EVERY_S) -> None:
        """Look at them until the window is over. Raises RegressionError as soon as one is worse than it may be."""
        clock = asyncio.get_running_loop().time
        ends_s = clock() + window_s
        everybody = (*newcomers, *others)
        first = await self._latencies(everybody)
        silent = dict.fromkeys((replica.name for replica in newcomers), 0)
        while clock() < ends_s:
            await asyncio.sleep(min(every_s, max(ends_s - clock(), 0.0)))
            observed = self._backend.observe()
            for replica in newcomers:
                if not (replica.name in observed and observed[replica.name].alive):
                    raise RegressionError(replica.name, "it ended while it was watched")
                answer = await self._backend.ask(replica)
                silent[replica.name] = 0 if answer.names else silent[replica.name] + 1
                if silent[replica.name] >= _SILENT_LOOKS:
                    raise RegressionError(replica.name, f"it did not answer {_SILENT_LOOKS} times while it was watched")
            self._judge(newcomers, others, first, await self._latencies(everybody))

    def _judge(
        self, newcomers: Sequence[Replica], others: Sequence[Replica], first: dict[str, Latencies], now: dict[str, Latencies]
    ) -> None:
        for replica in newcomers:
            goals = self._goals(replica.served_name)
            if goals is None:
                continue
            same = [other for other in others if other.served_name == replica.served_name]
            rest = [_kept(first.get(other.name), now.get(other.name), *goals) for other in same]
            together = Kept(sum(kept.requests for kept in rest), sum(kept.kept for kept in rest))
            mine = _kept(first.get(replica.name), now.get(replica.name), *goals)
            why = regression(mine, together, self._desired.risk.attainment_fraction)
            if why is not None:
                raise RegressionError(replica.name, why)

    def _goals(self, served_name: str) -> tuple[float, float] | None:
        """The loosest goals of a model's workloads in seconds: nobody knows whose a request is. None where none is promised anything."""
        mine = [item for item in self._desired.workloads if item.served_name == served_name and not item.best_effort]
        if not mine:
            return None
        tpot_s = [item.tpot_slo_s for item in mine if item.tpot_slo_s is not None]
        return max(item.ttft_slo_s for item in mine), max(tpot_s, default=float("inf"))

    async def _latencies(self, replicas: Sequence[Replica]) -> dict[str, Latencies]:
        found = await asyncio.gather(*(self._backend.latencies(replica) for replica in replicas))
        return {replica.name: seen for replica, seen in zip(replicas, found, strict=True) if seen is not None}


def _kept(first: Latencies | None, now: Latencies | None, ttft_goal_s: float, tpot_goal_s: float) -> Kept:
    """Requests between two readings, and how many of them kept both goals at most; none where a reading is missing or began anew."""
    if now is None or first is None:
        return Kept(0, 0)
    requests = _total(now.ttft) - _total(first.ttft)
    if requests <= 0:
        return Kept(0, 0)
    fractions = [_within(first.ttft, now.ttft, ttft_goal_s), _within(first.tpot, now.tpot, tpot_goal_s)]
    return Kept(requests, round(requests * min(fractions)))


def _within(first: Buckets, now: Buckets, goal_s: float) -> float:
    """The part that lies below the first bucket boundary at or above the goal."""
    total = _total(now) - _total(first)
    if total <= 0 or goal_s == float("inf"):
        return 1.0
    below = _up_to(now, goal_s) - _up_to(first, goal_s)
    return min(1.0, max(0.0, below / total))


def _total(buckets: Buckets) -> int:
    return buckets[-1][1] if buckets else 0


def _up_to(buckets: Buckets, goal_s: float) -> int:
    return next((count for bound_s, count in buckets if bound_s >= goal_s), _total(buckets))
