"""The one step-level core: continuous batching, KV blocks, neighbours; clock and randomness are injected."""

from planner.simulation.core import EngineCore, EngineCounters, Step, StepResult
from planner.simulation.engine_requests import EngineConfig, EngineRequest, RejectReason, RequestRejection

__all__ = ["EngineConfig", "EngineCore", "EngineCounters", "EngineRequest", "RejectReason", "RequestRejection", "Step", "StepResult"]
