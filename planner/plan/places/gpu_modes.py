"""How a GPU is used, and which replicas may be neighbours on one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeGuard

GpuMode = Literal["free", "exclusive", "time_shared", "mps", "mig", "tensor_parallel"]

# Per cent of a GPU's threads: engines that share it by MPS divide them.
ALL_THREADS = 100

SharedMode = Literal["time_shared", "mps"]


def is_shared(mode: str) -> TypeGuard[SharedMode]:
    """Whether several engines divide the whole of a GPU among them: its time, or with MPS its threads."""
    return mode in ("time_shared", "mps")


def may_be_neighbours(modes: Iterable[str]) -> bool:
    """Whether replicas of these modes may be on one GPU that is not cut into slices: all share it, and in the same way."""
    found = set(modes)
    return len(found) == 1 and all(is_shared(mode) for mode in found)
