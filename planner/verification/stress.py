"""Under what a plan is judged besides the nominal run: slow steps, and neighbours that cost more than their share."""

from __future__ import annotations

from dataclasses import dataclass

from planner.risk import Risk


@dataclass(frozen=True, slots=True)
class Stress:
    """How a simulation is made harder; its fields are those of planner.simulation.virtual_time.simulate."""

    name: str
    step_quantile: float | None = None
    interference_factor: float = 1.0


NOMINAL = Stress("nominal")
"""Steps drawn from their measured spread, neighbours that cost their equal share alone."""


def slow_steps(risk: Risk) -> Stress:
    """Every step at the stated quantile of its measured spread."""
    return Stress(f"slow steps (p{risk.step_quantile * 100:g})", step_quantile=risk.step_quantile)


def interference(risk: Risk) -> Stress:
    """Drawn steps, and neighbours that cost the stated multiple of their equal share."""
    return Stress(f"interference {risk.interference_factor:g}", interference_factor=risk.interference_factor)


SLOW, INTERFERENCE = slow_steps(Risk()), interference(Risk())
"""What is stated unless somebody states other risks."""


def stresses(engines: int, risk: Risk = Risk()) -> tuple[Stress, ...]:  # noqa: B008 (it is frozen)
    """What a GPU with so many engines is judged under: without a neighbour nothing interferes."""
    return (slow_steps(risk),) if engines == 1 else (interference(risk), slow_steps(risk))
