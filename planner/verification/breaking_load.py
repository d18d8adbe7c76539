"""How much load the residents of one GPU bear: the largest common factor under which all of them keep their goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.verification.factor_search import FactorSearch, largest_factor
from planner.verification.gpu_judge import JudgedResident, JudgeEffort, bears
from planner.verification.stress import stresses

_EFFORT = JudgeEffort()
_SEARCH = FactorSearch()


@dataclass(frozen=True, slots=True)
class BreakingLoad:
    """load_factor is the largest multiple of the given loads that was tried and borne under every stress, 0.0 when none was.

    trials is the number of loads that were tried, each in one to four simulations.
    """

    load_factor: float
    trials: int


def breaking_load(
    residents: Sequence[JudgedResident],
    *,
    attainment_fraction: float = 0.99,
    effort: JudgeEffort = _EFFORT,
    search: FactorSearch = _SEARCH,
    seed: int = 0,
) -> BreakingLoad:
    """Where the GPU breaks: beyond the factor found, some resident has more than 1 - attainment_fraction of its requests miss a goal.

    Under slow steps, and on a shared GPU also under interference (planner.verification.stress.stresses). Raises ValueError as judged().
    """
    under = stresses(len({resident.engine.name for resident in residents}))

    def borne(load_factor: float) -> bool:
        return all(
            bears(residents, stress, effort, attainment_fraction=attainment_fraction, load_factor=load_factor, seed=seed)
            for stress in under
        )

    found = largest_factor(borne, search)
    return BreakingLoad(found.factor, found.trials)
