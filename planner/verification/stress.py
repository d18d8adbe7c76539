"""Under what a plan is judged besides the nominal run: slow steps, and neighbours that cost more than their share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stress:
    """How a simulation is made harder; its fields are those of planner.simulation.virtual_time.simulate."""

    name: str
    step_quantile: float | None = None
    interference_factor: float = 1.0


NOMINAL = Stress("nominal")
"""Steps drawn from their measured spread, neighbours that cost their equal share alone."""
SLOW = Stress("slow steps (p90)", step_quantile=0.9)
"""Every step at the 90th percentile of its measured spread."""
INTERFERENCE = Stress("interference 1.3", interference_factor=1.3)
"""Drawn steps, and neighbours that cost 30 % beyond their equal share."""


def stresses(engines: int) -> tuple[Stress, ...]:
    """What a GPU with so many engines is judged under: without a neighbour nothing interferes."""
    return (SLOW,) if engines == 1 else (INTERFERENCE, SLOW)
