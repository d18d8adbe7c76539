from __future__ import annotations

import pytest

from planner.plan import ModelRules, Plan, Replica
from renderers.manifest import RenderError
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan
from tests.renderers.kubernetes.kube_checks import base_of, check, pod, render


def _nodes(*replicas: Replica, gpu_counts: tuple[int, ...] = (2, 2)) -> Plan:
    """A plan of one pool whose nodes h100-0, h100-1 ... have these GPUs."""
    plan = plan_of(replicas, gpu_count=2)
    nodes = tuple(
        plan.desired.nodes[0].model_copy(update={"name": f"h100-{index}", "host": f"10.0.0.{index}", "gpu_count": count})
        for index, count in enumerate(gpu_counts)
    )
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"nodes": nodes})})


def test_pods_are_pinned_to_their_node_or_spread_over_their_pool() -> None:
    apart = _nodes(replica("m-0", "m", mode="exclusive"), replica("m-1", "m", mode="exclusive", node="h100-1", args={"port": 8101}))
    pinned = pod(base_of(apart), "m-1")
    assert (pinned["nodeSelector"], "affinity" in pinned) == ({"ullage.dev/node": "h100-1"}, False)
    objects = base_of(apart, placement="spread")
    for found in objects:
        check(found)
    spread = pod(objects, "m-1")
    assert spread["nodeSelector"] == {"ullage.dev/pool": "h100"}
    (term,) = spread["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == {"ullage.dev/model": "m"}
    together = _nodes(replica("m-0", "m", mode="exclusive"), replica("m-1", "m", gpus=(1,), mode="exclusive", args={"port": 8101}))
    assert "affinity" not in pod(base_of(together, placement="spread"), "m-0")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (mig_plan(), "pools.h100: GPU 0 of h100-0 is divided by MIG"),
        (tensor_parallel_plan(), "pools.h100: its replicas take 1 and 2 GPUs"),
        (_nodes(replica("m-0", mode="exclusive"), gpu_counts=(2, 4)), "pools.h100: its nodes have 2 and 4 GPUs"),
        (
            _nodes(replica("m-0", mode="tensor_parallel", gpus=(0, 1)), gpu_counts=(3,)),
            "which replicas of 2 do not fill",
        ),
    ],
)
def test_a_spread_that_could_leave_a_pod_without_room_is_refused(plan: Plan, words: str) -> None:
    with pytest.raises(RenderError, match=words):
        render(plan, placement="spread")


def test_replicas_that_must_be_on_different_machines_need_their_planned_nodes() -> None:
    plan = _nodes(replica("m-0", "m", mode="exclusive"), replica("m-1", "m", mode="exclusive", node="h100-1", args={"port": 8101}))
    rules = plan.desired.rules.model_copy(update={"models": (ModelRules(served_name="m", spread_nodes=True),)})
    apart = plan.model_copy(update={"desired": plan.desired.model_copy(update={"rules": rules})})
    with pytest.raises(RenderError, match=r"replicas of m are on different machines .*; use --set placement=node"):
        render(apart, placement="spread")
    assert pod(base_of(apart), "m-1")["nodeSelector"] == {"ullage.dev/node": "h100-1"}
