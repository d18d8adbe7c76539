"""The fleet file that `ullage init` writes."""

from __future__ import annotations

from importlib.resources import files


def starter() -> str:
    """A commented fleet file that is valid as it is: one pool, two models, three workloads."""
    return files("planner.spec").joinpath("starter.yaml").read_text(encoding="utf-8")
