"""A small edit of the fleet changes few lines of what is rendered, and none of models that it does not concern."""

from __future__ import annotations

import copy
from collections.abc import Callable
from difflib import unified_diff
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from planner.plan import Plan, State, as_applied
from planner.spec import load_fleet
from profiles.catalogue import builtin
from renderers import envoy, kubernetes, vllm
from renderers import render_target as targets
from tests.fleets import workload
from ullage.planning.plan import plan_fleet

Written: TypeAlias = dict[str, Any]
Edit: TypeAlias = Callable[[Written], None]

MODELS = {
    "assistant": ("meta-llama/Meta-Llama-3.1-8B", "40/s"),
    "coder": ("Qwen/Qwen2.5-7B-Instruct", "30/s"),
    "judge": ("mistralai/Mistral-7B-Instruct-v0.3", "12/s"),
    "notes": ("google/gemma-2-9b", "14/s"),
    "search": ("Qwen/Qwen3-0.6B", "60/s"),
    "writer": ("Qwen/Qwen3-14B", "16/s"),
}
# Files that list all replicas of a node, or all models.
LISTS = ("start.sh", "cds.yaml", "rds.yaml", "kustomization.yaml", "gpus.yaml")


def written() -> Written:
    """Six models on two nodes of four H100, five of which are used."""
    return {
        "schema_version": 1,
        "pools": {"gpu": {"gpu": "H100-SXM-80GB", "nodes": 2, "hosts": ["10.0.0.1", "10.0.0.2"], "gpus_per_node": 4, "price": "3 USD/h"}},
        "models": {name: {"source": source, "max_model_len": 4096} for name, (source, _) in MODELS.items()},
        "workloads": {f"to-{name}": workload(name, rate) for name, (_, rate) in MODELS.items()},
    }


def planned(fleet: Written, state: State | None = None) -> Plan:
    return plan_fleet(load_fleet(Path("fleet.yaml"), yaml.safe_dump(fleet), builtin()), state or State()).plan


@cache
def base() -> Plan:
    return planned(written())


def rendered(plan: Plan) -> dict[str, str]:
    """The files of three targets by their paths."""
    trees = {"vllm": vllm.TARGET, "envoy": envoy.TARGET, "kubernetes": kubernetes.TARGET}
    return {f"{name}/{file.path}": file.text for name, target in trees.items() for file in targets.rendered(name, target, plan)}


def changed_lines(before: Plan, after: Plan) -> dict[str, int]:
    """Lines that are added or gone, by file."""
    old, new = rendered(before), rendered(after)
    counts = {
        path: sum(
            line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
            for line in unified_diff(old.get(path, "").splitlines(), new.get(path, "").splitlines(), lineterm="", n=0)
        )
        for path in sorted({*old, *new})
    }
    return {path: count for path, count in counts.items() if count}


def edited(edit: Edit) -> Written:
    fleet = copy.deepcopy(written())
    edit(fleet)
    return fleet


def rate(model: str, value: str) -> Edit:
    return lambda fleet: fleet["workloads"][f"to-{model}"]["demand"].update(rate=value)


def new_model(name: str) -> Edit:
    def edit(fleet: Written) -> None:
        fleet["models"][name] = {"source": "Qwen/Qwen3-1.7B", "max_model_len": 4096}
        fleet["workloads"]["added"] = workload(name, "1/s")

    return edit


def without(model: str) -> Edit:
    def edit(fleet: Written) -> None:
        del fleet["models"][model], fleet["workloads"][f"to-{model}"]

    return edit


# edit, the model whose files may change, and how many lines of scripts, of the router and of Kubernetes may
EDITS = {
    "a rate that needs no new replica": (rate("assistant", "44/s"), None, 0, 0, 0),
    "another such rate": (rate("writer", "17.6/s"), None, 0, 0, 0),
    "a new workload of a model that has room": (lambda fleet: fleet["workloads"].update(a=workload("search", "0.5/s")), None, 0, 0, 0),
    "another price": (lambda fleet: fleet["pools"]["gpu"].update(price="3.5 USD/h"), None, 0, 0, 0),
    "a rate that needs one more replica": (rate("judge", "13.2/s"), "judge", 30, 5, 210),
    "a rate that needs one more GPU": (rate("assistant", "80/s"), "assistant", 30, 5, 210),
    "a new model": (new_model("small"), "small", 30, 70, 270),
    "a new model that is the first by name": (new_model("aaa"), "aaa", 30, 70, 270),
    "a model that goes": (without("judge"), "judge", 30, 70, 270),
    "a model that goes and was the first by name": (without("assistant"), "assistant", 30, 70, 270),
}


@pytest.mark.parametrize(("edit", "model", "most_script_lines", "most_router_lines", "most_kube_lines"), EDITS.values(), ids=EDITS.keys())
def test_a_plan_after_a_prior_one_changes_little(
    edit: Edit, model: str | None, most_script_lines: int, most_router_lines: int, most_kube_lines: int
) -> None:
    fleet = edited(edit)
    after = planned(fleet, as_applied(base()))
    found = changed_lines(base(), after)
    assert [path for path in found if not path.endswith(LISTS) and not (model and f"/{model}" in path)] == []
    lines = {
        target: sum(count for path, count in found.items() if path.startswith(f"{target}/")) for target in ("vllm", "envoy", "kubernetes")
    }
    assert lines["vllm"] <= most_script_lines
    assert lines["envoy"] <= most_router_lines
    assert lines["kubernetes"] <= most_kube_lines
    # without the prior plan it is no less
    assert sum(found.values()) <= sum(changed_lines(base(), planned(fleet)).values())
    kept = {replica.name: (replica.node, replica.gpus, replica.args.port) for replica in base().desired.replicas}
    others = [replica for replica in after.desired.replicas if replica.served_name != model]
    assert all(kept[replica.name] == (replica.node, replica.gpus, replica.args.port) for replica in others)


def test_planning_again_changes_nothing() -> None:
    assert changed_lines(base(), planned(written())) == {}
    again = planned(written(), as_applied(base()))
    assert (changed_lines(base(), again), again.actions) == ({}, ())


def test_the_lines_are_counted() -> None:
    assert sum(text.count("\n") for text in rendered(base()).values()) > 3000
    assert changed_lines(base(), planned(edited(rate("judge", "13.2/s")), as_applied(base()))) == {
        "envoy/eds/judge.yaml": 5,
        "kubernetes/base/kustomization.yaml": 1,
        "kubernetes/base/replicas/judge-1.yaml": 195,
        "vllm/gpu-0/replicas/judge-1.sh": 25,
        "vllm/gpu-0/start.sh": 3,
    }


def test_an_engine_that_loses_a_neighbour_stays_and_the_small_one_moves() -> None:
    fleet = yaml.safe_load((Path(__file__).resolve().parents[2] / "examples" / "gitops" / "fleet.yaml").read_text(encoding="utf-8"))
    fleet["workloads"]["chat"]["demand"]["rate"] = "4/s"
    before = planned(fleet)
    fleet["workloads"]["chat"]["demand"]["rate"] = "12/s"
    after = planned(fleet, as_applied(before))
    moved = {action.replica for action in after.actions if action.kind == "start"}
    assert {name.rpartition("-")[0] for name in moved} == {"search", "writer"}
