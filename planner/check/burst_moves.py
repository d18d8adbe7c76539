"""Steps of a playbook that let replicas sleep, stop and wake: followed one by one, with the memory of GPUs and hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isclose

from planner.plan import ALL_THREADS, Burst, BurstStep, Desired, Replica, SleepLevel, WorkloadForecast
from planner.sleep_costs import asleep_mib, numa_memory, sleep_s, wake_s
from planner.transitions.outages import STOP_LIMIT_S

_TOLERANCE = 1e-6


def move_problems(desired: Desired, item: Burst, own: WorkloadForecast) -> Iterator[str]:
    """What is wrong with the steps of one entry that are more than refusals, and with their order."""
    world = _Moved(desired, own)
    for number, step in enumerate(item.steps):
        if step.kind == "throttle":
            world.refused.add(step.workload)
            if step.replica or step.level is not None or step.memory_mib:
                yield f"refuses {step.workload}, and says something of a replica"
        elif step.workload or step.refused_rps:
            yield f"step {number + 1} lets {step.replica} {step.kind} and refuses somebody, too; those are two steps"
        elif step.kind == "wake":
            yield from world.wake(step)
        else:
            yield from world.yields(step, item.steps[number + 1 :])
    yield from _urgent_late(desired, item, own)


def _urgent_late(desired: Desired, item: Burst, own: WorkloadForecast) -> Iterator[str]:
    """Nobody as urgent is later by replicas that move than by refusals alone."""
    first = next((number for number, step in enumerate(item.steps) if step.kind != "throttle"), None)
    if first is None:
        return
    before = item.steps[first - 1].late_rps if first else item.late_rps
    for other in desired.workloads:
        late_rps = item.last_late_rps.get(other.name, 0.0)
        if other.priority >= own.priority and late_rps > before.get(other.name, 0.0) + _TOLERANCE:
            yield f"makes {late_rps:g} requests/s of {other.name} late, whose priority {other.priority} is not below {own.priority}"


class _Moved:
    """Who is awake, asleep and refused after the steps so far."""

    def __init__(self, desired: Desired, own: WorkloadForecast) -> None:
        self.refused: set[str] = set()
        self._desired = desired
        self._own = own
        self._replicas = {replica.name: replica for replica in desired.replicas}
        self._planned: dict[str, SleepLevel] = {item.name: item.level for item in desired.asleep}
        self._asleep = dict(self._planned)
        self._stopped: set[str] = set()

    def yields(self, step: BurstStep, later: Sequence[BurstStep]) -> Iterator[str]:
        """A step by which a replica sleeps or stops: it makes room for one that wakes, and nobody loses it who may not."""
        replica, what = self._replicas.get(step.replica), _words(step)
        if replica is None or replica.name in self._asleep or replica.name in self._stopped:
            yield f"{what}, which {'the plan does not have' if replica is None else 'is not awake then'}"
            return
        if step.kind == "sleep" and (step.level is None or not replica.args.enable_sleep_mode):
            yield f"{what}, which {'runs without enable_sleep_mode' if step.level is not None else 'needs a level'}"
        if step.kind == "stop" and step.level is not None:
            yield f"{what} at a sleep level"
        woken = [self._replicas[one.replica] for one in later if one.kind == "wake" and one.replica in self._replicas]
        if not any(one.node == replica.node and set(one.gpus) & set(replica.gpus) for one in woken):
            yield f"{what}, and nobody wakes on its GPU afterwards"
        yield from (f"{what}, {problem}" for problem in self._may_go(replica))
        yield from self._freed(replica, step, what)
        if step.kind == "sleep":
            self._asleep[replica.name] = step.level or 1
            yield from self._host(replica, what)
        else:
            self._stopped.add(replica.name)

    def _may_go(self, replica: Replica) -> Iterator[str]:
        model, own = replica.served_name, self._own
        if model == own.served_name:
            yield "which serves the workload with the burst itself"
        if model in self._desired.rules.disruption_budget.protected:
            yield "which policy.disruption_budget protects"
        served = [item for item in self._desired.workloads if item.served_name == model]
        urgent = [item for item in served if item.priority >= own.priority]
        if urgent:
            yield f"which serves {urgent[0].name} of priority {urgent[0].priority}, not below {own.priority}"
        waiting = sorted(item.name for item in served if item.rate_rps > 0 and item.name not in self.refused)
        rules = self._desired.rules
        least = max((item.min_replicas for item in rules.models if item.served_name == model), default=0)
        available = rules.disruption_budget.min_available.get(model, 0)
        left = sum(other.served_name == model and other is not replica and self._is_awake(other) for other in self._desired.replicas)
        if waiting and left < max(1, least):
            yield f"after which {model} has {left} of at least {max(1, least)} replicas, and {', '.join(waiting)} is not refused before"
        elif not served and left + 1 < max(1, least):
            yield f"after which {model} has {left} of at least {least} replicas"
        if left < available:
            yield f"after which {model} has {left} replicas, and policy.disruption_budget asks for {available}"
        careful = [item.name for item in served if item.tolerate_nodes and item.name in waiting]
        if careful:
            yield f"which {careful[0]} may need when a node is lost (tolerate), and {careful[0]} is not refused before"

    def _is_awake(self, replica: Replica) -> bool:
        return replica.name not in self._asleep and replica.name not in self._stopped

    def _freed(self, replica: Replica, step: BurstStep, what: str) -> Iterator[str]:
        served = [item for item in self._desired.workloads if item.served_name == replica.served_name]
        all_rps = sum(item.rate_rps for item in served)
        part = sum(item.rate_rps for item in served if item.name not in self.refused) / (all_rps or 1.0)
        held_mib = asleep_mib(replica) if step.kind == "sleep" else 0
        has = (replica.planned_rps * part, replica.forecast.busy_fraction * part, float(replica.ledger.total_mib - held_mib))
        said = [(item.rate_rps, item.busy_fraction, float(item.memory_mib)) for item in step.frees if item.replica == replica.name]
        if len(step.frees) != 1 or len(said) != 1 or not all(map(_alike, said[0], has)):
            yield f"{what}, and does not free {has[0]:g} requests/s, {has[1]:g} of its time and {has[2]:.0f} MiB, as that does"
        least_s = STOP_LIMIT_S if step.level is None else sleep_s(replica, step.level)
        if step.takes_s < least_s - _TOLERANCE:
            yield f"{what} within {step.takes_s:.1f} s, and that alone takes {least_s:.1f} s"

    def _host(self, replica: Replica, what: str) -> Iterator[str]:
        """Weights of all that sleep at level 1, woken ones too: on the way back they sleep before the others wake."""
        levels = {**self._planned, **self._asleep}
        here = [other for other in self._desired.replicas if other.node == replica.node]
        for node in (item for item in self._desired.nodes if item.name == replica.node and levels[replica.name] == 1):
            for number, part in enumerate(numa_memory(node, here, levels)):
                if part.needs_mib > part.has_mib:
                    of = f"node {node.name}" if node.numa_nodes == 1 else f"NUMA node {number} of {node.name}"
                    needs = f"{part.needs_mib:.0f} MiB of host memory would be needed"
                    yield f"{what} at level 1, where {needs}, but {of} has {part.has_mib} MiB"

    def wake(self, step: BurstStep) -> Iterator[str]:
        """A step by which a sleeper of the own model wakes: there is room beside all that are awake then, also while one of them starts."""
        replica = self._replicas.get(step.replica)
        if replica is None or replica.name not in self._planned or replica.name not in self._asleep:
            yield f"wakes {step.replica}, which does not sleep in the plan, or is awake then"
            return
        if replica.served_name != self._own.served_name or replica.mig is not None:
            yield f"wakes {step.replica}, which serves {replica.served_name} and not {self._own.served_name} on a whole GPU"
        if step.frees or step.level is not None:
            yield f"wakes {step.replica}, and says that this frees something"
        level, needs_mib = self._asleep.pop(replica.name), replica.ledger.total_mib - asleep_mib(replica)
        if step.memory_mib != needs_mib:
            yield f"wakes {step.replica} with {step.memory_mib} MiB, and it takes {needs_mib} MiB more than asleep"
        if step.takes_s < wake_s(replica, level) - _TOLERANCE:
            yield f"wakes {step.replica} within {step.takes_s:.1f} s, and that takes {wake_s(replica, level):.1f} s"
        for gpu in self._desired.gpus:
            if gpu.node == replica.node and gpu.index in replica.gpus:
                yield from self._room(replica, gpu.node, gpu.index, gpu.memory_mib - gpu.headroom_mib - gpu.taken_mib)

    def _room(self, replica: Replica, node: str, index: int, has_mib: int) -> Iterator[str]:
        here = [other for other in self._desired.replicas if other.node == node and index in other.gpus and other.name not in self._stopped]
        awake = [other for other in here if self._is_awake(other)]
        needs_mib = sum(other.ledger.total_mib if self._is_awake(other) else asleep_mib(other) for other in here)
        needs_mib += max(other.ledger.start_extra_mib for other in awake)
        if needs_mib > has_mib:
            yield f"wakes {replica.name} on node {node}, GPU {index}, where {needs_mib} MiB would be needed and {has_mib} MiB may be used"
        threads = sum(other.threads for other in awake)
        if threads > ALL_THREADS:
            yield f"wakes {replica.name} on node {node}, GPU {index}, whose residents would have {threads} % of its threads together"


def _words(step: BurstStep) -> str:
    return f"puts {step.replica} to sleep" if step.kind == "sleep" else f"stops {step.replica}"


def _alike(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
