"""What a real engine needs of this machine, looked at before anything is started: the program, one machine per node, and the GPUs."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator

from executor.errors import ExecutorError
from executor.nvml.driver import GpuDriverError, gpu_count, session
from planner.hosts import address_of
from planner.plan import Plan, gpu_look_up
from profiles.catalogue import builtin

# How many GPUs there are; ExecutorError says why that cannot be known.
CountGpus = Callable[[], int]


def inspect(plan: Plan, path: str, count_gpus: CountGpus | None = None) -> None:
    """Raises ExecutorError naming everything that is missing. path is where programs are looked for."""
    missing = [*_no_program(path), *_one_machine_twice(plan), *_no_gpus(plan, count_gpus or visible_gpus)] if plan.desired.replicas else []
    if missing:
        raise ExecutorError("\n".join(missing))


def visible_gpus() -> int:
    """The GPUs that the NVIDIA driver of this machine shows; ExecutorError without a driver."""
    try:
        with session():
            return gpu_count()
    except GpuDriverError as error:
        raise ExecutorError(f"the NVIDIA driver of this machine cannot be asked ({error})") from None


def _no_program(path: str) -> Iterator[str]:
    if shutil.which("vllm", path=path) is None:
        yield "there is no `vllm` beside this Python or on PATH: install it (pip install vllm), or try the plan with --engine emulated"


def _one_machine_twice(plan: Plan) -> Iterator[str]:
    """Nodes with one address are one machine here: a GPU of it must not be given to two of them."""
    users: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for replica in plan.started:
        for index in replica.gpus:
            users[address_of(replica.host), index].add(replica.node)
    for (host, index), nodes in sorted(users.items()):
        if len(nodes) > 1:
            yield (
                f"nodes {', '.join(sorted(nodes))} have the one address {host}, and GPU {index} would be used by all of them: "
                "give their pool `hosts`, one address per node"
            )


def _no_gpus(plan: Plan, count_gpus: CountGpus) -> Iterator[str]:
    """GPUs that the plan uses and the machine does not have; devices that are no GPUs are not looked for."""
    types = {node.name: node.gpu_type for node in plan.desired.nodes}
    look_up = gpu_look_up(plan.desired.gpu_types, builtin().gpu)
    used = [(index, replica) for replica in plan.started for index in replica.gpus if look_up(types[replica.node]).engine is None]
    if not used:
        return
    try:
        there = count_gpus()
    except ExecutorError as error:
        yield f"{error}, and the plan uses {len(used)} GPUs: install the driver, or try the plan with --engine emulated"
        return
    for index, replica in used:
        if index >= there:
            yield f"replica {replica.name}: GPU {index} of node {replica.node} is not there, this machine has {there}"
