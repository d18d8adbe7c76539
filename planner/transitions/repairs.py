"""What must be replaced though the desired world has the very same: engines that do not work, or are not what the plan says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Repairs:
    """Running replicas to stop and start again, by name, with the reason for people.

    useless ones serve nobody and go at once; outdated ones still serve and go when they can be spared.
    """

    useless: Mapping[str, str] = field(default_factory=dict)
    outdated: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self.useless) | frozenset(self.outdated)


NO_REPAIRS = Repairs()
