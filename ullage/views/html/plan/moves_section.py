"""From what runs to what the plan wants: replicas before and after, the moves by kind with their reasons, and what clients miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.plan import Action, Plan, Repartition, SetRoutes, Sleep, Start, Stop
from ullage.views.html.markup import Markup, element, listed_items
from ullage.views.html.number_words import count_words
from ullage.views.html.table_markup import html_table
from ullage.views.plan.plan_text import outage_lines

_KINDS = {
    "repartition": "GPUs whose MIG layout changes",
    "start": "Replicas to start",
    "wake": "Replicas to wake",
    "sleep": "Replicas to put to sleep",
    "drain": "Replicas to drain",
    "stop": "Replicas to stop",
    "set_routes": "Changes of routes",
}
# Tables with more rows than these are closed at first.
_MOST_OPEN_ROWS = 30


def moves_section(plan: Plan) -> Iterator[Markup]:
    """What apply will do; one sentence where there is nothing to do."""
    if not plan.actions:
        yield element("p", "No changes: the plan is already applied.")
        return
    yield _before_and_after(plan)
    if plan.churn is not None:
        yield element(
            "p", f"The moves load {plan.churn.value:,.1f} GiB of weights (no fewer than {plan.churn.bound:,.1f} GiB are possible)."
        )
    for kind, title in _KINDS.items():
        actions = [action for action in plan.actions if action.kind == kind]
        if actions:
            yield _moves(title, actions)
    missed = [line.strip() for line in list(outage_lines(plan.outages))[1:]]
    yield element("h3", "What clients miss meanwhile")
    yield listed_items(missed) if missed else element("p", "Nothing: every model keeps the replicas that it needs, or is new.")


def _before_and_after(plan: Plan) -> Markup:
    after = {replica.name for replica in plan.desired.replicas}
    copies = {replica.name for replica in plan.temporary}
    started = {action.replica for action in plan.actions if isinstance(action, Start)} - copies
    stopped = {action.replica for action in plan.actions if isinstance(action, Stop)} - copies
    kept = after - started
    rows = [
        ["before", str(len(kept | stopped)), ""],
        ["kept as they run", str(len(kept - stopped)), _many(kept - stopped)],
        ["new", str(len(started - stopped)), _many(started - stopped)],
        ["restarted or moved", str(len(started & stopped)), _many(started & stopped)],
        *([["meanwhile only", str(len(copies)), _many(copies)]] if copies else []),
        ["gone", str(len(stopped - after)), _many(stopped - after)],
        ["after", str(len(after)), ""],
    ]
    return html_table("Replicas before and after", ("replicas", "number", "which"), rows, numbers=(1,))


def _many(names: set[str]) -> str:
    """The first of many names."""
    ordered = sorted(names)
    return ", ".join(ordered[:12]) + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "")


def _moves(title: str, actions: Sequence[Action]) -> Markup:
    by_reason: dict[str, list[str]] = {}
    for action in actions:
        by_reason.setdefault(action.reason or "-", []).append(_what(action))
    rows = [[reason, ", ".join(found)] for reason, found in by_reason.items()]
    table = html_table(title, ("reason", "which"), rows)
    if len(rows) <= _MOST_OPEN_ROWS:
        return table
    return element("details", element("summary", f"{title}: {len(actions)}, for {count_words(len(rows), 'reason')}"), table)


def _what(action: Action) -> str:
    match action:
        case Start():
            return f"{action.replica} on {action.node} GPU {','.join(map(str, action.gpus))}"
        case Repartition():
            layout = ", ".join(f"{place.profile} at {place.start}" for place in action.layout) or "undivided"
            return f"{action.node} GPU {action.gpu} ({layout})"
        case Sleep():
            return f"{action.replica} at level {action.level}"
        case SetRoutes():
            return f"routes of {count_words(len(action.routes), 'model')}"
        case _:
            return action.replica
