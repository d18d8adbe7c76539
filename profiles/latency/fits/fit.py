"""What a fit of the latency model found: coefficients, and how far measurements were from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from profiles.fields import Fields
from profiles.gpu_types import GpuType

Quantiles = tuple[tuple[float, float], ...]
"""Ascending (quantile, measured over predicted) pairs."""

# How far what is asked for is from what was fitted, the nearest first: this model on this GPU type, another model, another GPU type of the
# same generation (compute capability), another generation, another kind of model (or a MIG slice, a pipeline, attention in parallel).
DISTANCES = ("known", "other_model", "other_gpu", "other_generation", "roofline")


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The fitted coefficients of one engine.

    Of the data sheet's rates an engine reaches: bandwidth_fraction of the memory's while it reads weights, kv_bandwidth_fraction while it
    reads KV cache, expert_bandwidth_fraction of the former while it reads routed experts; compute_fraction of dense 16-bit products,
    fp8_compute_fraction of that rate with 8-bit ones; attention_fraction of 16-bit products within attention; link_fraction of the link.
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
class LatencyFit:
    """One engine's fit: where it comes from, which models, GPU types, compute capabilities and kinds of model it saw, and how good it is.

    tpot_error_fraction is the median error when the model is left out of the fit.
    """

    engine: str
    source: str
    rows: int
    models: tuple[str, ...]
    gpus: tuple[str, ...]
    compute_capabilities: tuple[str, ...]
    kinds: tuple[str, ...]
    tpot_error_fraction: float
    coefficients: Coefficients
    residuals: Mapping[str, Residuals]

    def distance(self, model: str, gpu: GpuType, kind: str) -> str:
        """One of DISTANCES for a model of a kind on a GPU type."""
        if kind not in self.kinds:
            return "roofline"
        if gpu.compute_capability not in self.compute_capabilities:
            return "other_generation"
        if gpu.name not in self.gpus:
            return "other_gpu"
        return "known" if model in self.models else "other_model"


def decode_fit(record: Fields) -> LatencyFit:
    """LatencyFit of a mapping; FieldError names the key that is missing, unknown or wrong."""
    record.only(frozenset({field.name for field in fields(LatencyFit)}))
    held = record.table("coefficients").only(frozenset(COEFFICIENT_NAMES))
    residuals = record.table("residuals").only(frozenset(DISTANCES))
    return LatencyFit(
        engine=record.text("engine"),
        source=record.text("source"),
        rows=record.integer("rows"),
        models=record.texts("models"),
        gpus=record.texts("gpus"),
        compute_capabilities=record.texts("compute_capabilities"),
        kinds=record.texts("kinds"),
        tpot_error_fraction=record.number("tpot_error_fraction"),
        coefficients=Coefficients(**{name: held.number(name) for name in COEFFICIENT_NAMES}),
        residuals={name: _residuals(residuals.table(name)) for name in DISTANCES},
    )


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
        "models": list(fit.models),
        "gpus": list(fit.gpus),
        "compute_capabilities": list(fit.compute_capabilities),
        "kinds": list(fit.kinds),
        "tpot_error_fraction": fit.tpot_error_fraction,
        "coefficients": asdict(fit.coefficients),
        "residuals": {
            name: {"tpot": [list(pair) for pair in found.tpot_quantiles], "ttft": [list(pair) for pair in found.ttft_quantiles]}
            for name, found in fit.residuals.items()
        },
    }
