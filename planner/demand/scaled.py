"""A fleet with more or less of the demand that was declared."""

from __future__ import annotations

from collections.abc import Mapping

from planner.demand.prompt_lengths import SplitDemand
from planner.demand.volumes import Volume
from planner.demand.windows import DemandProfile
from planner.spec.fleet import Fleet
from planner.spec.pouring import poured


def scaled(fleet: Fleet, factors: Mapping[str, float]) -> Fleet:
    """The fleet with the rates of workloads times a factor, by workload or by the model that requests name; lengths stay.

    Volumes are poured again, around what there is now. A warning of the fleet names each factor. ValueError for a name that is neither, or
    a factor that is not above 0.
    """
    known = {name for workload in fleet.workloads for name in (workload.name, workload.served_name)}
    for name, factor in factors.items():
        if name not in known:
            raise ValueError(f"{name!r} is not a workload, nor a model that one asks for: {', '.join(sorted(known))}")
        if not 0 < factor < float("inf"):
            raise ValueError(f"{name}: the factor {factor:g} must be above 0")
    workloads = tuple(
        workload.model_copy(
            update={
                "demand": _times(workload.demand, factor),
                "splits": tuple(_split_times(split, factor) for split in workload.splits),
                "volume": _volume_times(workload.volume, factor),
            }
        )
        if (factor := factors.get(workload.name, factors.get(workload.served_name, 1.0))) != 1.0
        else workload
        for workload in fleet.workloads
    )
    warnings = tuple(f"demand of {name} is {factor:g} times the declared one" for name, factor in sorted(factors.items()) if factor != 1.0)
    return fleet.model_copy(update={"workloads": poured(workloads, fleet.pools), "warnings": (*fleet.warnings, *warnings)})


def _split_times(split: SplitDemand, factor: float) -> SplitDemand:
    return split.model_copy(update={"short": _times(split.short, factor), "long": _times(split.long, factor)})


def _volume_times(volume: Volume | None, factor: float) -> Volume | None:
    return None if volume is None else volume.model_copy(update={"requests": volume.requests * factor})


def _times(demand: DemandProfile, factor: float) -> DemandProfile:
    windows = tuple(window.model_copy(update={"rate_rps": window.rate_rps * factor}) for window in demand.windows)
    rates = {name: getattr(demand, name) * factor for name in ("peak_rps", "p99_rps", "mean_rps")}
    return demand.model_copy(update={"windows": windows, **rates})


def declared_rps(fleet: Fleet) -> dict[str, float]:
    """The largest rate that is declared for each model that requests name."""
    found: dict[str, float] = {}
    for workload in fleet.workloads:
        found[workload.served_name] = found.get(workload.served_name, 0.0) + workload.demand.peak_rps
    return found
