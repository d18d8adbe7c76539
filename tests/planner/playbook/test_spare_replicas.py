"""Replicas that make room in a burst because others of their model stay: not those that are there for something else."""

from __future__ import annotations

from tests.planner.playbook.sleepers_fleet import chat_beside_batch
from tests.planner.playbook.test_burst_wakes import of_chat, problems, with_rules, words


def test_what_is_there_for_the_loss_of_a_node_is_no_spare_replica() -> None:
    desired = chat_beside_batch(spare=True)
    careful = {"tolerate_nodes": 1}
    workloads = tuple(item.model_copy(update=careful if item.name == "batch" else {}) for item in desired.workloads)
    guarded = desired.model_copy(update={"workloads": workloads})
    assert words(of_chat(guarded)) == ["throttle batch", "sleep batch-0", "wake chat-1"]
    assert "which batch may need when a node is lost (tolerate), and batch is not refused before" in problems(guarded, of_chat(desired))


def test_the_disruption_budget_keeps_replicas_also_of_those_who_are_refused() -> None:
    desired = chat_beside_batch(spare=True)
    for least, steps in ((1, ["sleep batch-0", "wake chat-1"]), (2, [])):
        budget = desired.rules.disruption_budget.model_copy(update={"min_available": {"batch": least}})
        guarded = with_rules(desired, disruption_budget=budget)
        assert words(of_chat(guarded)) == steps
        found = problems(guarded, of_chat(desired))
        assert ("after which batch has 1 replicas, and policy.disruption_budget asks for 2" in found) == (least == 2)
