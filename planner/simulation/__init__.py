"""The one step-level core: continuous batching, KV blocks, neighbours; clock and randomness are injected."""

from planner.simulation.core import EngineCore
from planner.simulation.engine_requests import EngineConfig, EngineRequest, RejectReason, RequestRejection
from planner.simulation.engine_steps import EngineCounters, Step, StepResult

__all__ = ["EngineConfig", "EngineCore", "EngineCounters", "EngineRequest", "RejectReason", "RequestRejection", "Step", "StepResult"]
