from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from planner.plan import Asleep, Plan, ReplicaForecast
from renderers import needs
from renderers.manifest import File, Manifest, RenderError
from renderers.render_target import RenderTarget, TargetSettings, rendered
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.renderers.mps_plans import mps_plan


class _Written(TargetSettings):
    namespace: Annotated[str, Field(pattern=r"^[a-z]+$")] = "default"
    replicas: Annotated[int, Field(ge=1)] = 1


def _render(plan: Plan, settings: _Written) -> Manifest:
    return (File("f", f"{settings.namespace} {settings.replicas}\n"),)


TARGET = RenderTarget(_render, settings=_Written)


def test_settings_reach_the_renderer() -> None:
    (file,) = rendered("mine", TARGET, mig_plan(), {"namespace": "llm", "replicas": "3"})
    assert file.text == "llm 3\n"
    assert rendered("mine", TARGET, mig_plan())[0].text == "default 1\n"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"space": "x"}, ["--set space", "mine has no such setting", "namespace, replicas"]),
        ({"namespace": "A b"}, ["--set namespace='A b'", "^[a-z]+$", "(mine)"]),
        ({"replicas": "0", "namespace": "1"}, ["--set replicas='0'", "greater than or equal to 1", "--set namespace='1'"]),
        ({"replicas": "many"}, ["--set replicas='many'", "valid integer"]),
    ],
)
def test_settings_that_the_target_does_not_take_are_named(values: dict[str, str], words: list[str]) -> None:
    with pytest.raises(RenderError) as refused:
        rendered("mine", TARGET, mig_plan(), values)
    assert [word for word in words if word not in str(refused.value)] == []


def test_a_target_without_settings_says_so() -> None:
    with pytest.raises(RenderError, match="--set a: mine has no such setting; it has none"):
        rendered("mine", RenderTarget(_render), mig_plan(), {"a": "b"})


def _two_nodes(first: str, second: str) -> Plan:
    plan = plan_of((replica("a"), replica("b", node="h100-1", host=second)), gpu_count=1)
    node = plan.desired.nodes[0].model_copy(update={"host": first})
    nodes = (node, node.model_copy(update={"name": "h100-1", "host": second}))
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"nodes": nodes})})


def _asleep() -> Plan:
    plan = mig_plan()
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"asleep": (Asleep(name="llama-8b-0", level=1),)})})


@pytest.mark.parametrize(
    ("need", "plan", "words"),
    [
        (
            needs.HOSTS_KNOWN,
            _two_nodes("127.0.0.1", "localhost"),
            ["nodes.h100-0.host: '127.0.0.1'", "nodes.h100-1.host", "pools.NAME.hosts"],
        ),
        (needs.HOSTS_KNOWN, _two_nodes("10.0.0.1", "10.0.0.1"), ["nodes.h100-0.host: '10.0.0.1' is also the address of h100-1"]),
        (needs.HOSTS_ARE_IP_ADDRESSES, _two_nodes("10.0.0.1", "node-2.lan"), ["nodes.h100-1.host: 'node-2.lan' is no IP address"]),
        (needs.ONE_NODE, _two_nodes("10.0.0.1", "10.0.0.2"), ["2 nodes (h100-0, h100-1)"]),
        (needs.NO_TIME_SHARING, time_shared_plan(), ["replicas.mistral-7b-0.mode: it shares GPU 1 of h100-0", "`sharing`"]),
        (
            needs.NO_MPS,
            mps_plan(),
            [
                "replicas.llama-8b-0.mode: it shares GPU 0 of h100-0 by MPS",
                "replicas.qwen3-8b-0.mode: it shares GPU 0 of h100-0 by MPS",
                "replicas.mistral-7b-0.mode: it shares GPU 1 of h100-0 by MPS",
                "take mps out of the pool's `sharing`",
                "vllm or systemd",
            ],
        ),
        (needs.NO_MIG, mig_plan(), ["replicas.qwen3-8b-0.mig: it has a MIG instance (3g.40gb)", "`sharing`"]),
        (needs.NOBODY_ASLEEP, _asleep(), ["asleep.llama-8b-0", "ullage wake"]),
        (
            needs.NO_RELATIVE_PATHS,
            plan_of((replica("r", args={"model": "./models/own"}),), gpu_count=1),
            ["replicas.r.args.model: './models/own' starts from the folder of the fleet file"],
        ),
    ],
)
def test_a_plan_without_what_a_target_needs_is_refused_with_field_and_reason(need: needs.Need, plan: Plan, words: list[str]) -> None:
    with pytest.raises(RenderError, match="this plan cannot be rendered for mine:") as refused:
        rendered("mine", RenderTarget(_render, needs=(need,), settings=_Written), plan)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    "need",
    [needs.HOSTS_KNOWN, needs.ONE_NODE, needs.NO_TIME_SHARING, needs.NO_MPS, needs.NO_MIG, needs.NOBODY_ASLEEP, needs.NO_RELATIVE_PATHS],
)
def test_a_plan_that_has_it_is_rendered(need: needs.Need) -> None:
    assert rendered("mine", RenderTarget(_render, needs=(need,), settings=_Written), tensor_parallel_plan())


def test_two_nodes_with_addresses_of_their_own_are_known() -> None:
    assert list(needs.HOSTS_KNOWN.lacking(_two_nodes("10.0.0.1", "10.0.0.2").desired)) == []


def test_many_reasons_are_counted() -> None:
    small = replica("r").ledger.model_copy(update={"weights_mib": 900, "kv_mib": 64, "total_mib": 1000, "start_peak_mib": 1000})
    idle = ReplicaForecast(ttft_s=0.1, tpot_s=0.01, busy_fraction=0.01, running_requests=1.0, kv_fraction=0.1)
    many = plan_of(tuple(replica(f"r{index}", forecast=idle, ledger=small) for index in range(14)), gpu_count=1)
    with pytest.raises(RenderError, match="and 4 more"):
        rendered("mine", RenderTarget(_render, needs=(needs.NO_TIME_SHARING,)), many)
