"""The GPU types that a plan brings along: no other name for what the catalogue knows, and none that nothing uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from planner.plan import Desired
from profiles.gpu_types import GpuType


def gpu_type_problems(desired: Desired, catalogue: Callable[[str], GpuType]) -> Iterator[str]:
    """What is wrong with them; catalogue raises ValueError for a name that it does not know."""
    used = {node.gpu_type for node in desired.nodes}
    names = Counter(facts.name for facts in desired.gpu_types)
    for name, times in sorted(names.items()):
        if times > 1:
            yield f"gpu_types: {name} is listed {times} times"
        if name not in used:
            yield f"gpu_types: no node has GPUs of type {name}"
        if _knows(catalogue, name):
            yield f"gpu_types: the catalogue has {name} already; the plan must not state other facts about it"
    for facts in desired.gpu_types:
        for profile in facts.mig_profiles:
            if profile.memory_mib > facts.memory_usable_mib:
                yield f"gpu_types: {facts.name}: {profile.name} has {profile.memory_mib} MiB, the GPU {facts.memory_usable_mib} MiB"


def _knows(catalogue: Callable[[str], GpuType], name: str) -> bool:
    try:
        catalogue(name)
    except ValueError:
        return False
    return True
