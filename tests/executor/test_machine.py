"""Before a real engine starts: the program, a machine for each node and the GPUs are there, or nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.backends.machine import inspect
from executor.errors import ExecutorError
from planner.plan import Plan
from tests import sound_plans


def here(tmp_path: Path) -> str:
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return str(tmp_path)


def on_two_nodes(plan: Plan) -> Plan:
    """The same plan with its second replica on the same GPU of another node."""
    first, second, *others = plan.desired.replicas
    node = plan.desired.nodes[0].model_copy(update={"name": "h100-1"})
    moved = second.model_copy(update={"node": "h100-1", "gpus": first.gpus})
    desired = plan.desired.model_copy(update={"nodes": (*plan.desired.nodes, node), "replicas": (first, moved, *others)})
    return plan.model_copy(update={"desired": desired})


def no_driver() -> int:
    raise ExecutorError("the NVIDIA driver of this machine cannot be asked (Library Not Found)")


def test_a_machine_that_has_everything_is_fine(tmp_path: Path) -> None:
    inspect(sound_plans.shared(), here(tmp_path), lambda: 2)


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError) as caught:
        inspect(on_two_nodes(sound_plans.shared()), str(tmp_path), lambda: 0)
    said = str(caught.value)
    assert "there is no `vllm` beside this Python or on PATH" in said
    assert "nodes h100-0, h100-1 have the one address 127.0.0.1, and GPU 0 would be used by all of them: give their pool `hosts`" in said
    assert "GPU 0 of node h100-0 is not there, this machine has 0" in said


def test_a_machine_without_a_driver_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match=r"driver of this machine cannot be asked .* try the plan with --engine emulated"):
        inspect(sound_plans.shared(), here(tmp_path), no_driver)
