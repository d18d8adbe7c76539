"""What planning promised, judged by the step core: one GPU under a load, how many requests meet their goals, and where it breaks."""

from planner.verification.breaking_load import BreakingLoad, breaking_load
from planner.verification.factor_search import FactorSearch, FoundFactor, largest_factor
from planner.verification.gpu_judge import JudgedResident, JudgeEffort, judged
from planner.verification.stress import INTERFERENCE, NOMINAL, SLOW, Stress, stresses

__all__ = [
    "INTERFERENCE",
    "NOMINAL",
    "SLOW",
    "BreakingLoad",
    "FactorSearch",
    "FoundFactor",
    "JudgeEffort",
    "JudgedResident",
    "Stress",
    "breaking_load",
    "judged",
    "largest_factor",
    "stresses",
]
