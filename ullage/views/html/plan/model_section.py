"""Why each model runs as it does, in the sentences of `ullage explain`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from planner.plan import Desired, ModelReasons, Replica
from ullage.views.html.markup import Markup, element, listed_items
from ullage.views.plan.model_text import limit_line, reason_lines, replica_line

# Replicas of a model that are told of one by one.
MOST_REPLICAS = 8
NO_EXPLANATION = "This plan contains no explanation; make it again with ullage plan."


def model_section(desired: Desired) -> Iterator[Markup]:
    """One disclosure for each model: what limits it and breaks it first, and inside where it lives, the ways chosen and those not."""
    if desired.explanation is None:
        yield element("p", NO_EXPLANATION)
        return
    by_model: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in desired.replicas:
        by_model[replica.served_name].append(replica)
    for model in desired.explanation.models:
        yield _model(desired, model, by_model[model.served_name])


def _model(desired: Desired, model: ModelReasons, replicas: Sequence[Replica]) -> Markup:
    lines = [replica_line(desired, replica) for replica in replicas[:MOST_REPLICAS]]
    if len(replicas) > MOST_REPLICAS:
        lines.append(f"and {len(replicas) - MOST_REPLICAS} more replicas")
    lines += reason_lines(desired, model)
    summary = element("summary", element("b", model.served_name), f": {limit_line(desired, model)}")
    return element("details", summary, listed_items(lines), class_="model")
