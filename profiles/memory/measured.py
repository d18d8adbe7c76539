"""Engine constants that measured starts show, for the ledgers of engines like those: never below the largest that was logged.

A start speaks for engines of its version on its GPU type (MIG slices of it included) with its tensor- and pipeline-parallel sizes. What few
starts say only raises what is shipped: one start knows nothing of the peaks of other models. Once there are enough, of enough models, what
was logged replaces it, also where it is less; only the spread of what lies outside PyTorch's pool never shrinks, as outliers are rare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median

from profiles.catalogue import UnknownNameError, builtin
from profiles.gpu_types import GpuType
from profiles.memory.calibration import CalibrationError, LoggedStart, calibrated
from profiles.memory.engine_constants import ByLayout, EngineConstants, constants_for
from profiles.settings import EngineSettings, UnsupportedError
from profiles.store.measurements import Measurements, Provenance, StartPoint
from profiles.store.plausible import MeasurementError
from profiles.store.versions import version_key

# Our choice. Constants from five of the 27 starts of vLLM 0.19 on one GPU (281 random draws of three models or more) hold all 27 in 91 % of
# the draws, and lack 16 MiB at worst.
LEAST_STARTS = 5
LEAST_MODELS = 3

# More in use before loading than this many times the shipped context is memory of neighbours, not the engine's own context.
_MOST_CONTEXTS = 2.0

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class MeasuredConstants:
    """Constants that rest on so many starts of so many models."""

    constants: EngineConstants
    starts: int
    models: int


def measured_constants(measurements: Measurements, gpu: GpuType, settings: EngineSettings) -> MeasuredConstants | None:
    """The constants for an engine with these settings on this GPU type; None where no start speaks for it."""
    points = tuple(point for point in measurements.starts if _speaks_for(point, gpu, settings))
    return _of(points, gpu, settings.engine_version) if points else None


def _speaks_for(point: StartPoint, gpu: GpuType, settings: EngineSettings) -> bool:
    source = point.provenance
    return (
        (point.gpu, point.mig_profile) == (gpu.name, None)
        and (point.tensor_parallel_size, point.pipeline_parallel_size) == (settings.tensor_parallel_size, settings.pipeline_parallel_size)
        and (source.kind, source.engine) == ("measured", "vllm")
        and source.engine_version is not None
        and version_key(source.engine_version) == version_key(settings.engine_version)
    )


# Every candidate of a fleet asks; the fit takes milliseconds.
@lru_cache(maxsize=64)
def _of(points: tuple[StartPoint, ...], gpu: GpuType, engine_version: str) -> MeasuredConstants | None:
    shipped = constants_for(engine_version)
    starts = tuple(_starts(points, gpu, engine_version, shipped))
    try:
        fitted = calibrated(starts).constants
    except CalibrationError:
        return None
    held = _activation(shipped, fitted, starts)
    # only ever raised: it is an upper value
    over_mib = max((start.graphs_excess_mib(shipped) or 0.0 for start in starts), default=0.0)
    held = replace(held, graphs_fixed_mib=_up(shipped.graphs_fixed_mib + max(over_mib, 0.0)))
    held = _context(_non_torch(held, starts), starts)
    if held == shipped:
        return None
    models = len({start.architecture.name for start in starts})
    first = starts[0].settings
    block = f", tensor-parallel size {first.tensor_parallel_size}" if first.tensor_parallel_size > 1 else ""
    source = f"{len(starts)} starts of {models} models on {gpu.name}{block}; otherwise {shipped.source}"
    return MeasuredConstants(replace(held, kind="measured", from_version=engine_version, source=source), len(starts), models)


def _starts(points: Sequence[StartPoint], gpu: GpuType, engine_version: str, shipped: EngineConstants) -> Iterator[LoggedStart]:
    """Those of models that the catalogue knows and that the memory model covers, all under one spelling of the version."""
    for point in points:
        try:
            told = replace(point if _limits_known(point) else _without_limits(point), provenance=_spelled(point, engine_version))
            start = LoggedStart(builtin().model(point.model), gpu, told)
            start.parts(shipped)
        except (UnknownNameError, UnsupportedError, MeasurementError):
            continue
        found = (start.point.activation_mib, start.point.cuda_graphs_mib, start.non_torch_mib(shipped), start.context_mib)
        if any(value_mib is not None for value_mib in found):
            yield start


def _limits_known(point: StartPoint) -> bool:
    return point.max_num_seqs is not None and point.max_num_batched_tokens is not None


def _without_limits(point: StartPoint) -> StartPoint:
    """What a start of unknown limits tells: activation, graphs and the pool depend on them. MeasurementError if that is nothing."""
    return replace(point, activation_mib=None, cuda_graphs_mib=None, kv_bytes=None, kv_blocks=None)


def _spelled(point: StartPoint, engine_version: str) -> Provenance:
    return replace(point.provenance, engine_version=engine_version)


def _enough(starts: Sequence[LoggedStart]) -> bool:
    return len(starts) >= LEAST_STARTS and len({start.architecture.name for start in starts}) >= LEAST_MODELS


def _activation(shipped: EngineConstants, fitted: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    """The fitted terms, or those shipped; with a fixed part under which no logged peak is above the prediction."""
    logged = [start for start in starts if start.point.activation_mib is not None]
    terms = fitted if _enough(logged) else shipped
    held = replace(
        shipped,
        sampler_bytes_per_logit=terms.sampler_bytes_per_logit,
        forward_hidden_widths=terms.forward_hidden_widths,
        fixed_activation_mib=terms.fixed_activation_mib,
    )
    over_bytes = max((start.activation_excess_bytes(held) or 0.0 for start in logged), default=0.0)
    return replace(held, fixed_activation_mib=_up(held.fixed_activation_mib + max(over_bytes, 0.0) / _MIB))


def _non_torch(held: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    known = [(start, found_mib) for start in starts if (found_mib := start.non_torch_mib(held)) is not None]
    if not known:
        return held
    settings = starts[0].settings
    largest_mib = _up(max(found_mib for _, found_mib in known))
    usual_mib, spread_mib = held.non_torch.of_mib(settings), held.non_torch_spread.of_mib(settings)
    if _enough([start for start, _ in known]):
        usual_mib = _up(max(median(found_mib for _, found_mib in known), 1.0))
    spread_mib = max(spread_mib, _up(largest_mib - usual_mib))
    return replace(
        held,
        non_torch=_with(held.non_torch, settings, usual_mib),
        non_torch_spread=_with(held.non_torch_spread, settings, spread_mib),
    )


def _context(held: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    settings = starts[0].settings
    shipped_mib = held.context.of_mib(settings)
    known = [
        (start, found_mib) for start in starts if (found_mib := start.context_mib) is not None and found_mib <= _MOST_CONTEXTS * shipped_mib
    ]
    if not known:
        return held
    largest_mib = _up(max(found_mib for _, found_mib in known))
    context_mib = largest_mib if _enough([start for start, _ in known]) else max(shipped_mib, largest_mib)
    return replace(held, context=_with(held.context, settings, context_mib))


def _with(held: ByLayout, settings: EngineSettings, value_mib: float) -> ByLayout:
    """With another value for the layout of these settings."""
    if settings.tensor_parallel_size > 1:
        return replace(held, tensor_parallel_mib=value_mib)
    return replace(held, pipeline_mib=value_mib) if settings.pipeline_parallel_size > 1 else replace(held, single_mib=value_mib)


def _up(value_mib: float) -> float:
    """To a tenth of a MiB, never down: a ledger must not lose what was measured to rounding."""
    return math.ceil(round(value_mib * 10, 6)) / 10
