"""Replicas with sleep mode of which two do not fit one GPU awake, and plans that put them to sleep and wake them."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan import (
    Action,
    Asleep,
    Drain,
    Plan,
    Prior,
    Replica,
    RouterPlan,
    SetRoutes,
    Sleep,
    SleepLevel,
    Start,
    State,
    Wake,
    state_hash,
)
from planner.routes import routes_for
from planner.transitions.outages import outages
from tests.plans import plan_of
from tests.plans import replica as sample_replica

LARGE_KV_MIB = 40 * 1024


def sleeper(name: str, port: int = 8100, kv_mib: int = LARGE_KV_MIB, gpu: int = 0) -> Replica:
    """Its model is its name without the number; with 40 GiB of KV cache it takes 58,976 of the 81,090 MiB of its GPU."""
    blank = sample_replica(name, name.rsplit("-", 1)[0])
    total_mib = blank.ledger.total_mib - blank.ledger.kv_mib + kv_mib
    ledger = blank.ledger.model_copy(update={"kv_mib": kv_mib, "total_mib": total_mib, "start_peak_mib": total_mib})
    arguments = {"port": port, "enable_sleep_mode": True, "kv_cache_memory_bytes": kv_mib << 20, "gpu_memory_utilization": 0.74}
    return sample_replica(name, blank.served_name, gpus=(gpu,), ledger=ledger, args=arguments)


def leading(
    state: State, replicas: Sequence[Replica], asleep: dict[str, SleepLevel], actions: Sequence[Action], router: RouterPlan | None = None
) -> Plan:
    """From the state, by these actions, to these replicas with those asleep; the last action but those given sets the routes."""
    blank = plan_of(tuple(replicas[:1]), gpu_count=1 + max(gpu for item in replicas for gpu in item.gpus)).desired
    names = sorted({item.served_name for item in replicas})
    routes = routes_for([item for item in replicas if item.name not in asleep], names)
    desired = blank.model_copy(
        update={
            "replicas": tuple(sorted(replicas, key=lambda item: item.name)),
            "asleep": tuple(Asleep(name=name, level=level) for name, level in sorted(asleep.items())),
            "routes": routes,
            "router": router or blank.router,
        }
    )
    actions = (*actions, SetRoutes(routes=routes, reason="route to those that are awake"))
    prior = Prior(serial=state.serial, state_hash=state_hash(state))
    return Plan(desired=desired, prior=prior, actions=actions, outages=outages(state, desired, actions))


def starting(item: Replica) -> Start:
    return Start(replica=item.name, node=item.node, gpus=item.gpus, reason="new")


def to_bed(state: State, goes: str, level: SleepLevel, names: Sequence[str] = ()) -> tuple[Action, ...]:
    """Out of the routes, drained, asleep."""
    awake = [item for item in state.replicas if item.name != goes and item.name not in {known.name for known in state.asleep}]
    routes = routes_for(awake, names or sorted({item.served_name for item in state.replicas}))
    return (
        SetRoutes(routes=routes, reason="without the one that sleeps"),
        Drain(replica=goes, reason="is to sleep"),
        Sleep(replica=goes, level=level, reason="makes room"),
    )


def first_plan(one: Replica, state: State | None = None, router: RouterPlan | None = None) -> Plan:
    """The first alone."""
    return leading(state or State(), [one], {}, [starting(one)], router)


def second_plan(one: Replica, two: Replica, state: State, level: SleepLevel = 1, router: RouterPlan | None = None) -> Plan:
    """The first sleeps and the second starts in its place."""
    return leading(state, [one, two], {one.name: level}, [*to_bed(state, one.name, level), starting(two)], router)


def third_plan(one: Replica, two: Replica, state: State, level: SleepLevel = 1, router: RouterPlan | None = None) -> Plan:
    """The second sleeps and the first wakes in its place."""
    woken = Wake(replica=one.name, reason="is wanted again")
    return leading(state, [one, two], {two.name: level}, [*to_bed(state, two.name, level), woken], router)
