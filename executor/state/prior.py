"""Was a plan made against the state that is there?"""

from __future__ import annotations

from executor.errors import StalePlanError
from executor.state.folder import StateFolder
from planner.plan import Plan, State, state_hash

# more lines than that do not help anybody; the rest is counted
_LISTED = 10


def check_prior(plan: Plan, state: State, folder: StateFolder) -> None:
    """Raises StalePlanError, listing what differs, unless serial and hash are those of the state."""
    if (plan.prior.serial, plan.prior.state_hash) == (state.serial, state_hash(state)):
        return
    past = folder.past(plan.prior.state_hash)
    if past is None:
        known, title = State(replicas=plan.desired.replicas, routes=plan.desired.routes), "the state against what the plan wants"
    else:
        known, title = past, "what changed since the plan was made"
    lines = differences(known, state)
    shown = [f"  {line}" for line in lines[:_LISTED]] or ["  (no replica and no route differs)"]
    if len(lines) > _LISTED:
        shown.append(f"  and {len(lines) - _LISTED} more")
    raise StalePlanError(
        f"the plan was made against state {plan.prior.serial} ({plan.prior.state_hash[:12]}), "
        f"but {folder.state_path} is state {state.serial} ({state_hash(state)[:12]}); plan again. {title[0].upper()}{title[1:]}:\n"
        + "\n".join(shown)
    )


def differences(before: State, after: State) -> tuple[str, ...]:
    """Replicas, routes and sleeps added, removed and changed, one line each, sorted."""
    lines = _compare("replica", {r.name: r for r in before.replicas}, {r.name: r for r in after.replicas})
    lines += _compare("route", {r.served_name: r for r in before.routes}, {r.served_name: r for r in after.routes})
    lines += _compare("sleep of", {item.name: item for item in before.asleep}, {item.name: item for item in after.asleep})
    return tuple(lines)


def _compare(kind: str, before: dict[str, object], after: dict[str, object]) -> list[str]:
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            lines.append(f"{kind} {name}: added")
        elif name not in after:
            lines.append(f"{kind} {name}: removed")
        elif before[name] != after[name]:
            lines.append(f"{kind} {name}: changed")
    return lines
