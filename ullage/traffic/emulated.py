"""What emulated engines are told by their environment: the measurements that their step times and memory rest on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from executor.emulator.launch import STORE_VARIABLE
from planner.plan import Plan
from profiles.store.digest import digest
from profiles.store.measurements import Measurements


@contextmanager
def emulated_store(store: Path | None) -> Iterator[None]:
    """Emulated engines started meanwhile are as fast, and take as much memory, as the measurements of this folder make them."""
    before = os.environ.get(STORE_VARIABLE)
    if store is not None:
        os.environ[STORE_VARIABLE] = str(store.resolve())
    try:
        yield
    finally:
        if before is not None:
            os.environ[STORE_VARIABLE] = before
        else:
            os.environ.pop(STORE_VARIABLE, None)


def store_warning(plan: Plan, measurements: Measurements) -> str | None:
    """What to tell somebody who simulates or emulates a plan with other measurements than it was made with; None: with the same."""
    made_with, given = plan.desired.measurements_sha256, digest(measurements)
    if made_with == given:
        return None
    if given is None:
        return "the plan rests on measurements and none are given: step times are those of the fit; give --store with the fleet's folder"
    if made_with is None:
        return "the plan was made without measurements; step times here rest on those of --store"
    return "--store holds other measurements than the plan was made with: its forecast and these results differ for that reason too"
