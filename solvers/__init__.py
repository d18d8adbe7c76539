"""Engines that answer a planner.problem.Problem, one per file."""
