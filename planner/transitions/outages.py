"""What is out of reach while apply executes the actions, and for how long: told in the plan before anything happens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from planner.plan import Action, Desired, Outage, Replica, Route, SetRoutes, Sleep, Start, State, Stop, Wake
from planner.sleep_costs import sleep_s, wake_s

# Our choice: the longest stream that is still worth waiting for when a replica leaves; what runs longer is cut off.
DRAIN_LIMIT_S = 60.0

# What the rendered command line grants requests after SIGTERM (30 s), and 5 s to close the engine core; then the group is killed.
STOP_LIMIT_S = 35.0

_LEAVING_S = {"drain": DRAIN_LIMIT_S, "stop": STOP_LIMIT_S}


@dataclass(slots=True)
class _Lack:
    """What a served name lacks on the way."""

    none_s: float = 0.0
    short_s: float = 0.0
    leaving_s: float = 0.0
    fewest: int = 1_000_000
    stopped: dict[str, None] = field(default_factory=dict)
    started: dict[str, None] = field(default_factory=dict)
    slept: dict[str, None] = field(default_factory=dict)
    woken: dict[str, None] = field(default_factory=dict)


def outages(state: State, desired: Desired, actions: Sequence[Action], temporary: Sequence[Replica] = ()) -> tuple[Outage, ...]:
    """The names served before and after that have no ready replica, or fewer than they must, on the way; sorted.

    A replica counts from the switch of routes that lets it in to the one that takes it out. Time passes while replicas drain and stop,
    at once, for as long as apply waits at most; and while they start: start_s each, one after the other on a GPU, at once on different
    ones. Sleeps and wakes go one by one. Least is min_replicas, or what the name has before or after if that is less.
    temporary are further replicas that the actions may start.
    """
    wanted = {replica.name: replica for replica in (*desired.replicas, *temporary)}
    serving = {replica.name: replica.args.names for replica in state.replicas}
    routed = _counts(state.routes)
    least = least_ready(state, desired)
    lacks: defaultdict[str, _Lack] = defaultdict(_Lack)
    sleepers = SleepTimes(state, desired)
    for kind, group in groupby(actions, key=lambda action: action.kind):
        batch = list(group)
        for action in batch:
            if isinstance(action, SetRoutes):
                routed = _counts(action.routes)
            elif isinstance(action, Stop):
                for name in serving.pop(action.replica, ()):
                    lacks[name].stopped[action.replica] = None
            elif isinstance(action, Sleep):
                for name in serving.get(action.replica, ()):
                    lacks[name].slept[action.replica] = None
        starts = [wanted[action.replica] for action in batch if isinstance(action, Start) and action.replica in wanted]
        leaving_s = _LEAVING_S.get(kind, 0.0)
        woken = [action.replica for action in batch if isinstance(action, Wake)]
        duration_s = batch_s(kind, starts) + sum(map(sleepers.spent_s, batch))
        for name, count in least.items() if duration_s else ():
            has = routed.get(name, 0)
            if has >= count:
                continue
            lack = lacks[name]
            lack.fewest = min(lack.fewest, has)
            lack.short_s += duration_s
            lack.none_s += duration_s if has == 0 else 0.0
            lack.leaving_s += leaving_s
            lack.started.update(dict.fromkeys(replica.name for replica in starts if name in replica.args.names))
            lack.woken.update(dict.fromkeys(item for item in woken if name in serving.get(item, ())))
    return tuple(_outage(name, lack, least[name]) for name, lack in sorted(lacks.items()) if lack.short_s > 0)


class SleepTimes:
    """How deep replicas sleep on the way, and the time that it takes."""

    def __init__(self, state: State, desired: Desired) -> None:
        """As the state has it."""
        self._replicas = {replica.name: replica for replica in (*desired.replicas, *state.replicas)}
        self._levels = {item.name: item.level for item in state.asleep}

    def spent_s(self, action: Action) -> float:
        """Seconds of a sleep or a wake; 0 of anything else."""
        if not isinstance(action, Sleep | Wake) or action.replica not in self._replicas:
            return 0.0
        replica = self._replicas[action.replica]
        if isinstance(action, Sleep):
            self._levels[replica.name] = action.level
            return sleep_s(replica, action.level)
        return wake_s(replica, self._levels.pop(replica.name, 2))


def _counts(routes: Sequence[Route]) -> dict[str, int]:
    return {route.served_name: len(route.backends) for route in routes}


def least_ready(state: State, desired: Desired) -> dict[str, int]:
    """Replicas that each name served before and after should have at every moment."""
    before = _counts(state.routes)
    asked = {model.served_name: model.min_replicas for model in desired.rules.models}
    for name, count in desired.rules.disruption_budget.min_available.items():
        asked[name] = max(count, asked.get(name, 0))
    model_of = {name: replica.served_name for replica in desired.replicas for name in replica.args.names}
    after = _counts(desired.routes)
    least = {name: min(max(1, asked.get(model_of.get(name, name), 0)), before[name], after[name]) for name in before.keys() & after.keys()}
    return {name: count for name, count in sorted(least.items()) if count}


def batch_s(kind: str, starts: Sequence[Replica]) -> float:
    """Seconds that apply may take for neighbouring actions of one kind: until the last of the starts is ready, or all have left."""
    ready_s: defaultdict[tuple[str, int], float] = defaultdict(float)
    for replica in starts:
        seats = [(replica.node, gpu) for gpu in replica.gpus]
        done_s = max((ready_s[seat] for seat in seats), default=0.0) + replica.start_s
        ready_s.update(dict.fromkeys(seats, done_s))
    return max(ready_s.values(), default=0.0) + _LEAVING_S.get(kind, 0.0)


def _outage(name: str, lack: _Lack, least: int) -> Outage:
    ending = f"; up to {lack.leaving_s:.0f} s of it while running requests end" if lack.leaving_s else ""
    out = [f"{', '.join(names)} must {what}" for names, what in ((lack.stopped, "stop"), (lack.slept, "sleep")) if names]
    back = [f"{', '.join(names)} can {what}" for names, what in ((lack.started, "start"), (lack.woken, "wake")) if names]
    first, then = " and ".join(out) or "what serves it must stop", " and ".join(back) or "others can start"
    return Outage(
        served_name=name,
        unavailable_s=lack.none_s,
        short_s=lack.short_s,
        fewest_replicas=lack.fewest,
        least_replicas=least,
        reason=f"no room for both: {first} before {then}{ending}",
    )
