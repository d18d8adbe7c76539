"""A target: a system that plans are rendered for, what it needs of a plan, and what a user may set for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from planner.plan import Plan
from renderers.manifest import Manifest, RenderError
from renderers.needs import Need
from renderers.no_credentials import refuse_credentials

# Our choice: so many reasons are read at once; those that are left out are counted.
_MOST_REASONS = 10


class TargetSettings(BaseModel):
    """What a user may set for a target with `--set NAME=VALUE`; a target with settings of its own derives from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class RenderTarget:
    """How plans are rendered for a system.

    render is pure (same plan and settings, same bytes), gets an instance of `settings`, and raises RenderError for what the system cannot
    express. needs are what must hold of a plan before it is asked at all. is_router says that the files make a router run that reads the
    model of each request.
    """

    render: Callable[[Plan, Any], Manifest]
    needs: tuple[Need, ...] = ()
    settings: type[TargetSettings] = TargetSettings
    is_router: bool = False


def rendered(name: str, target: RenderTarget, plan: Plan, values: Mapping[str, str] | None = None) -> Manifest:
    """The files of a plan for a target, name being the target's.

    Raises RenderError: values that it does not know or take, a plan without what it needs (every reason, with the field), an access
    token in the plan.
    """
    settings = _settings(name, target, values or {})
    refuse_credentials(plan.desired, "desired")
    reasons = [f"{reason}; {need.otherwise}" for need in target.needs for reason in need.lacking(plan.desired)]
    if reasons:
        more = [f"and {len(reasons) - _MOST_REASONS} more"] if len(reasons) > _MOST_REASONS else []
        raise RenderError("\n".join([f"this plan cannot be rendered for {name}:", *reasons[:_MOST_REASONS], *more]))
    return target.render(plan, settings)


def _settings(name: str, target: RenderTarget, values: Mapping[str, str]) -> TargetSettings:
    known = target.settings.model_fields
    for key in values:
        if key not in known:
            says = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise RenderError(f"--set {key}: {name} has no such setting; {says}")
    try:
        return target.settings.model_validate(dict(values))
    except ValidationError as error:
        raise RenderError("\n".join(_problem(name, target, values, dict(each)) for each in error.errors())) from error


def _problem(name: str, target: RenderTarget, values: Mapping[str, str], error: Mapping[str, Any]) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    written = f"--set {key}={values[key]!r}" if key in values else f"--set {key}"
    field = target.settings.model_fields.get(key)
    meaning = f"; {name} takes {field.description}" if field is not None and field.description else f" ({name})"
    return f"{written}: {error['msg'].removeprefix('Value error, ')}{meaning}"
