"""From a declared fleet to a plan that analysts hold."""

from __future__ import annotations

from pathlib import Path

from planner.plan import State, as_applied
from ullage.checking import architectures_from
from ullage.fleet_spec import FleetSpec, load
from ullage.inputs import read_plan, read_state, state_folder
from ullage.notebook.fleet_plan import FleetPlan
from ullage.planning.ask import DEFAULT_ENGINE
from ullage.planning.plan import plan_fleet


def plan(
    fleet: FleetSpec | str | Path,
    *,
    state: State | str | Path | None = None,
    prior: FleetPlan | str | Path | None = None,
    solver: str = DEFAULT_ENGINE,
    time_limit_s: float | None = None,
    explain: bool = False,
    verify: bool = True,
) -> FleetPlan:
    """Decide which vLLM servers share which GPU, as `ullage plan` does.

    The plan is made against what runs: the state or its folder (default: .ullage beside the fleet file), or prior, a plan as if it had been
    applied; ValueError for both. solver is used in addition to the baselines, each stops after time_limit_s with the best plan so far.
    explain also finds conflicts and what more GPUs buy; verify simulates every GPU with its planned load, and plans again with more room
    for models that fall short. SpecError lists everything that is wrong with the fleet.

    >>> import ullage
    >>> ullage.plan("fleet.yaml").gpus_used
    1
    """
    if prior is not None and state is not None:
        raise ValueError("prior and state contradict each other: both say what runs now; give one of them")
    spec = fleet if isinstance(fleet, FleetSpec) else load(fleet)
    resolved = spec.resolved()
    now = _running(spec, state) if prior is None else _applied(prior)
    found = plan_fleet(resolved, now, solver=solver, time_limit_s=time_limit_s, explain=explain, verify=verify)
    return FleetPlan(found.plan, architectures_from(spec.path.parent), resolved.measurements, found.solve_s)


def _running(spec: FleetSpec, state: State | str | Path | None) -> State:
    if isinstance(state, State):
        return state
    return read_state(state_folder(spec.path, None if state is None else Path(state)))


def _applied(prior: FleetPlan | str | Path) -> State:
    return as_applied(prior.document if isinstance(prior, FleetPlan) else read_plan(Path(prior)))
