"""How much room each model is sized with: between what a simulation denied and what it confirmed, model by model, in a few rounds.

Room is a factor on the step times that sizing takes for a model: below 1 its engines are taken to be faster than they are known to be, as
closed formulas are on the safe side by an amount that only a simulation shows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

# A model that was denied gets 15 % more, or half way to what was confirmed; one that was confirmed 0.6 of it, or half way to what was
# denied; never less than a twentieth.
_MORE, _LESS, _LEAST_FACTOR = 1.15, 0.6, 0.05

# Between two factors that differ by less there is nothing to find.
_WIDTH = 1.15


@dataclass(frozen=True, slots=True)
class RoomSearch:
    """Per model the factor of the round, the smallest with which it was not denied, and the largest with which it was."""

    factors: Mapping[str, float]
    enough_factors: Mapping[str, float] = field(default_factory=dict)
    denied_factors: Mapping[str, float] = field(default_factory=dict)

    def after(self, crowded: Collection[str], *, careful: bool = False) -> RoomSearch:
        """What to try next, after a round in which the simulation denied the GPUs of these models and no other.

        careful ends the search: these models get at once what sizing asks for, or more, and the others go no further.
        """
        enough = {name: self.factors[name] for name in self.factors if name not in crowded} | {
            name: factor for name, factor in self.enough_factors.items() if name in crowded and factor > self.factors[name]
        }
        denied = {name: self.factors[name] for name in crowded} | {
            name: factor for name, factor in self.denied_factors.items() if name not in crowded and factor < self.factors[name]
        }
        if careful:
            safe = {name: max(1.0, factor * _MORE) if factor >= 1.0 else 1.0 for name, factor in self.factors.items()}
            return RoomSearch({name: safe[name] if name in crowded else self.factors[name] for name in self.factors}, enough, denied)
        return RoomSearch({name: _next(enough.get(name), denied.get(name)) for name in self.factors}, enough, denied)

    def at_least(self, factor: float) -> RoomSearch:
        """The same with no factor of the round below this one."""
        return replace(self, factors={name: max(factor, own) for name, own in self.factors.items()})

    @property
    def settled(self) -> bool:
        """Whether another round would find nothing new: what is to be tried has been enough, for every model."""
        return all(self.enough_factors.get(name) == factor for name, factor in self.factors.items())


def _next(enough: float | None, denied: float | None) -> float:
    if enough is None:
        return 1.0 if denied is None else denied * _MORE
    if denied is None:
        return max(enough * _LESS, min(enough, _LEAST_FACTOR))
    return enough if enough <= denied * _WIDTH else math.sqrt(enough * denied)
