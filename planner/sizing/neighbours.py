"""Who may come to share a GPU with whom, and what that costs at worst; counted once for all groups of a fleet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import get_args

from planner.plan import SharedMode
from planner.sizing.groups import ServiceGroup
from planner.sizing.sites import ASSUMED_INTERFERENCE_FACTOR
from planner.spec import Fleet, FleetPool
from profiles.latency.interference import group_factor


class Neighbours:
    """The groups of a fleet as each other's neighbours."""

    def __init__(self, fleet: Fleet, groups: Sequence[ServiceGroup]) -> None:
        """Count how many groups of each model every pool may hold."""
        self._measurements = fleet.measurements
        self._groups = {group.name: group for group in groups}
        self._indexes = {group.name: i for i, group in enumerate(groups)}
        self._apart = _apart(groups)
        self._models_on = {pool.name: Counter(_model(group) for group in groups if group.allows(pool.name)) for pool in fleet.pools}
        self._factors: dict[tuple[str, str, tuple[str, ...]], dict[SharedMode, float]] = {}

    def apart_from(self, group: ServiceGroup) -> frozenset[int]:
        """Indexes of the groups that may not share a GPU with it, whichever of the two says so."""
        return frozenset(sorted(self._indexes[name] for name in self._apart[group.name]))

    def interference_factors(self, group: ServiceGroup, pool: FleetPool) -> dict[SharedMode, float]:
        """The worst that any group which may become its neighbour costs a group, by how they share: measured where the pair was, else
        assumed.

        A replica is sized before its neighbours are known, so it is sized for all there can be.
        """
        others = self._models_on[pool.name].copy()
        others.subtract(
            _model(self._groups[name]) for name in {group.name} | self._apart[group.name] if self._groups[name].allows(pool.name)
        )
        models = tuple(sorted(model for model, count in others.items() if count > 0))
        key = (_model(group), pool.gpu.name, models)
        if key not in self._factors:
            self._factors[key] = {
                mode: group_factor(self._measurements, _model(group), models, pool.gpu.name, mode, ASSUMED_INTERFERENCE_FACTOR)[0]
                for mode in get_args(SharedMode)
            }
        return self._factors[key]


def _model(group: ServiceGroup) -> str:
    return group.model.architecture.name


def _apart(groups: Sequence[ServiceGroup]) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    names = {group.name for group in groups}
    for group in groups:
        found[group.name] |= group.not_with & names
        for name in group.not_with & names:
            found[name].add(group.name)
    return dict(found)
