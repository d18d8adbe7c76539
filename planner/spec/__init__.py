"""fleet.yaml: what people declare, read with every problem named at its place, and resolved into a Fleet."""

from planner.spec.errors import SpecError, SpecProblem
from planner.spec.fleet import Adapter, EngineChoice, Fleet, LatencyClass, Model, Policy, Pool, Ports, Router, Taken, Workload
from planner.spec.load import load_fleet
from planner.spec.schema import json_schema
from planner.spec.starter import starter

__all__ = [
    "Adapter",
    "EngineChoice",
    "Fleet",
    "LatencyClass",
    "Model",
    "Policy",
    "Pool",
    "Ports",
    "Router",
    "SpecError",
    "SpecProblem",
    "Taken",
    "Workload",
    "json_schema",
    "load_fleet",
    "starter",
]
