"""Fits of the latency model that ship with the package, one YAML file per engine, written by `python -m benchmarks.fit_latency`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from profiles.fields import FieldError, Fields
from profiles.latency.fits.fit import (
    COEFFICIENT_NAMES,
    DISTANCES,
    NEAR_DISTANCES,
    Coefficients,
    FittedPair,
    LatencyFit,
    Quantiles,
    Residuals,
    decode_fit,
    encode_fit,
)
from profiles.yaml_text import YamlTextError, plain_yaml

__all__ = [
    "COEFFICIENT_NAMES",
    "DISTANCES",
    "NEAR_DISTANCES",
    "Coefficients",
    "FittedPair",
    "LatencyFit",
    "Quantiles",
    "Residuals",
    "fit_for",
    "fit_text",
    "read_fit",
]


def read_fit(name: str, text: str) -> LatencyFit:
    """The fit a YAML text holds; FieldError names the file and the key that is missing, unknown or wrong."""
    try:
        content = plain_yaml(text)
    except YamlTextError as error:
        raise FieldError(f"{name}: {error}") from None
    if not isinstance(content, dict):
        raise FieldError(f"{name}: must be a mapping")
    return decode_fit(Fields(name, content))


def fit_text(fit: LatencyFit) -> str:
    """YAML text that read_fit reads."""
    return yaml.safe_dump(encode_fit(fit), sort_keys=False, width=10_000, default_flow_style=None)


@cache
def fit_for(engine: str = "vllm") -> LatencyFit:
    """The shipped fit of an engine; ValueError lists the engines there are."""
    folder = Path(__file__).parent
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if engine not in known:
        raise ValueError(f"no latency fit for engine {engine!r} (known: {', '.join(known)})")
    return read_fit(f"{engine}.yaml", (folder / f"{engine}.yaml").read_text(encoding="utf-8"))
