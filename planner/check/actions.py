"""The actions, followed one by one from the state they were made against: nothing over-commits on the way, nobody loses a request that need
not, and they arrive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from planner.check.lengths import rule_problems_of
from planner.check.priorities import priority_problems_of
from planner.check.service import weight_problems
from planner.plan import (
    ALL_THREADS,
    Action,
    Drain,
    GpuPlan,
    MigPlace,
    Outage,
    Plan,
    Repartition,
    Replica,
    Route,
    SetRoutes,
    Sleep,
    SleepLevel,
    Start,
    State,
    Stop,
    Wake,
    may_be_neighbours,
)
from planner.sleep_costs import asleep_mib, numa_memory
from planner.transitions.outages import outages
from profiles.gpu_types import GpuType
from profiles.mig import legal_layouts

GpuKey = tuple[str, int]


def action_problems(plan: Plan, state: State, gpu_type: Callable[[str], GpuType]) -> Iterator[str]:
    """What would go wrong while apply executes the actions, and where they end up if not at the desired world."""
    world = _World(plan, state, gpu_type)
    for number, action in enumerate(plan.actions):
        yield from world.follow(action, f"actions[{number}]")
    yield from world.arrived()
    told = {outage.served_name: outage for outage in plan.outages}
    for outage in outages(state, plan.desired, plan.actions, plan.temporary):
        if not _says(told.pop(outage.served_name, None), outage):
            yield (
                f"outages: {outage.served_name} is unavailable for up to {outage.unavailable_s:.0f} s and has too few replicas for "
                f"up to {outage.short_s:.0f} s while the actions are done, but the plan does not say so"
            )
    for name in sorted(told):
        yield f"outages: the plan says that {name} is unavailable or short of replicas, but the actions keep it available"


def _says(told: Outage | None, found: Outage) -> bool:
    """Whether a plan tells an outage as it is; what would avoid it may follow the reason."""
    return told is not None and told.reason.startswith(found.reason) and told.model_copy(update={"reason": found.reason}) == found


class _World:
    """What runs, is routed and is partitioned after the actions so far."""

    def __init__(self, plan: Plan, state: State, gpu_type: Callable[[str], GpuType]) -> None:
        self.desired = plan.desired
        self.gpu_type = gpu_type
        self.wanted = {replica.name: replica for replica in plan.desired.replicas}
        self.startable = {replica.name: replica for replica in plan.started}
        self.gpus: dict[GpuKey, GpuPlan] = {(gpu.node, gpu.index): gpu for gpu in (*state.gpus, *plan.desired.gpus)}
        self.running = {replica.name: replica for replica in state.replicas}
        self.asleep: dict[str, SleepLevel] = {item.name: item.level for item in state.asleep}
        # nobody sends anything to one that sleeps
        self.drained = set(self.asleep)
        self.nodes = {node.name: node for node in (*state.nodes, *plan.desired.nodes)}
        self.routes = state.routes
        # of one that is replaced by itself, the first: until then it goes, from then on it stays
        self.to_stop = {action.replica for action in plan.actions if isinstance(action, Stop)}
        self.to_sleep = Counter(action.replica for action in plan.actions if isinstance(action, Sleep))
        self.layouts: dict[GpuKey, tuple[MigPlace, ...]] = {(gpu.node, gpu.index): gpu.mig_layout for gpu in state.gpus}

    def follow(self, action: Action, where: str) -> Iterator[str]:
        """What is wrong with an action now; then the world is as after it."""
        match action:
            case Start():
                yield from self.start(action, where)
            case Drain():
                yield from self.drain(action.replica, where)
            case Stop():
                yield from self.stop(action.replica, where)
            case Sleep():
                yield from self.sleep(action, where)
            case Wake():
                yield from self.wake(action.replica, where)
            case Repartition():
                yield from self.repartition(action, where)
            case SetRoutes():
                yield from self.set_routes(action.routes, where)

    def start(self, action: Start, where: str) -> Iterator[str]:
        replica = self.startable.get(action.replica)
        if replica is None or (action.node, action.gpus) != (replica.node, replica.gpus):
            yield f"{where}: starts {action.replica} on node {action.node}, GPUs {list(action.gpus)}, but the plan places it elsewhere"
            return
        if replica.name in self.running:
            yield f"{where}: starts {replica.name}, which runs already"
        for other in self.running.values():
            if (other.host, other.args.port) == (replica.host, replica.args.port) and other.name != replica.name:
                yield f"{where}: starts {replica.name} on port {replica.args.port} of {replica.host}, which {other.name} still has"
        for index in replica.gpus:
            yield from self._room(replica, (replica.node, index), where)
        self.running[replica.name] = replica
        self.drained.discard(replica.name)
        self.asleep.pop(replica.name, None)

    def _room(self, replica: Replica, key: GpuKey, where: str) -> Iterator[str]:
        here = self._beside(replica, key)
        place = f"{where}: starts {replica.name} on node {key[0]}, GPU {key[1]}"
        layout = self.layouts.get(key, ())
        if replica.mig is not None:
            if replica.mig not in layout or any(other.mig in (replica.mig, None) for other in here):
                yield f"{place} in MIG {replica.mig.profile} at {replica.mig.start}, which is not there or not free at that time"
            return
        if layout or (here and not may_be_neighbours([replica.mode, *(other.mode for other in here)])):
            yield f"{place}, which is not free for {replica.mode} at that time"
        yield from self._threads(replica, here, place)
        yield from self._memory(replica.ledger.total_mib + replica.ledger.start_extra_mib, here, key, place)

    def _threads(self, replica: Replica, here: list[Replica], place: str) -> Iterator[str]:
        """Engines that share by MPS have threads of their own; those that sleep use none."""
        used = sum(other.threads for other in here if other.name not in self.asleep)
        if replica.threads + used > ALL_THREADS:
            yield f"{place} with {replica.threads} % of its threads, of which its neighbours have {used} %"

    def _beside(self, replica: Replica, key: GpuKey) -> list[Replica]:
        return [other for other in self.running.values() if other.name != replica.name and other.node == key[0] and key[1] in other.gpus]

    def _memory(self, needs_mib: int, here: list[Replica], key: GpuKey, place: str) -> Iterator[str]:
        """Is so much free beside the others? Those that sleep hold their residue only."""
        gpu = self.gpus.get(key)
        used_mib = needs_mib + sum(asleep_mib(other) if other.name in self.asleep else other.ledger.total_mib for other in here)
        if gpu is not None and used_mib + gpu.headroom_mib + gpu.taken_mib > gpu.memory_mib:
            yield f"{place}, where {used_mib} MiB and {gpu.headroom_mib} MiB headroom would be needed, but it has {gpu.memory_mib} MiB"

    def drain(self, name: str, where: str) -> Iterator[str]:
        if name not in self.running:
            yield f"{where}: drains {name}, which does not run"
        if self._routed(name):
            yield f"{where}: drains {name}, which still takes part in a route"
        self.drained.add(name)

    def stop(self, name: str, where: str) -> Iterator[str]:
        if self.running.pop(name, None) is None:
            yield f"{where}: stops {name}, which does not run"
        elif name not in self.drained:
            yield f"{where}: stops {name}, which was not drained: its requests would be lost"
        if self._routed(name):
            yield f"{where}: stops {name}, which still takes part in a route"
        self.drained.discard(name)
        self.to_stop.discard(name)
        self.asleep.pop(name, None)

    def sleep(self, action: Sleep, where: str) -> Iterator[str]:
        name, replica = action.replica, self.running.get(action.replica)
        if replica is None:
            yield f"{where}: puts {name} to sleep, which does not run"
            return
        if not replica.args.enable_sleep_mode:
            yield f"{where}: puts {name} to sleep, which runs without enable_sleep_mode"
        if name in self.asleep:
            yield f"{where}: puts {name} to sleep, which sleeps already"
        if self._routed(name):
            yield f"{where}: puts {name} to sleep, which still takes part in a route: its requests would wait until it wakes"
        if name not in self.drained:
            yield f"{where}: puts {name} to sleep, which was not drained: its requests would wait until it wakes"
        self.asleep[name] = action.level
        self.to_sleep[name] -= 1
        yield from self._host(replica, where)

    def _host(self, replica: Replica, where: str) -> Iterator[str]:
        """Weights of level 1 must fit the host beside what its engines take anyway."""
        here = [other for other in self.running.values() if other.node == replica.node]
        node = self.nodes.get(replica.node)
        for number, part in enumerate(numa_memory(node, here, self.asleep) if node is not None and self.asleep[replica.name] == 1 else ()):
            if part.needs_mib > part.has_mib:
                of = f"node {replica.node}" if node is None or node.numa_nodes == 1 else f"NUMA node {number} of {replica.node}"
                yield (
                    f"{where}: puts {replica.name} to sleep at level 1, where {part.needs_mib:.0f} MiB of host memory would be needed, "
                    f"{part.weights_mib} MiB of them for weights, but {of} has {part.has_mib} MiB"
                )

    def wake(self, name: str, where: str) -> Iterator[str]:
        replica = self.running.get(name)
        if replica is None or name not in self.asleep:
            yield f"{where}: wakes {name}, which does not {'run' if replica is None else 'sleep'}"
            return
        for index in () if replica.mig is not None else replica.gpus:
            key = (replica.node, index)
            here, place = self._beside(replica, key), f"{where}: wakes {name} on node {key[0]}, GPU {key[1]}"
            yield from self._threads(replica, here, place)
            yield from self._memory(replica.ledger.total_mib, here, key, place)
        del self.asleep[name]
        self.drained.discard(name)

    def _routed(self, name: str) -> bool:
        return any(backend.replica == name for route in self.routes for backend in route.backends)

    def repartition(self, action: Repartition, where: str) -> Iterator[str]:
        key = (action.node, action.gpu)
        place = f"node {key[0]}, GPU {key[1]}"
        for replica in self.running.values():
            if replica.node == key[0] and key[1] in replica.gpus and replica.mig not in action.layout:
                yield f"{where}: changes the MIG layout of {place} under {replica.name}"
        gpu = self.gpus.get(key)
        if gpu is None:
            yield f"{where}: changes the MIG layout of {place}, which does not exist"
        elif not _is_legal(action.layout, self.gpu_type(gpu.gpu_type)):
            names = ", ".join(f"{part.profile} at {part.start}" for part in action.layout)
            yield f"{where}: cuts {place} into {names}, which is not a legal MIG layout of {gpu.gpu_type}"
        self.layouts[key] = action.layout

    def set_routes(self, routes: tuple[Route, ...], where: str) -> Iterator[str]:
        for route in routes:
            if route.backends:
                yield from (f"{where}: {problem}" for problem in weight_problems(route))
            else:
                yield from self._silenced(route.served_name, where)
            for backend in route.backends:
                replica = self.running.get(backend.replica)
                at = f"{backend.replica} at {backend.host}:{backend.port}"
                if replica is None or (replica.host, replica.args.port) != (backend.host, backend.port):
                    yield f"{where}: routes to {at}, which does not run at that time"
                elif route.served_name not in replica.args.names:
                    yield f"{where}: routes {route.served_name} to {at}, which serves {', '.join(replica.args.names)}"
                elif backend.replica in self.asleep:
                    yield f"{where}: routes to {at}, which sleeps at that time"
                elif backend.replica in self.drained:
                    yield f"{where}: routes to {at}, which was drained"
        yield from (f"{where}: {problem}" for problem in rule_problems_of(routes, self.running))
        yield from (f"{where}: {problem}" for problem in priority_problems_of(routes, self.running))
        yield from self._abandoned(routes, where)
        self.routes = routes

    def _silenced(self, served_name: str, where: str) -> Iterator[str]:
        """A model has a route without backends only while no replica of it runs that stays."""
        stays = [name for name, item in self.running.items() if served_name in item.args.names and self._stays(item)]
        if stays:
            yield f"{where}: leaves the route of {served_name} empty, although {', '.join(sorted(stays))} serves it"

    def _stays(self, replica: Replica) -> bool:
        wanted = self.wanted.get(replica.name)
        if replica.name in self.to_stop or replica.name in self.asleep or self.to_sleep[replica.name] > 0:
            return False
        return wanted is not None and (wanted.args, wanted.node, wanted.gpus) == (replica.args, replica.node, replica.gpus)

    def _abandoned(self, routes: tuple[Route, ...], where: str) -> Iterator[str]:
        """Served names that lose their route while a replica that stays serves them."""
        routed = {route.served_name for route in routes}
        for name in sorted({route.served_name for route in self.routes} - routed):
            stays = [item.name for item in self.running.values() if name in item.args.names and self._stays(item)]
            if stays:
                yield f"{where}: removes the route of {name}, although {', '.join(sorted(stays))} still serves it"

    def arrived(self) -> Iterator[str]:
        if self.running.keys() != self.wanted.keys():
            yield f"the actions leave {sorted(self.running)} running, the plan wants {sorted(self.wanted)}"
        for name in sorted(self.running.keys() & self.wanted.keys()):
            runs, wanted = self.running[name], self.wanted[name]
            if (runs.args, runs.node, runs.gpus, runs.mig) != (wanted.args, wanted.node, wanted.gpus, wanted.mig):
                yield f"the actions leave {name} running with other arguments or elsewhere than the plan wants"
        wanted_asleep = {item.name: item.level for item in self.desired.asleep}
        for name in sorted(self.asleep.keys() | wanted_asleep.keys()):
            is_now, should_be = self.asleep.get(name), wanted_asleep.get(name)
            if is_now != should_be:
                yield f"the actions leave {name} {_depth(is_now)}, the plan wants it {_depth(should_be)}"
            elif self._routed(name):
                yield f"the actions leave {name} asleep, and it takes part in a route"
        if self.routes != self.desired.routes:
            yield "the actions end with other routes than the plan wants"
        for gpu in self.desired.gpus:
            if self.layouts.get((gpu.node, gpu.index), ()) != gpu.mig_layout:
                yield f"the actions leave node {gpu.node}, GPU {gpu.index} in another MIG layout than the plan wants"


def _depth(level: SleepLevel | None) -> str:
    return "awake" if level is None else f"asleep at level {level}"


def _is_legal(layout: tuple[MigPlace, ...], gpu: GpuType) -> bool:
    places = [(part.profile, part.start) for part in layout]
    return len(set(places)) == len(places) and any(set(places) == set(legal) for legal in legal_layouts(gpu))
