"""What a fit of the latency model found: coefficients, and how far measurements were from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from profiles.fields import Fields
from profiles.gpu_types import GpuType

Quantiles = tuple[tuple[float, float], ...]
"""Ascending (quantile, measured over predicted) pairs."""

# How far what is asked for is from what was measured, the nearest first: this model on this GPU type; its kind of model on this GPU type,
# on another one of the same generation (compute capability), on another generation; kinds that together have its parts (also a MIG slice, a
# pipeline, attention in parallel); a part of which there is nothing. A model that was measured nowhere is one further on other GPU types.
DISTANCES = ("known", "other_model", "other_gpu", "other_generation", "other_kind", "roofline")
# Those at which each measured generation has rows enough for bands of its own.
NEAR_DISTANCES = DISTANCES[:4]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The fitted coefficients of one engine.

    Of the data sheet's rates an engine reaches: bandwidth_fraction of the memory's while it reads weights, kv_bandwidth_fraction while it
    reads KV cache, expert_bandwidth_fraction of the former while it reads routed experts; compute_fraction of dense 16-bit products,
    fp8_compute_fraction of that rate with 8-bit ones, expert_compute_fraction of either with routed experts; attention_fraction of 16-bit
    products within attention; link_fraction of the link. expert_bandwidth_fraction is above 1 where the tokens of a step share experts.
    Seconds: fixed_s per step, layer_s per layer, expert_layer_s per layer with experts, all_reduce_s per all-reduce, sequence_s per request
    that gets a token.

    Of the closed loop: frontend_s between client and engine, wait_fraction of a mean step until a request is seen,
    companion_fraction of the prompts that arrive within a step share the first one's step, wave_constant_fraction and wave_spread_fraction
    of the requests find everybody else's prompt before them when all lengths are equal and when they differ.
    """

    bandwidth_fraction: float
    kv_bandwidth_fraction: float
    expert_bandwidth_fraction: float
    compute_fraction: float
    fp8_compute_fraction: float
    expert_compute_fraction: float
    attention_fraction: float
    link_fraction: float
    fixed_s: float
    layer_s: float
    expert_layer_s: float
    all_reduce_s: float
    sequence_s: float
    frontend_s: float
    wait_fraction: float
    companion_fraction: float
    wave_constant_fraction: float
    wave_spread_fraction: float


COEFFICIENT_NAMES = tuple(field.name for field in fields(Coefficients))


@dataclass(frozen=True, slots=True)
class Residuals:
    """Measured over predicted, by quantile, of rows at one distance from what they were predicted with."""

    tpot_quantiles: Quantiles
    ttft_quantiles: Quantiles


@dataclass(frozen=True, slots=True)
class FittedPair:
    """One pair that rows were measured of: a model of a kind (profiles.latency.work.kind) on a GPU type of a compute capability."""

    kind: str
    compute_capability: str
    gpu: str
    model: str


@dataclass(frozen=True, slots=True)
class LatencyFit:
    """One engine's fit: where it comes from, what it saw, and how good it is.

    coefficients and residuals are those of all rows. Where these are of several generations of GPUs, generations and generation_residuals
    hold those of one each, by compute capability: coefficients, and residuals of NEAR_DISTANCES.
    tpot_error_fraction is the median error when the model is left out of the fit.
    """

    engine: str
    source: str
    rows: int
    measured: tuple[FittedPair, ...]
    tpot_error_fraction: float
    coefficients: Coefficients
    generations: Mapping[str, Coefficients]
    residuals: Mapping[str, Residuals]
    generation_residuals: Mapping[str, Mapping[str, Residuals]]

    def coefficients_for(self, gpu: GpuType) -> Coefficients:
        """Those of the GPU's generation, of all rows where it was not measured."""
        return self.generations.get(gpu.compute_capability, self.coefficients)

    def residuals_for(self, distance: str, gpu: GpuType) -> Residuals:
        """Those of a distance: of the GPU's generation where it has its own, else of all rows."""
        return self.generation_residuals.get(gpu.compute_capability, {}).get(distance) or self.residuals[distance]

    def distance(self, model: str, gpu: GpuType, kind: str) -> str:
        """One of DISTANCES for a model of a kind on a GPU type."""
        alike = [pair for pair in self.measured if pair.kind == kind]
        if not alike:
            seen = {part for pair in self.measured for part in _parts(pair.kind)}
            return "other_kind" if self.measured and _parts(kind) <= seen else "roofline"
        unseen = all(pair.model != model for pair in alike)
        if all(pair.compute_capability != gpu.compute_capability for pair in alike):
            return "other_kind" if unseen else "other_generation"
        models = [pair.model for pair in alike if pair.gpu == gpu.name]
        if not models:
            return "other_generation" if unseen else "other_gpu"
        return "known" if model in models else "other_model"


def _parts(kind: str) -> frozenset[str]:
    """What a kind of model has beyond plain dense layers."""
    return frozenset() if kind == "dense" else frozenset(kind.split("+"))


def decode_fit(record: Fields) -> LatencyFit:
    """LatencyFit of a mapping; FieldError names the key that is missing, unknown or wrong."""
    record.only(frozenset({field.name for field in fields(LatencyFit)}))
    generations = record.table("generations")
    near = record.table("generation_residuals")
    return LatencyFit(
        engine=record.text("engine"),
        source=record.text("source"),
        rows=record.integer("rows"),
        measured=tuple(_measured(record.nested(item, f"measured[{place}]")) for place, item in enumerate(record.items("measured"))),
        tpot_error_fraction=record.number("tpot_error_fraction"),
        coefficients=_coefficients(record.table("coefficients")),
        generations={name: _coefficients(generations.table(name)) for name in generations.values},
        residuals=_banded(record.table("residuals"), DISTANCES),
        generation_residuals={name: _banded(near.table(name), NEAR_DISTANCES) for name in near.values},
    )


def _measured(record: Fields) -> FittedPair:
    names = tuple(field.name for field in fields(FittedPair))
    record.only(frozenset(names))
    return FittedPair(**{name: record.text(name) for name in names})


def _coefficients(record: Fields) -> Coefficients:
    record.only(frozenset(COEFFICIENT_NAMES))
    return Coefficients(**{name: record.number(name) for name in COEFFICIENT_NAMES})


def _banded(record: Fields, distances: tuple[str, ...]) -> dict[str, Residuals]:
    record.only(frozenset(distances))
    return {name: _residuals(record.table(name)) for name in distances}


def _residuals(record: Fields) -> Residuals:
    record.only(frozenset({"tpot", "ttft"}))
    return Residuals(_quantiles(record, "tpot"), _quantiles(record, "ttft"))


def _quantiles(record: Fields, key: str) -> Quantiles:
    pairs: list[tuple[float, float]] = []
    for place, item in enumerate(record.items(key)):
        if not (isinstance(item, list) and len(item) == 2 and all(isinstance(number, int | float) and number > 0 for number in item)):
            raise record.error(f"{key}[{place}]", f"must be a pair of a quantile and a multiplier above 0, is {item!r}")
        if pairs and not (pairs[-1][0] < item[0] < 1 and pairs[-1][1] <= item[1]):
            raise record.error(f"{key}[{place}]", "quantiles must rise and stay below 1, multipliers must not fall")
        pairs.append((float(item[0]), float(item[1])))
    if not pairs:
        raise record.error(key, "must have at least one pair")
    return tuple(pairs)


def encode_fit(fit: LatencyFit) -> dict[str, object]:
    """What decode_fit reads."""
    return {
        "engine": fit.engine,
        "source": fit.source,
        "rows": fit.rows,
        "measured": [asdict(pair) for pair in fit.measured],
        "tpot_error_fraction": fit.tpot_error_fraction,
        "coefficients": asdict(fit.coefficients),
        "generations": {name: asdict(found) for name, found in fit.generations.items()},
        "residuals": _encoded(fit.residuals),
        "generation_residuals": {name: _encoded(found) for name, found in fit.generation_residuals.items()},
    }


def _encoded(residuals: Mapping[str, Residuals]) -> dict[str, object]:
    return {
        name: {"tpot": [list(pair) for pair in found.tpot_quantiles], "ttft": [list(pair) for pair in found.ttft_quantiles]}
        for name, found in residuals.items()
    }
