"""fleet.yaml: what people declare, read with every problem named at its place, and resolved into a Fleet."""

from planner.latency_classes import LatencyClass
from planner.spec.errors import SpecError, SpecProblem
from planner.spec.fleet import Adapter, EngineChoice, Fleet, FleetPool, Model, Policy, Ports, RouterAddress, Taken, Workload
from planner.spec.fleet_file import load_fleet, load_tree
from planner.spec.schema import json_schema
from planner.spec.starter import starter

__all__ = [
    "Adapter",
    "EngineChoice",
    "Fleet",
    "FleetPool",
    "LatencyClass",
    "Model",
    "Policy",
    "Ports",
    "RouterAddress",
    "SpecError",
    "SpecProblem",
    "Taken",
    "Workload",
    "json_schema",
    "load_fleet",
    "load_tree",
    "starter",
]
