"""Why a plan is as it is, as data: what limits each model, the ways there are of running it, how full GPUs are, what more would buy."""

from planner.explain.conflicts import conflicts
from planner.explain.explanation import explanation
from planner.explain.one_more import full_pools, one_more
from planner.explain.unserved import why_unserved

__all__ = ["conflicts", "explanation", "full_pools", "one_more", "why_unserved"]
