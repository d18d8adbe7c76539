"""Ullage plans which model servers share which GPU, and runs the plan.

`import ullage` is quick: what a name needs is imported when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ullage.fleet_spec import FleetSpec, fleet, load
    from ullage.model_fit import fit_models as fit
    from ullage.notebook.answers import quote
    from ullage.notebook.fleet_plan import FleetPlan, open_plan
    from ullage.notebook.planned_fleet import plan
    from ullage.notebook.studied import Study, whatif
    from ullage.prompt_fit import fit_prompt

__all__ = ["FleetPlan", "FleetSpec", "Study", "fit", "fit_prompt", "fleet", "load", "open_plan", "plan", "quote", "whatif"]

# Public name -> "module:attribute".
_LAZY = {
    "FleetPlan": "ullage.notebook.fleet_plan:FleetPlan",
    "FleetSpec": "ullage.fleet_spec:FleetSpec",
    "fit": "ullage.model_fit:fit_models",
    "fit_prompt": "ullage.prompt_fit:fit_prompt",
    "fleet": "ullage.fleet_spec:fleet",
    "load": "ullage.fleet_spec:load",
    "open_plan": "ullage.notebook.fleet_plan:open_plan",
    "plan": "ullage.notebook.planned_fleet:plan",
    "quote": "ullage.notebook.answers:quote",
    "Study": "ullage.notebook.studied:Study",
    "whatif": "ullage.notebook.studied:whatif",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- classes and functions
    """A public name, imported now."""
    if name not in _LAZY:
        raise AttributeError(f"module 'ullage' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    found = globals()[name] = getattr(import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted([*globals(), *__all__])
