"""The one step-level core: continuous batching, KV blocks, neighbours; clock and randomness are injected."""

from planner.simulation.core import Counters, EngineCore, Step, StepResult
from planner.simulation.requests import EngineConfig, EngineRequest, Rejection, RejectReason

__all__ = ["Counters", "EngineConfig", "EngineCore", "EngineRequest", "RejectReason", "Rejection", "Step", "StepResult"]
