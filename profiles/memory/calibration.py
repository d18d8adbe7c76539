"""Engine constants re-fitted from logged starts: medians of what was logged, and the activation terms where logs tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from profiles.gpu_types import GpuType
from profiles.memory.activation import sampler_binds
from profiles.memory.engine_constants import ByLayout, EngineConstants, constants_for
from profiles.memory.kv import has_cache, kv_bytes_per_block
from profiles.memory.ledger import MemoryParts, kv_pool_bytes, stage_parts
from profiles.models import Architecture
from profiles.precision import dtype_bytes
from profiles.settings import EngineSettings
from profiles.store.measurements import StartPoint

_MIB = 1 << 20
# The two parts of the sampler's peak can be told apart when the logits of the starts differ by this factor.
_DISTINCT_LOGITS_FACTOR = 1.5
_LEAST_DISTINCT_STARTS = 3


class CalibrationError(ValueError):
    """Starts from which no constants can be fitted; the message says what they lack."""


@dataclass(frozen=True, slots=True)
class LoggedStart:
    """One logged start with what the catalogue knows about its model and GPU."""

    architecture: Architecture
    gpu: GpuType
    point: StartPoint

    @property
    def settings(self) -> EngineSettings:
        """The engine settings of the start; what the log does not say has its default."""
        point, usual = self.point, EngineSettings()
        return EngineSettings(
            engine_version=point.provenance.engine_version or usual.engine_version,
            dtype=point.dtype or "auto",
            quantization=None if self.architecture.checkpoint_quant else point.quantization,
            kv_cache_dtype=point.kv_cache_dtype,
            tensor_parallel_size=point.tensor_parallel_size,
            pipeline_parallel_size=point.pipeline_parallel_size,
            max_model_len=min(point.max_model_len or usual.max_model_len, self.architecture.max_position),
            max_num_seqs=point.max_num_seqs or usual.max_num_seqs,
            max_num_batched_tokens=point.max_num_batched_tokens or usual.max_num_batched_tokens,
            enforce_eager=bool(point.enforce_eager),
            block_size=point.block_size or usual.block_size,
        )

    @property
    def kv_bytes(self) -> int | None:
        """The KV pool as the start tells it: in bytes, or in blocks; an encoder tells of one block, which it does not have."""
        if not has_cache(self.architecture):
            return None
        if self.point.kv_bytes is not None or self.point.kv_blocks is None or self.point.block_size is None:
            return self.point.kv_bytes
        return self.point.kv_blocks * kv_bytes_per_block(self.architecture, self.settings)

    def parts(self, constants: EngineConstants) -> MemoryParts:
        """What these constants predict for rank 0."""
        return stage_parts(self.architecture, self.gpu, self.settings, constants)[0]

    def kv_error_fraction(self, constants: EngineConstants) -> float | None:
        """Predicted over logged KV pool, less one, with the logged weights; None when the log lacks one of them."""
        point, kv_bytes = self.point, self.kv_bytes
        if not kv_bytes or point.gpu_memory_utilization_fraction is None or point.weights_mib is None:
            return None
        parts = replace(self.parts(constants), weights_bytes=point.weights_mib * _MIB)
        total_bytes = (point.gpu_total_mib or self.gpu.memory_usable_mib) * _MIB
        return kv_pool_bytes(parts, total_bytes, point.gpu_memory_utilization_fraction, constants) / kv_bytes - 1

    def activation_excess_bytes(self, constants: EngineConstants) -> float | None:
        """What the logged activation peak is above the prediction; None when none was logged."""
        logged_mib = self.point.activation_mib
        return None if logged_mib is None else logged_mib * _MIB - self.parts(constants).activation_bytes

    def non_torch_mib(self, constants: EngineConstants) -> float | None:
        """As logged; of a start that logs only its pool (a /metrics page, a start-up plan) what the pool lacks beyond the prediction."""
        point, kv_bytes = self.point, self.kv_bytes
        if point.non_torch_mib is not None:
            return point.non_torch_mib
        if not kv_bytes or point.gpu_memory_utilization_fraction is None or point.activation_mib is not None:
            return None
        parts = self.parts(constants)
        if point.weights_mib is not None:
            parts = replace(parts, weights_bytes=point.weights_mib * _MIB)
        total_bytes = (point.gpu_total_mib or self.gpu.memory_usable_mib) * _MIB
        predicted_bytes = kv_pool_bytes(parts, total_bytes, point.gpu_memory_utilization_fraction, constants)
        return (parts.non_torch_bytes + predicted_bytes - kv_bytes) / _MIB

    def graphs_excess_mib(self, constants: EngineConstants) -> float | None:
        """What the logged CUDA graphs are above the prediction; None when none were logged."""
        logged_mib = self.point.cuda_graphs_mib
        return None if logged_mib is None else logged_mib - self.parts(constants).graphs_bytes / _MIB

    @property
    def context_mib(self) -> float | None:
        """What was in use of the GPU before anything was loaded; None when it was not logged."""
        point = self.point
        return None if point.gpu_total_mib is None or point.init_free_mib is None else point.gpu_total_mib - point.init_free_mib


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted constants, the keys that changed, and the mean absolute error of the KV pool before and after (None: no start tells)."""

    constants: EngineConstants
    starts: int
    changed: tuple[str, ...]
    error_before_fraction: float | None
    error_after_fraction: float | None


def calibrated(starts: Sequence[LoggedStart]) -> Calibration:
    """Constants for the one engine version of these starts; CalibrationError when they are of several or tell nothing."""
    versions = sorted({str(start.point.provenance.engine_version) for start in starts})
    if len(versions) != 1 or versions == ["None"]:
        raise CalibrationError(f"starts must be of one known engine version, these are of: {', '.join(versions) or 'none'}")
    before = constants_for(versions[0])
    after = before
    for step in (_sampler, _forward, _context, _graphs, _non_torch):
        after = step(after, starts)
    changed = tuple(name for name in EngineConstants.__slots__ if getattr(after, name) != getattr(before, name))
    if not changed:
        raise CalibrationError(
            "the starts log neither activation, non-torch memory, graphs nor a KV pool with its utilisation "
            "(--gpu-memory-utilization says it): nothing to fit"
        )
    source = (
        f"{len(starts)} start-ups of {versions[0]} on {', '.join(sorted({start.gpu.name for start in starts}))}; otherwise {before.source}"
    )
    fitted = replace(after, kind="fitted", from_version=versions[0], before_version=before.before_version, source=source)
    return Calibration(fitted, len(starts), changed, _mean_error(starts, before), _mean_error(starts, fitted))


def _mean_error(starts: Sequence[LoggedStart], constants: EngineConstants) -> float | None:
    errors = [abs(error) for start in starts if (error := start.kv_error_fraction(constants)) is not None]
    return fmean(errors) if errors else None


def _bound_by(starts: Sequence[LoggedStart], constants: EngineConstants, *, sampler: bool) -> list[tuple[LoggedStart, float]]:
    """Starts whose peak is the sampler's (or the forward pass's), each with what its log is above the prediction."""
    found = []
    for start in starts:
        excess_bytes = start.activation_excess_bytes(constants)
        samples = start.settings.pipeline_parallel_size == 1 and sampler_binds(start.architecture, start.gpu, start.settings, constants)
        if excess_bytes is not None and samples == sampler:
            found.append((start, excess_bytes))
    return found


def _logits(start: LoggedStart) -> int:
    return min(start.settings.max_num_seqs, start.settings.max_num_batched_tokens) * start.architecture.vocab


def _sampler(constants: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    """Bytes per logit by least squares when the starts differ enough; the rest of the excess goes to the fixed part."""
    found = _bound_by(starts, constants, sampler=True)
    if not found:
        return constants
    logits = [_logits(start) for start, _ in found]
    slope = 0.0
    if len(set(logits)) >= _LEAST_DISTINCT_STARTS and max(logits) >= _DISTINCT_LOGITS_FACTOR * min(logits):
        mean_logits, mean_excess = fmean(logits), fmean(excess for _, excess in found)
        products = sum((count - mean_logits) * (excess - mean_excess) for count, (_, excess) in zip(logits, found, strict=True))
        slope = products / sum((count - mean_logits) ** 2 for count in logits)
    rest_mib = median(excess - slope * count for count, (_, excess) in zip(logits, found, strict=True)) / _MIB
    return replace(
        constants,
        sampler_bytes_per_logit=round(max(constants.sampler_bytes_per_logit + slope, 0.1), 3),
        fixed_activation_mib=round(max(constants.fixed_activation_mib + rest_mib, 1.0), 1),
    )


def _forward(constants: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    """Hidden widths alive in a forward pass, from the starts it binds."""
    widths = [
        excess / (start.settings.max_num_batched_tokens * start.architecture.hidden * dtype_bytes(start.architecture, start.settings))
        for start, excess in _bound_by(starts, constants, sampler=False)
        if start.settings.pipeline_parallel_size == 1
    ]
    if not widths:
        return constants
    return replace(constants, forward_hidden_widths=round(max(constants.forward_hidden_widths + median(widths), 0.1), 3))


def _by_layout(held: ByLayout, starts: Sequence[LoggedStart], value_mib: Callable[[LoggedStart], float | None]) -> ByLayout:
    """Medians per layout; the constant's own where no start logs a value."""

    def median_mib(of: Callable[[LoggedStart], bool], otherwise_mib: float) -> float:
        values = [value for start in starts if of(start) and (value := value_mib(start)) is not None]
        return round(max(median(values), 1.0), 1) if values else otherwise_mib

    return ByLayout(
        median_mib(lambda start: start.settings.tensor_parallel_size == start.settings.pipeline_parallel_size == 1, held.single_mib),
        median_mib(lambda start: start.settings.tensor_parallel_size > 1, held.tensor_parallel_mib),
        median_mib(lambda start: start.settings.tensor_parallel_size == 1 < start.settings.pipeline_parallel_size, held.pipeline_mib),
    )


def _context(constants: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    return replace(constants, context=_by_layout(constants.context, starts, lambda start: start.context_mib))


def _graphs(constants: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    """The fixed part is raised (never lowered: it is an upper value) until every logged start lies below the line."""
    over_mib = max((start.graphs_excess_mib(constants) or 0.0 for start in starts), default=0.0)
    return replace(constants, graphs_fixed_mib=round(constants.graphs_fixed_mib + over_mib, 1)) if over_mib > 0 else constants


def _non_torch(constants: EngineConstants, starts: Sequence[LoggedStart]) -> EngineConstants:
    return replace(constants, non_torch=_by_layout(constants.non_torch, starts, lambda start: start.non_torch_mib(constants)))
