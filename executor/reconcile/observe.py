"""What is there, put in the words of a plan: the state as it is observed, and what must be repaired although the state names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from executor.backends.protocol import Answer, Backend, EngineLoad, Observed, ObservedGpu
from executor.errors import ExecutorError
from executor.file_names import file_name
from executor.reconcile.health import DEAD, READY, Health, HealthWatch
from planner.plan import Asleep, GpuPlan, Replica, SleepLevel, State
from planner.transitions.repairs import Repairs

# Blocks of KV cache that a replica of a state must have; None where that cannot be said.
LeastKvBlocks = Callable[[Replica, State], int | None]

_NO_ANSWER = Answer(None, denied=False, load=None)


@dataclass(frozen=True, slots=True)
class World:
    """One look: the state with what really runs, repairs, the condition of every replica of the state, and what people should know.

    strays are recorded replicas that the state does not name. loads are those of replicas that answered. suspect: something must be
    looked at again before it can be judged.
    """

    state: State
    repairs: Repairs
    conditions: Mapping[str, Health]
    observed: Mapping[str, Observed]
    strays: tuple[str, ...]
    remarks: tuple[str, ...]
    loads: Mapping[str, EngineLoad]

    @property
    def suspect(self) -> bool:
        """Whether a replica may hang."""
        return any(condition.kind == "suspect" for condition in self.conditions.values())


class Observer:
    """Looks at a backend again and again."""

    def __init__(self, backend: Backend, watch: HealthWatch, least_kv_blocks: LeastKvBlocks, clock: Callable[[], float]) -> None:
        """Clock gives seconds and never goes back."""
        self._backend = backend
        self._watch = watch
        self._least_kv_blocks = least_kv_blocks
        self._clock = clock
        self._loads: dict[str, EngineLoad] = {}

    async def look(self, state: State) -> World:
        """Look at every replica that the state names, the router and the GPUs. Raises ExecutorError when the backend cannot be read."""
        observed = self._backend.observe()
        self._loads.clear()
        levels: dict[str, SleepLevel] = {item.name: item.level for item in state.asleep}
        conditions = dict(await asyncio.gather(*(self._condition(state, item, observed.get(item.name), levels) for item in state.replicas)))
        gpus, remarks = _gpus(self._backend, state)
        router = state.router
        if router is not None:
            difference = await self._backend.router.difference(router, state.routes)
            if difference is not None:
                remarks = (*remarks, f"router: {difference}")
                router = None
        living = tuple(replica for replica in state.replicas if conditions[replica.name] != DEAD)
        named = {replica.name for replica in state.replicas}
        strays = tuple(name for name in sorted(observed) if name not in named)
        asleep = tuple(Asleep(name=item.name, level=levels[item.name]) for item in living if item.name in levels)
        state_now = state.model_copy(update={"replicas": living, "asleep": asleep, "gpus": gpus, "router": router})
        return World(state_now, _repairs(conditions), conditions, observed, strays, remarks, dict(self._loads))

    async def _condition(self, state: State, replica: Replica, seen: Observed | None, levels: dict[str, SleepLevel]) -> tuple[str, Health]:
        """Its condition; levels, at which replicas sleep by the state, become those that they have."""
        name = replica.name
        if seen is None or not seen.alive:
            return name, self._watch.judge(name, seen, _NO_ANSWER, self._clock())
        answer = await self._backend.ask(replica)
        if answer.load is not None:
            self._loads[name] = answer.load
        if answer.names and replica.served_name not in answer.names:
            # an answer of somebody else is none
            answer = _NO_ANSWER
        answer = _with_level(name, answer, levels)
        condition = self._watch.judge(name, seen, answer, self._clock())
        if self._watch.to_try(name, answer, self._clock()):
            trouble = await self._backend.try_out(replica, self._watch.patience.try_limit_s)
            condition = self._watch.tried(name, trouble, self._clock())
        return name, self._mistake(state, replica, seen, answer) or condition if condition == READY else condition

    def _mistake(self, state: State, replica: Replica, seen: Observed, answer: Answer) -> Health | None:
        """What a replica that answers well has wrong."""
        if seen.command_hash != self._backend.wanted_hash(replica):
            return Health("other_command", "runs with another command than the plan has")
        least = self._least_kv_blocks(replica, state)
        has = answer.load.kv_blocks if answer.load is not None else None
        if least is not None and has is not None and has < least:
            return Health("few_kv_blocks", f"has {has} blocks of KV cache, and the plan needs {least}")
        return None


def _with_level(name: str, answer: Answer, levels: dict[str, SleepLevel]) -> Answer:
    """The level that an engine tells is kept; where it tells none, the state is believed."""
    if answer.load is None:
        return answer
    if answer.load.asleep is None:
        return replace(answer, load=replace(answer.load, asleep=levels.get(name, 0)))
    levels.pop(name, None)
    if answer.load.asleep:
        levels[name] = 1 if answer.load.asleep == 1 else 2
    return answer


def _repairs(conditions: Mapping[str, Health]) -> Repairs:
    return Repairs(
        useless={name: condition.detail for name, condition in conditions.items() if condition.kind == "hung"},
        outdated={name: condition.detail for name, condition in conditions.items() if condition.kind in ("other_command", "few_kv_blocks")},
    )


def _gpus(backend: Backend, state: State) -> tuple[tuple[GpuPlan, ...], tuple[str, ...]]:
    """The GPUs of the state with the MIG layouts that they really have, and those that are gone."""
    if not backend.capabilities.reads_gpus:
        return state.gpus, ()
    try:
        seen: dict[tuple[str, int], ObservedGpu] = {(gpu.node, gpu.index): gpu for gpu in backend.gpus()}
    except ExecutorError as error:
        return state.gpus, (f"GPUs cannot be read: {error}",)
    gpus, remarks = [], []
    for gpu in state.gpus:
        now = seen.get((file_name(gpu.node), gpu.index)) or seen.get((gpu.node, gpu.index))
        if now is None:
            remarks.append(f"GPU {gpu.index} of {gpu.node} is gone")
        elif now.mig_layout is not None and set(now.mig_layout) != set(gpu.mig_layout):
            remarks.append(f"GPU {gpu.index} of {gpu.node} has another MIG layout than the plan")
            gpus.append(gpu.model_copy(update={"mig_layout": now.mig_layout}))
            continue
        gpus.append(gpu)
    return tuple(gpus), tuple(remarks)
