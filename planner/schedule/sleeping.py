"""Who sleeps in a phase: replicas of the phase before that it does not need, and that a later one wants back.

A sleeper keeps its process, a residue on its GPU and at level 1 its weights in host memory. It is back within seconds, where a start takes
a minute. So one sleeps wherever all of this fits beside what the phase needs, and stops otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set

from planner.plan import Asleep, Burst, BurstStep, Desired, GpuPlan, ModelRules, NodePlan, Replica, SleepLevel, State, may_be_neighbours
from planner.sleep_costs import asleep_mib, numa_memory
from profiles.memory.host import host_needs


def with_sleepers(desired: Desired, before: Desired, returning: Set[str]) -> Desired:
    """The desired world of a phase with sleepers out of the one before; returning are the models that a later phase wants."""
    found = _Found(desired, before)
    rules = {model.served_name: model for model in (*before.rules.models, *desired.rules.models)}
    names = {replica.name for replica in desired.replicas}
    left = [item for item in before.replicas if item.name not in names and item.served_name in returning and item.args.enable_sleep_mode]
    for replica in sorted(left, key=lambda item: (-item.start_s, item.name)):
        if found.may_sleep(replica, rules):
            found.put_to_sleep(replica)
    return found.world(rules)


def without_absent(desired: Desired, state: State) -> Desired:
    """The desired world of a phase without sleepers that do not run: nobody starts an engine to let it sleep."""
    running = {replica.name for replica in state.replicas}
    absent = {item.name: item for item in desired.replicas if item.name in {each.name for each in desired.asleep} - running}
    if not absent:
        return desired
    replicas = tuple(replica for replica in desired.replicas if replica.name not in absent)
    wanted = {workload.served_name for workload in desired.workloads} | {replica.served_name for replica in replicas}
    models = tuple(model for model in desired.rules.models if model.served_name in wanted)
    return desired.model_copy(
        update={
            "replicas": replicas,
            "asleep": tuple(item for item in desired.asleep if item.name not in absent),
            "gpus": tuple(_gpu_without(gpu, [absent[name] for name in gpu.replicas if name in absent]) for gpu in desired.gpus),
            "rules": desired.rules.model_copy(update={"models": models}),
            "playbook": _playbook_without(desired, absent.keys()),
        }
    )


def _playbook_without(desired: Desired, absent: Set[str]) -> tuple[Burst, ...]:
    """Entries that wake nobody who is absent; what a refusal frees of a sleeper is nothing, and is left out."""
    able = (item for item in desired.playbook if absent.isdisjoint(step.replica for step in item.steps))
    return tuple(item.model_copy(update={"steps": tuple(_step_without(step, absent) for step in item.steps)}) for item in able)


def _step_without(step: BurstStep, absent: Set[str]) -> BurstStep:
    return step.model_copy(update={"frees": tuple(freed for freed in step.frees if freed.replica not in absent)})


def _gpu_without(gpu: GpuPlan, absent: Sequence[Replica]) -> GpuPlan:
    held_mib, names = sum(map(asleep_mib, absent)), {replica.name for replica in absent}
    left = tuple(name for name in gpu.replicas if name not in names)
    if not absent:
        return gpu
    update = {"overhead_mib": gpu.overhead_mib - held_mib, "free_mib": gpu.free_mib + held_mib, "replicas": left}
    return gpu.model_copy(update=update if left else {**update, "mode": "free"})


class _Found:
    """A world to which sleepers are added, out of the one before."""

    def __init__(self, desired: Desired, before: Desired) -> None:
        self._desired = desired
        self._levels_before = {item.name: item.level for item in before.asleep}
        # who wakes or goes may still keep its weights in host memory when others fall asleep
        self._rising = {name: level for name, level in self._levels_before.items() if level == 1}
        kept = {replica.name for replica in desired.replicas}
        self._gone = [replica for replica in before.replicas if replica.name in self._rising and replica.name not in kept]
        self._nodes = {node.name: node for node in desired.nodes}
        self._gpus = {(gpu.node, gpu.index): gpu for gpu in desired.gpus}
        self._ports = {(replica.host, replica.args.port) for replica in desired.replicas}
        self._here: defaultdict[tuple[str, int], list[Replica]] = defaultdict(list)
        self._levels: dict[str, SleepLevel] = {}
        self._sleepers: list[Replica] = []
        for replica in desired.replicas:
            for index in replica.gpus:
                self._here[replica.node, index].append(replica)

    def may_sleep(self, replica: Replica, rules: dict[str, ModelRules]) -> bool:
        """Whether there is room for it, on its GPUs and on their host, and nobody minds it."""
        node = self._nodes.get(replica.node)
        if node is None or replica.mig is not None or (replica.host, replica.args.port) in self._ports or not self._is_kept(node):
            return False
        for index in replica.gpus:
            here = self._here[replica.node, index]
            awake = [other for other in here if other.name not in self._levels]
            if here and not may_be_neighbours([replica.mode, *(other.mode for other in here)]):
                return False
            if any(not self._bear(rules, replica, other) for other in here):
                return False
            if self._free_mib(self._gpus[replica.node, index], here, awake) < asleep_mib(replica) or not _fits_host([*here, replica], node):
                return False
        return True

    def _bear(self, rules: dict[str, ModelRules], one: Replica, other: Replica) -> bool:
        """Whether two replicas may be on one GPU; a fault of one ends all that share it by MPS, so never across teams there."""
        if one.served_name == other.served_name:
            return False
        mine, theirs = rules[one.served_name], rules[other.served_name]
        apart = other.served_name in mine.not_with or one.served_name in theirs.not_with
        by_team = self._desired.rules.isolate_teams or one.mode == "mps"
        return not apart and not (by_team and mine.team != theirs.team)

    def _is_kept(self, node: NodePlan) -> bool:
        """Whether the machine is there at all in this phase: one that is rented is given back when nobody needs it."""
        rented = {pool.name for pool in self._desired.rules.pools if pool.billing == "node"}
        return node.pool not in rented or any(replica.node == node.name for replica in self._desired.replicas)

    def _free_mib(self, gpu: GpuPlan, here: Sequence[Replica], awake: Sequence[Replica]) -> int:
        """What is left beside those that are awake, of which one may start again, and those that sleep."""
        used_mib = sum(asleep_mib(other) if other.name in self._levels else other.ledger.total_mib for other in here)
        start_mib = max((other.ledger.start_extra_mib for other in awake), default=0)
        return gpu.memory_mib - gpu.headroom_mib - gpu.taken_mib - used_mib - start_mib

    def put_to_sleep(self, replica: Replica) -> None:
        """At level 1 where its weights fit the host beside what is there, else at level 2."""
        node = self._nodes[replica.node]
        gone = [other for other in self._gone if other.node == node.name and other.name not in {*self._levels, replica.name}]
        parts = numa_memory(node, [*self._on(node), replica, *gone], {**self._rising, **self._levels, replica.name: 1})
        # at another level than before it would have to start again
        fits = self._levels_before.get(replica.name) != 2 and all(part.needs_mib <= part.has_mib for part in parts)
        self._levels[replica.name] = 1 if fits else 2
        # nothing is asked of it in any window
        idle = {"busy_fraction": 0.0, "active_fractions": (0.0,) * max(1, len(self._desired.windows))}
        asleep = replica.model_copy(update={"planned_rps": 0.0, "forecast": replica.forecast.model_copy(update=idle)})
        self._sleepers.append(asleep)
        self._ports.add((replica.host, replica.args.port))
        for index in replica.gpus:
            self._here[replica.node, index].append(asleep)

    def _on(self, node: NodePlan) -> Iterator[Replica]:
        return (replica for replica in (*self._desired.replicas, *self._sleepers) if replica.node == node.name)

    def world(self, rules: dict[str, ModelRules]) -> Desired:
        """The desired world with them; as it was where there are none."""
        desired = self._desired
        if not self._sleepers:
            return desired
        known = {model.served_name for model in desired.rules.models}
        more = {replica.served_name for replica in self._sleepers} - known
        models = tuple(sorted((*desired.rules.models, *(rules[name] for name in more)), key=lambda model: model.served_name))
        return desired.model_copy(
            update={
                "replicas": tuple(sorted((*desired.replicas, *self._sleepers), key=lambda replica: replica.name)),
                "asleep": tuple(Asleep(name=name, level=level) for name, level in sorted(self._levels.items())),
                "gpus": tuple(self._gpu(gpu) for gpu in desired.gpus),
                "rules": desired.rules.model_copy(update={"models": models}),
            }
        )

    def _gpu(self, gpu: GpuPlan) -> GpuPlan:
        mine = [replica for replica in self._sleepers if replica.node == gpu.node and gpu.index in replica.gpus]
        if not mine:
            return gpu
        held_mib = sum(map(asleep_mib, mine))
        return gpu.model_copy(
            update={
                "mode": mine[0].mode if gpu.mode == "free" else gpu.mode,
                "replicas": tuple(sorted((*gpu.replicas, *(replica.name for replica in mine)))),
                "overhead_mib": gpu.overhead_mib + held_mib,
                "free_mib": gpu.free_mib - held_mib,
            }
        )


def _fits_host(here: Sequence[Replica], node: NodePlan) -> bool:
    """Whether the engines of a GPU take no more of their host than its part."""
    cores, memory_mib = (sum(host_needs(len(replica.gpus))[part] / len(replica.gpus) for replica in here) for part in (0, 1))
    return cores <= node.host_cores // node.gpu_count and memory_mib <= node.host_memory_mib // node.gpu_count
