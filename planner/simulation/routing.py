"""Which route takes a request, and which backend of the route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.simulation.simulation_input import Longer, SimulatedRequest


def by_length(requests: Sequence[SimulatedRequest], longer: Longer) -> tuple[SimulatedRequest, ...]:
    """Requests with the served name of the route that takes them, where a model's longer prompts go to another one.

    A router goes by bytes and so takes some near the limit for the other kind; here the limit in tokens counts.
    """
    found = []
    for request in requests:
        over_tokens, name = longer.get(request.served_name, (request.input_tokens, request.served_name))
        found.append(replace(request, served_name=name) if request.input_tokens > over_tokens else request)
    return tuple(found)


class SmoothWeightedRoundRobin:
    """Smooth weighted round robin as in nginx (ngx_http_upstream_round_robin.c): exact over a cycle, evenly mixed, no randomness."""

    def __init__(self, weights: Sequence[tuple[str, int]]) -> None:
        """Backends with their weights, whole numbers from 0; at least one must be positive, else ValueError."""
        if any(weight < 0 for _, weight in weights) or not any(weight for _, weight in weights):
            raise ValueError(f"route weights {dict(weights)} need to be 0 or more, and one of them more")
        self._weights = tuple(weights)
        self._total = sum(weight for _, weight in weights)
        self._current = [0] * len(weights)

    def next(self) -> str:
        """The backend for the next request; equal claims go to the one listed first."""
        current = self._current
        for index, (_, weight) in enumerate(self._weights):
            current[index] += weight
        chosen = current.index(max(current))
        current[chosen] -= self._total
        return self._weights[chosen][0]
