"""Refuses plans that the independent checker finds fault with, before they are written and before they are applied."""

from __future__ import annotations

from pathlib import Path

from planner.check import check
from planner.plan import Plan, State
from profiles.catalogue import architecture_from_path, builtin
from profiles.models import Architecture


class CheckError(ValueError):
    """A plan that breaks a rule of reality; the message lists every violation."""


def checked(plan: Plan, source: str, state: State | None = None) -> Plan:
    """The plan itself when it is sound; CheckError otherwise. source names it in the message, state is what the plan was made against."""
    found = check(plan, builtin().gpu, architecture_of, state)
    if found:
        raise CheckError("\n".join(f"{source}: {line}" for line in found))
    return plan


def architecture_of(name: str) -> Architecture:
    """The architecture a plan names: a local folder by its path, everything else in the catalogue."""
    return architecture_from_path(Path(name)) if Path(name).is_absolute() else builtin().model(name)
