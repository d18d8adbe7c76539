"""The one table of parts: name -> "module:attribute", loaded only when asked for and merged with entry points.

A solver is a planner.problem.Solve, a renderer a renderers.render_target.RenderTarget, a source a profiles.sources.source.Source,
a backend an executor.backends.engine_kinds.OpenBackend. Others add parts by entry points of the groups ullage.solvers,
ullage.renderers, ullage.sources and ullage.backends.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

# In the order in which the portfolio asks them: of equal answers the earlier engine's is taken.
SOLVERS: Mapping[str, str] = {
    "exact": "solvers.exact.lexicographic:solve",
    "quick": "solvers.exact.lexicographic:quick",
    "pulp:cbc": "solvers.portable:solve",
    "exclusive": "solvers.baselines.exclusive:solve",
    "first-fit-decreasing": "solvers.baselines.first_fit:solve",
    "best-fit": "solvers.baselines.best_fit:solve",
    "squishy": "solvers.baselines.squishy:solve",
    "sum-of-peaks": "solvers.baselines.sum_of_peaks:solve",
}
# What runs the replicas of a plan on this machine: executor.backends.engine_kinds.OpenBackend.
BACKENDS: Mapping[str, str] = {
    "emulated": "executor.backends.engine_kinds:emulated_backend",
    "vllm": "executor.backends.engine_kinds:vllm_backend",
}
BASELINES = ("exclusive", "first-fit-decreasing", "best-fit", "squishy")
# One more where demand has windows.
PEAKS = "sum-of-peaks"
RENDERERS: Mapping[str, str] = {
    "compose": "renderers.compose:TARGET",
    "envoy": "renderers.envoy:TARGET",
    "haproxy": "renderers.haproxy:TARGET",
    "helm": "renderers.helm:TARGET",
    "kubernetes": "renderers.kubernetes:TARGET",
    "litellm": "renderers.litellm:TARGET",
    "llama-swap": "renderers.llama_swap:TARGET",
    "mig-parted": "renderers.mig_parted:TARGET",
    "nginx": "renderers.nginx:TARGET",
    "ray": "renderers.ray:TARGET",
    "slurm": "renderers.slurm:TARGET",
    "systemd": "renderers.systemd:TARGET",
    "vllm": "renderers.vllm:TARGET",
}
# In the order in which they are asked whether a file is theirs: the first that recognises it reads it.
SOURCES: Mapping[str, str] = {
    "vllm-bench-serve": "profiles.sources.bench_serve:SOURCE",
    "vllm-bench-throughput": "profiles.sources.bench_offline:THROUGHPUT",
    "vllm-bench-latency": "profiles.sources.bench_offline:LATENCY",
    "guidellm": "profiles.sources.guidellm:SOURCE",
    "vllm-metrics": "profiles.sources.engine_metrics:SOURCE",
    "vllm-log": "profiles.sources.vllm_log:SOURCE",
    "vllm-startup-plan": "profiles.sources.startup_plan:SOURCE",
    "aiconfigurator": "profiles.sources.aiconfigurator:SOURCE",
    "inferno": "profiles.sources.inferno:SOURCE",
    "melange": "profiles.sources.melange:SOURCE",
    "ullage": "profiles.sources.exported:SOURCE",
    "csv": "profiles.sources.csv_table:SOURCE",
}


def names(group: str, table: Mapping[str, str]) -> tuple[str, ...]:
    """Names of a table and of the entry points of its group, the table's first."""
    return (*table, *sorted(point.name for point in entry_points(group=f"ullage.{group}") if point.name not in table))


def load(group: str, table: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 -- the caller knows the protocol of the group
    """The part of that name; ValueError lists the names there are."""
    if name in table:
        module, _, attribute = table[name].partition(":")
        return getattr(import_module(module), attribute)
    for point in entry_points(group=f"ullage.{group}", name=name):
        return point.load()
    raise ValueError(f"{name!r} is not one of the {group}: {', '.join(names(group, table))}")
