"""Values that a shell offers for options. Called while somebody types, so each function loads only what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args, get_origin

from typer import Context


def gpu_types(incomplete: str) -> list[str]:
    """GPU types of the catalogue that begin with the typed text; aliases, if no name does."""
    from profiles.catalogue import builtin

    gpus = builtin().gpus()
    named = _beginning(incomplete, (gpu.name for gpu in gpus))
    return named or _beginning(incomplete, (alias for gpu in gpus for alias in gpu.aliases if " " not in alias))


def models(incomplete: str) -> list[str]:
    """Models of the catalogue that begin with the typed text; names without organisation, if no whole name does."""
    from profiles.catalogue import builtin

    names = builtin().model_names
    return _beginning(incomplete, names) or _beginning(incomplete, (name.rpartition("/")[2] for name in names))


def solvers(incomplete: str) -> list[str]:
    """Solvers that can make a plan."""
    from ullage.plugins import SOLVERS, names

    return _beginning(incomplete, names("solvers", SOLVERS))


def targets(incomplete: str) -> list[str]:
    """Targets that a plan can be rendered for."""
    from ullage.plugins import RENDERERS, names

    return _beginning(incomplete, names("renderers", RENDERERS))


def target_settings(ctx: Context, incomplete: str) -> list[str]:
    """Settings of the target that was typed before, as NAME= or with each value where there are few."""
    from ullage.plugins import RENDERERS, load

    try:
        target = load("renderers", RENDERERS, str(ctx.params.get("to")))
    except ValueError:
        return []
    offers: list[str] = []
    for name, field in target.settings.model_fields.items():
        values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ("",)
        offers += [f"{name}={value}" for value in values]
    return sorted(offer for offer in offers if offer.startswith(incomplete))


def sources(incomplete: str) -> list[str]:
    """Kinds of files that measurements are imported from."""
    from ullage.plugins import SOURCES, names

    return _beginning(incomplete, names("sources", SOURCES))


def backends(incomplete: str) -> list[str]:
    """Values of apply --engine."""
    return _beginning(incomplete, ("emulated", "vllm"))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    """Names that begin with the typed text in any letter case. The typed text keeps its case, or shells would drop the offer."""
    typed = incomplete.casefold()
    found = [name for name in names if name.casefold().startswith(typed)]
    if incomplete == incomplete.upper():
        return sorted({incomplete + name[len(incomplete) :] for name in found})
    return sorted({incomplete + (name.lower() if incomplete == incomplete.lower() else name)[len(incomplete) :] for name in found})
