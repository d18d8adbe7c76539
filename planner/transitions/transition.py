"""What runs on the way from a state to a desired world: who is ready, what has room, and what may stop without being missed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set

from planner.plan import ALL_THREADS, Desired, MigPlace, Repartition, Replica, Route, SleepLevel, State, may_be_neighbours
from planner.routes import routes_for
from planner.sleep_costs import asleep_mib

_Gpu = tuple[str, int]

# Rates are floats: what is short of a demand by less than one part in a million is not short.
RELATIVE = 1e-6


def same_engine(one: Replica | None, other: Replica) -> bool:
    """Whether two replicas are one engine: the same arguments in the same place."""
    return one is not None and (one.args, one.node, one.host, one.gpus, one.mig, one.engine_version) == (
        other.args,
        other.node,
        other.host,
        other.gpus,
        other.mig,
        other.engine_version,
    )


class Transition:
    """The world between a state and a desired one: going are the replicas still to stop, coming those still to start.

    One that is to sleep goes and stays with what a sleeper holds, one that sleeps and is wanted awake comes without a start.
    """

    def __init__(self, state: State, desired: Desired, repartitions: Sequence[Repartition], renewed: Set[str] = frozenset()) -> None:
        """Nothing has changed yet; renewed are replicas that go and come again as they are."""
        before, after = ({replica.name: replica for replica in replicas} for replicas in (state.replicas, desired.replicas))
        staying = {name for name in before.keys() & after.keys() if name not in renewed and same_engine(after[name], before[name])}
        self.asleep: dict[str, SleepLevel] = {item.name: item.level for item in state.asleep}
        self._bedtime: dict[str, SleepLevel] = {item.name: item.level for item in desired.asleep}
        # of those that stay; one that starts anew to sleep joins them when it runs, and is never routed to
        self._to_bed = {name for name in staying if name in self._bedtime and name not in self.asleep}
        self._unrouted: set[str] = set()
        rising = {name for name in staying if name in self.asleep and name not in self._bedtime}
        self.going = [replica for name, replica in sorted(before.items()) if name not in staying or name in self._to_bed]
        self.coming = [replica for name, replica in sorted(after.items()) if name not in staying or name in rising]
        self.repartitions = list(repartitions)
        self._running: dict[str, Replica] = {}
        self._models: defaultdict[str, set[str]] = defaultdict(set)
        self._gpus: defaultdict[_Gpu, set[str]] = defaultdict(set)
        self._addresses: dict[str, str] = {}
        for name, replica in before.items():
            # one that stays counts with what is expected of it from now on
            self._add(after[name] if name in staying and name not in self._to_bed else replica)
        self._desired = desired
        self.most_leaving = desired.rules.disruption_budget.max_concurrent
        self.room_mib = {(gpu.node, gpu.index): gpu.memory_mib - gpu.headroom_mib - gpu.taken_mib for gpu in desired.gpus}
        self.needs = needs(state, desired)

    def _add(self, replica: Replica) -> None:
        self._running[replica.name] = replica
        if replica.name not in self.asleep and replica.name not in self._unrouted:
            self._models[replica.served_name].add(replica.name)
        self._addresses[address_of(replica)] = replica.name
        for key in seats_of(replica):
            self._gpus[key].add(replica.name)

    def routes(self, leaving: Iterable[Replica] = ()) -> tuple[Route, ...]:
        """Routes to all that runs but those that leave or are to sleep; a model of the plan without any stays known, with no backends.

        Models that are not in the plan lose their route with their last replica.
        """
        names = {replica.name for replica in leaving} | self.asleep.keys() | self._unrouted
        staying = [replica for replica in self._running.values() if replica.name not in names]
        return routes_for(staying, [route.served_name for route in self._desired.routes])

    def running(self) -> list[Replica]:
        """All that runs now, by name."""
        return [replica for _, replica in sorted(self._running.items())]

    def limit_to(self, names: Set[str]) -> None:
        """Only those are still to stop or start; the others stay as they are."""
        self.going = [replica for replica in self.going if replica.name in names]
        self.coming = [replica for replica in self.coming if replica.name in names]

    def repartition(self) -> list[Repartition]:
        """Change the layouts that nothing keeps from changing."""
        now = [item for item in self.repartitions if all(other.mig in item.layout for other in self._on((item.node, item.gpu)))]
        self.repartitions = [item for item in self.repartitions if item not in now]
        return now

    def start(self, *, anyhow: bool = False) -> list[Replica]:
        """Start all that find room, a free name and a free port (anyhow: all); in the order of names."""
        started: list[Replica] = []
        waiting: list[Replica] = []
        for replica in self.coming:
            if anyhow or self._may_start(replica):
                self._come(replica)
                started.append(replica)
            else:
                waiting.append(replica)
        self.coming = waiting
        return started

    def begin(self, names: Sequence[str]) -> list[Replica]:
        """Start those of these names, in this order, whatever room there is."""
        waiting = {replica.name: replica for replica in self.coming}
        started = [waiting.pop(name) for name in names]
        for replica in started:
            self._come(replica)
        self.coming = list(waiting.values())
        return started

    def _come(self, replica: Replica) -> None:
        if self.wakes(replica):
            del self.asleep[replica.name]
        elif replica.name in self._bedtime:
            self._to_bed.add(replica.name)
            self._unrouted.add(replica.name)
            self.going.append(replica)
        self._add(replica)

    def held_mib(self, replica: Replica) -> int:
        """MiB of each of its GPUs that one that runs holds now."""
        return asleep_mib(replica) if replica.name in self.asleep else replica.ledger.total_mib

    def wakes(self, replica: Replica) -> bool:
        """Whether one that comes is there already, asleep; one that sleeps and is replaced has to go before."""
        return replica.name in self.asleep and all(other.name != replica.name for other in self.going)

    def starts_to_sleep(self) -> bool:
        """Whether something is to start and then to sleep: it comes and then goes."""
        return any(replica.name in self._bedtime and not self.wakes(replica) for replica in self.coming)

    def level_of(self, replica: Replica) -> SleepLevel | None:
        """How deep one that goes is to sleep, None for one that stops."""
        return self._bedtime[replica.name] if replica.name in self._to_bed else None

    def stop(self, leaving: Sequence[Replica]) -> None:
        """Let replicas go, to sleep or for good."""
        for replica in leaving:
            level = self.level_of(replica)
            self._models[replica.served_name].discard(replica.name)
            if level is not None:
                self.asleep[replica.name] = level
                self._to_bed.discard(replica.name)
                continue
            del self._running[replica.name]
            self.asleep.pop(replica.name, None)
            self._addresses.pop(address_of(replica), None)
            for key in seats_of(replica):
                self._gpus[key].discard(replica.name)
        names = {replica.name for replica in leaving}
        self.going = [replica for replica in self.going if replica.name not in names]

    def unneeded(self) -> list[Replica]:
        """As many of those that go as can stop while every model keeps the replicas and the capacity it needs."""
        leaving: dict[str, Replica] = {}
        for replica in self.going:
            if len(leaving) == self.most_leaving:
                break
            if not self._missed({*leaving, replica.name}, replica.served_name):
                leaving[replica.name] = replica
        return list(leaving.values())

    def forced(self) -> list[Replica]:
        """Those to stop where not all can be spared: one of a model and one on a GPU at a time, those first that leave others ready.

        One is left for later when what makes room now lets its successor start beside it.
        """
        useful = [replica for replica in self.going if self._unblocks(replica)] or self.going
        mildest = [replica for replica in useful if len(self._models[replica.served_name]) > 1] or useful
        leaving: dict[str, Replica] = {}
        models: set[str] = set()
        gpus: set[_Gpu] = set()
        for replica in mildest:
            if len(leaving) == self.most_leaving:
                break
            if (
                replica.served_name in models
                or gpus & set(seats_of(replica))
                or (leaving and self._successor_starts(replica, leaving.keys()))
            ):
                continue
            leaving[replica.name] = replica
            models.add(replica.served_name)
            gpus.update(seats_of(replica))
        return list(leaving.values())

    def _unblocks(self, replica: Replica) -> bool:
        """Whether something that comes is on a GPU of it, or wants its name or address."""
        return any(
            set(seats_of(replica)) & set(seats_of(other)) or replica.name == other.name or address_of(replica) == address_of(other)
            for other in self.coming
        )

    def _successor_starts(self, replica: Replica, leaving: Set[str]) -> bool:
        return any(self._may_start(other, leaving) for other in self.coming if other.served_name == replica.served_name)

    def _missed(self, leaving: Set[str], served_name: str) -> bool:
        """Whether a model would lack replicas or capacity without those."""
        replicas, capacity_rps = self.needs.get(served_name, (0, 0.0))
        left = self._models[served_name] - leaving
        return len(left) < replicas or sum(self._running[name].capacity_rps for name in left) < capacity_rps * (1 - RELATIVE)

    def _may_start(self, replica: Replica, leaving: Set[str] = frozenset()) -> bool:
        wakes = self.wakes(replica)
        for taken in (replica.name if replica.name in self._running else None, self._addresses.get(address_of(replica))):
            if taken is not None and taken not in leaving and not (wakes and taken == replica.name):
                return False
        # who leaves to sleep still holds something
        gone = {name for name in leaving if name not in self._to_bed}
        return all(self._has_room(replica, key, self._on(key, gone), leaving) for key in seats_of(replica))

    def _has_room(self, replica: Replica, key: _Gpu, found: Sequence[Replica], leaving: Set[str]) -> bool:
        here = [other for other in found if other.name != replica.name]
        if any((item.node, item.gpu) == key for item in self.repartitions):
            return False
        if replica.mig is not None:
            return all(other.mig not in (None, replica.mig) for other in here)
        if here and not may_be_neighbours([replica.mode, *(other.mode for other in here)]):
            return False
        asleep = self.asleep.keys() | leaving
        if replica.threads + sum(other.threads for other in here if other.name not in asleep) > ALL_THREADS:
            return False
        used_mib = sum(asleep_mib(other) if other.name in asleep else other.ledger.total_mib for other in here)
        extra_mib = 0 if self.wakes(replica) else replica.ledger.start_extra_mib
        return used_mib + replica.ledger.total_mib + extra_mib <= self.room_mib.get(key, 0)

    def _on(self, key: _Gpu, leaving: Set[str] = frozenset()) -> list[Replica]:
        return [self._running[name] for name in sorted(self._gpus[key] - leaving)]


def needs(state: State, desired: Desired) -> dict[str, tuple[int, float]]:
    """Replicas and requests/s that each model of the plan needs at every moment: no more than what it has before and after."""
    least = {model.served_name: model.min_replicas for model in desired.rules.models}
    for name, available in desired.rules.disruption_budget.min_available.items():
        least[name] = max(available, least.get(name, 0))
    demand_rps: defaultdict[str, float] = defaultdict(float)
    for workload in desired.workloads:
        demand_rps[workload.served_name] += workload.rate_rps - workload.unserved_rps
    found: dict[str, tuple[int, float]] = {}
    both = [
        _capacities([item for item in world.replicas if item.name not in {sleeper.name for sleeper in world.asleep}])
        for world in (state, desired)
    ]
    for name in both[1]:
        count = min(max(1, least.get(name, 0)), *(len(capacities.get(name, ())) for capacities in both))
        capacity_rps = min(demand_rps[name], *(sum(capacities.get(name, ())) for capacities in both))
        found[name] = count, capacity_rps
    return found


def _capacities(replicas: Sequence[Replica]) -> dict[str, list[float]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for replica in replicas:
        found[replica.served_name].append(replica.capacity_rps)
    return found


def layouts_to_change(state: State, desired: Desired) -> list[Repartition]:
    """The MIG layouts that differ."""
    before: dict[_Gpu, tuple[MigPlace, ...]] = {(gpu.node, gpu.index): gpu.mig_layout for gpu in state.gpus}
    return [
        Repartition(
            node=gpu.node,
            gpu=gpu.index,
            layout=gpu.mig_layout,
            reason=" + ".join(f"{place.profile} at {place.start}" for place in gpu.mig_layout) or "MIG off",
        )
        for gpu in desired.gpus
        if before.get((gpu.node, gpu.index), ()) != gpu.mig_layout
    ]


def seats_of(replica: Replica) -> list[_Gpu]:
    """The GPUs it is on."""
    return [(replica.node, gpu) for gpu in replica.gpus]


def address_of(replica: Replica) -> str:
    """Where it listens."""
    return f"{replica.host}:{replica.args.port}"
