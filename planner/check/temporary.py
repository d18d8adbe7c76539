"""Copies that a change starts and stops again: each is what it is a copy of, elsewhere, where nobody else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from planner.plan import Plan, Replica, Start, State, Stop

# What a copy has of its own; all else was checked with the replica that it is a copy of.
_PLACE = {"name": "", "node": "", "host": "", "gpus": ()}
_ADDRESS = {"host": "", "port": 1024}


def temporary_problems(plan: Plan, state: State) -> Iterator[str]:
    """What is wrong with the temporary replicas of a plan, beyond what following its actions shows."""
    others = {replica.name for replica in (*state.replicas, *plan.desired.replicas)}
    names = Counter(replica.name for replica in plan.temporary)
    gpus = {(gpu.node, gpu.index): gpu for gpu in plan.desired.gpus}
    cut = {(gpu.node, gpu.index) for gpu in (*state.gpus, *plan.desired.gpus) if gpu.mig_layout}
    for replica in plan.temporary:
        where = f"temporary.{replica.name}"
        if replica.name in others or names[replica.name] > 1:
            yield f"{where}: another replica has this name"
        if not any(_like(replica, other) for other in plan.desired.replicas):
            yield f"{where}: is no copy of any replica of the plan"
        if replica.gpus != tuple(range(replica.gpus[0], replica.gpus[0] + len(replica.gpus))) or replica.gpus[0] % len(replica.gpus):
            yield f"{where}: GPUs {list(replica.gpus)} are no aligned block"
        if replica.host not in {node.host for node in plan.desired.nodes if node.name == replica.node}:
            yield f"{where}: {replica.host} is not where node {replica.node} is"
        for seat in [(replica.node, gpu) for gpu in replica.gpus]:
            gpu = gpus.get(seat)
            if gpu is None or gpu.pool != replica.pool:
                yield f"{where}: node {seat[0]} has no GPU {seat[1]} in pool {replica.pool}"
            elif seat in cut or gpu.taken_mib:
                yield f"{where}: node {seat[0]}, GPU {seat[1]} has slices, or others use memory of it"
        begun, ended = (
            sum(isinstance(action, kind) and action.replica == replica.name for action in plan.actions) for kind in (Start, Stop)
        )
        if (begun, ended) != (1, 1):
            yield f"{where}: is started {begun} times and stopped {ended} times by the actions, each must be once"
    yield from _not_alone(plan, state)


def _not_alone(plan: Plan, state: State) -> Iterator[str]:
    """Copies that are on a GPU together with anybody; one after another they may be."""
    wanted = {replica.name: replica for replica in (*plan.desired.replicas, *plan.temporary)}
    copies = {replica.name for replica in plan.temporary}
    running = {replica.name: replica for replica in state.replicas}
    for action in plan.actions:
        if isinstance(action, Stop):
            running.pop(action.replica, None)
        comes = wanted.get(action.replica) if isinstance(action, Start) else None
        if comes is None:
            continue
        for other in running.values():
            if comes.node == other.node and set(comes.gpus) & set(other.gpus) and {comes.name, other.name} & copies:
                yield f"temporary: {comes.name} starts on GPUs {list(comes.gpus)} of node {comes.node} while {other.name} is there"
        running[comes.name] = comes


def _like(copy: Replica, other: Replica) -> bool:
    if copy.args.host != copy.host or len(copy.gpus) != len(other.gpus):
        return False
    one, two = (item.model_copy(update={**_PLACE, "args": item.args.model_copy(update=_ADDRESS)}) for item in (copy, other))
    return one == two
