"""Refuses plans that the independent checker finds fault with, before they are written and before they are applied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from planner.check import check
from planner.plan import Plan
from profiles.catalogue import architecture_from_path, builtin
from profiles.models import Architecture


class CheckError(ValueError):
    """A plan that breaks a rule of reality; the message lists every violation."""


def checked(plan: Plan, source: str) -> Plan:
    """The plan itself when it is sound; CheckError otherwise. source names it in the message."""
    found = check(plan, builtin().gpu, architecture_of(plan))
    if found:
        raise CheckError("\n".join(f"{source}: {line}" for line in found))
    return plan


def architecture_of(plan: Plan) -> Callable[[str], Architecture]:
    """Look-up of the architectures a plan names: local folders by their path, everything else in the catalogue."""
    folders = {replica.catalogue_model: replica.args.model for replica in plan.desired.replicas if Path(replica.args.model).is_absolute()}

    def architecture(name: str) -> Architecture:
        return architecture_from_path(Path(folders[name])) if name in folders else builtin().model(name)

    return architecture
