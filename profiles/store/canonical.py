"""Measurements under the catalogue's own names, so that equal things compare equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TypeVar

from profiles.catalogue import Catalogue, UnknownNameError
from profiles.gpu_types import GpuType
from profiles.models import Architecture
from profiles.store.measurements import LatencyPoint, Measurements, PairPoint, StartPoint

# No measurement of time or memory repeats to more digits, and people read the store.
_DIGITS = 6

_Engine = TypeVar("_Engine", LatencyPoint, StartPoint)


def canonical(measurements: Measurements, catalogue: Catalogue) -> Measurements:
    """The same points with models and GPU types as the catalogue names them (others stay as they are), floats to six digits.

    A quantisation that is the checkpoint's own becomes None, as in EngineSettings; equal points become one.
    """
    names = _Names(catalogue)
    return Measurements() + Measurements(
        latency=tuple(_rounded(names.engine(point)) for point in measurements.latency),
        starts=tuple(_rounded(names.engine(point)) for point in measurements.starts),
        pairs=tuple(names.pair(point) for point in measurements.pairs),
    )


def unknown_names(measurements: Measurements, catalogue: Catalogue) -> tuple[str, ...]:
    """Models and GPU types that the catalogue does not have, sorted, each with its kind."""
    names = _Names(catalogue)
    engines = [*((point.model, point.gpu) for point in measurements.latency), *((point.model, point.gpu) for point in measurements.starts)]
    pairs = [(side.model, point.gpu) for point in measurements.pairs for side in (point.first, point.second)]
    models = {model for model, _ in (*engines, *pairs)}
    gpus = {gpu for _, gpu in (*engines, *pairs)}
    return (
        *(f"model {name}" for name in sorted(models) if not names.knows_model(name)),
        *(f"GPU type {name}" for name in sorted(gpus) if not names.knows_gpu(name)),
    )


class _Names:
    """Look-ups in a catalogue, each name once: an unknown one costs a reading of every file."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._model = cache(_found(catalogue.model))
        self._gpu = cache(_found(catalogue.gpu))
        self._catalogue = catalogue

    def knows_model(self, name: str) -> bool:
        return self._model(name) is not None

    def knows_gpu(self, name: str) -> bool:
        return self._gpu(name) is not None

    def engine(self, point: _Engine) -> _Engine:
        model = self._model(point.model)
        own = model is not None and self._catalogue.model(model).checkpoint_quant == point.quantization
        return replace(
            point,
            model=model or point.model,
            gpu=self._gpu(point.gpu) or point.gpu,
            quantization=None if own else point.quantization,
        )

    def pair(self, point: PairPoint) -> PairPoint:
        first, second = (
            replace(
                side,
                model=self._model(side.model) or side.model,
                slowdown=_digits(side.slowdown),
                slowdown_p90=None if side.slowdown_p90 is None else _digits(side.slowdown_p90),
            )
            for side in (point.first, point.second)
        )
        return replace(point, first=first, second=second, gpu=self._gpu(point.gpu) or point.gpu)


def _found(look_up: Callable[[str], Architecture | GpuType]) -> Callable[[str], str | None]:
    def name_of(name: str) -> str | None:
        try:
            return look_up(name).name
        except UnknownNameError:
            return None

    return name_of


def _rounded(point: _Engine) -> _Engine:
    floats = {name: _digits(value) for name in type(point).__slots__ if isinstance(value := getattr(point, name), float)}
    return replace(point, **floats)  # type: ignore[arg-type] # the fields that hold floats take floats


def _digits(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
