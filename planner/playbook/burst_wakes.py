"""Who may wake for a workload with a burst, and which residents of its GPU sleep or stop to make room for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from planner.plan import ALL_THREADS, Asleep, Desired, Replica, WorkloadForecast
from planner.playbook.burst_moves import NO_MOVES, BurstMoves, moved
from planner.sleep_costs import asleep_mib, numa_memory, wake_s


@dataclass(frozen=True, slots=True)
class WakeUp:
    """A sleeper that wakes, the residents that make room before, in order, and the workloads that must be refused before they do.

    before and after are all moves of the entry; priority is that of the most urgent who yields, -1 where nobody does.
    """

    sleeper: Replica
    yields: tuple[Replica, ...]
    needed: frozenset[str]
    before: BurstMoves
    after: BurstMoves
    priority: int


class WakeUps:
    """What may wake for one workload, at what price; may_refuse are the workloads that may be refused for it."""

    def __init__(self, desired: Desired, workload: WorkloadForecast, may_refuse: Set[str]) -> None:
        """Nobody is awake yet otherwise than planned."""
        self._desired = desired
        self._workload = workload
        self._may_refuse = may_refuse
        self._asleep = {item.name: item.level for item in desired.asleep}
        self._of_model: defaultdict[str, list[WorkloadForecast]] = defaultdict(list)
        for item in desired.workloads:
            self._of_model[item.served_name].append(item)
        self._available = desired.rules.disruption_budget.min_available
        self._least = {model.served_name: max(1, model.min_replicas) for model in desired.rules.models}

    def cheapest(self, before: BurstMoves, but: Set[str]) -> WakeUp | None:
        """The one that costs the others least: nobody, then the least urgent, then the fewest; None where nobody but some can wake."""
        awake = {*before.woken, *but}
        sleepers = [item for item in self._desired.replicas if item.name in self._asleep and item.name not in awake]
        found = [self.of(item, before) for item in sleepers if item.served_name == self._workload.served_name and item.mig is None]
        able = [item for item in found if item is not None]

        def price(item: WakeUp) -> tuple[int, int, float, str]:
            sleeper = item.sleeper
            return item.priority, len(item.yields), wake_s(sleeper, self._asleep[sleeper.name]), sleeper.name

        return min(able, key=price, default=None)

    def in_a_row(self, sleepers: Sequence[Replica]) -> list[WakeUp] | None:
        """These, one after another; None where one of them finds no room."""
        found: list[WakeUp] = []
        for sleeper in sleepers:
            one = self.of(sleeper, found[-1].after if found else NO_MOVES)
            if one is None:
                return None
            found.append(one)
        return found

    def of(self, sleeper: Replica, before: BurstMoves) -> WakeUp | None:
        """With no more yielding than it takes: the least urgent first, and the more urgent spared first; None where that is not enough."""
        awake = before.model_copy(update={"woken": (*before.woken, sleeper.name)})
        chosen: list[Replica] = []
        for other in (None, *sorted(self._residents(sleeper, before), key=self._rank)):
            if other is not None:
                if not self._may_go(other, before, chosen):
                    continue
                chosen.append(other)
            if self._has_room(sleeper, self._without(awake, chosen)):
                break
        else:
            return None
        for other in reversed(chosen):
            fewer = [item for item in chosen if item is not other]
            if self._has_room(sleeper, self._without(awake, fewer)):
                chosen = fewer
        after = self._without(awake, chosen)
        needed = {name for item in chosen if not self._is_spare(item, after) for name in self._served_by(item)}
        priority = max((self._rank(item)[0] for item in chosen), default=-1)
        return WakeUp(sleeper, tuple(chosen), frozenset(needed), before, after, priority)

    def _residents(self, sleeper: Replica, before: BurstMoves) -> Iterator[Replica]:
        """Those that are awake on its GPUs and may yield."""
        asleep = (self._asleep.keys() - set(before.woken)) | before.gone
        protected = self._desired.rules.disruption_budget.protected
        for other in self._desired.replicas:
            here = other.node == sleeper.node and not set(other.gpus).isdisjoint(sleeper.gpus)
            if not here or other.name in asleep or other.served_name in (self._workload.served_name, *protected):
                continue
            if all(item.priority < self._workload.priority for item in self._of_model[other.served_name]):
                yield other

    def _rank(self, replica: Replica) -> tuple[int, bool, str]:
        """Who yields first: of the least urgent workloads, and who can come back within seconds."""
        priority = max((item.priority for item in self._of_model[replica.served_name]), default=-1)
        return priority, not replica.args.enable_sleep_mode, replica.name

    def _may_go(self, replica: Replica, before: BurstMoves, chosen: Sequence[Replica]) -> bool:
        """Whether others of its model stay, or all whom it serves may be refused; min_available of them stay in any case."""
        names, after = self._served_by(replica), self._without(before, [*chosen, replica])
        if self._left(replica.served_name, after) < self._available.get(replica.served_name, 0):
            return False
        return self._is_spare(replica, after) or (bool(names) and names <= self._may_refuse)

    def _is_spare(self, replica: Replica, after: BurstMoves) -> bool:
        """Whether so many others of its model are awake then as it needs; of a model that nobody asks for, as many as it must have.

        What a workload has for the loss of a node is not spare.
        """
        model = replica.served_name
        if any(item.tolerate_nodes for item in self._of_model[model]):
            return False
        least = self._least.get(model, 1)
        return self._left(model, after) >= (least if self._served_by(replica) else least - 1)

    def _left(self, model: str, after: BurstMoves) -> int:
        """Replicas of a model that are awake then."""
        asleep = (self._asleep.keys() - set(after.woken)) | after.gone
        return sum(item.served_name == model and item.name not in asleep for item in self._desired.replicas)

    def _served_by(self, replica: Replica) -> set[str]:
        return {item.name for item in self._of_model[replica.served_name] if item.rate_rps > 0}

    def _without(self, before: BurstMoves, chosen: Sequence[Replica]) -> BurstMoves:
        """Each of the chosen sleeps, where it can, at level 1 as long as its host has room for the weights."""
        found = before
        for replica in chosen:
            if replica.args.enable_sleep_mode:
                level = 1 if self._host_bears(replica, found) else 2
                found = found.model_copy(update={"asleep": (*found.asleep, Asleep(name=replica.name, level=level))})
            else:
                found = found.model_copy(update={"stopped": (*found.stopped, replica.name)})
        return found

    def _host_bears(self, replica: Replica, moves: BurstMoves) -> bool:
        """Its weights beside those of all that sleep at level 1, woken ones too: on the way back they sleep before it wakes."""
        levels = self._asleep | {item.name: item.level for item in moves.asleep} | {replica.name: 1}
        here = [item for item in self._desired.replicas if item.node == replica.node]
        node = next(node for node in self._desired.nodes if node.name == replica.node)
        return all(part.needs_mib <= part.has_mib for part in numa_memory(node, here, levels))

    def _has_room(self, sleeper: Replica, moves: BurstMoves) -> bool:
        """Whether all that are awake then fit each of its GPUs beside those that sleep, also while one of them starts again."""
        then = moved(self._desired, moves)
        asleep = {item.name for item in then.asleep}
        for gpu in (item for item in self._desired.gpus if item.node == sleeper.node and item.index in sleeper.gpus):
            here = [item for item in then.replicas if item.node == gpu.node and gpu.index in item.gpus]
            awake = [item for item in here if item.name not in asleep]
            used_mib = sum(asleep_mib(item) if item.name in asleep else item.ledger.total_mib for item in here)
            start_mib = max(item.ledger.start_extra_mib for item in awake)
            if (
                used_mib + start_mib + gpu.headroom_mib + gpu.taken_mib > gpu.memory_mib
                or sum(item.threads for item in awake) > ALL_THREADS
            ):
                return False
        return True
