"""Refuses plans that the independent checker finds fault with, before they are written and before they are applied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from planner.check import check
from planner.plan import Plan, State
from planner.plan.local_paths import is_relative, located
from profiles.catalogue import architecture_from_path, builtin
from profiles.models import Architecture

FindArchitecture = Callable[[str], Architecture]


class CheckError(ValueError):
    """A plan that breaks a rule of reality; the message lists every violation."""


def architecture_of(name: str) -> Architecture:
    """The architecture a plan names: a local folder by its absolute path, everything else in the catalogue."""
    return architecture_from_path(Path(name)) if Path(name).is_absolute() else builtin().model(name)


def architectures_from(folder: Path) -> FindArchitecture:
    """As architecture_of, with local folders from the folder of the fleet file too."""

    def find(name: str) -> Architecture:
        if not is_relative(name):
            return architecture_of(name)
        try:
            return architecture_from_path(located(name, folder))
        except ValueError as error:
            raise ValueError(
                f"{error}; {name} starts from the folder of the fleet file: where that is another one, give --fleet-folder"
            ) from error

    return find


def checked(plan: Plan, source: str, state: State | None = None, architecture: FindArchitecture = architecture_of) -> Plan:
    """The plan itself when it is sound; CheckError otherwise. source names it in the message, state is what the plan was made against."""
    found = check(plan, builtin().gpu, architecture, state)
    if found:
        raise CheckError("\n".join(f"{source}: {line}" for line in found))
    return plan
