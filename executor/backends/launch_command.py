"""Command line and environment of a replica, per kind of engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from executor.emulator import devices
from executor.state.folder import StateFolder
from planner.plan import Replica
from renderers import vllm


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """Arguments and the environment rendered for the replica, on top of the one ullage itself runs in."""

    argv: tuple[str, ...]
    environment: dict[str, str]


Launcher = Callable[[Replica], LaunchCommand]


def real(replica: Replica) -> LaunchCommand:
    """The vLLM installed on this machine."""
    return LaunchCommand(vllm.command(replica), vllm.environment(replica))


def emulated(folder: StateFolder) -> Launcher:
    """The emulator, with the same arguments, on the emulated devices of the state folder."""

    def launch(replica: Replica) -> LaunchCommand:
        node = folder.node(replica.node)
        environment = {**vllm.environment(replica), "ULLAGE_EMULATED_NODE": str(node)}
        if replica.mig is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices.instance_uuid(replica.gpus[0], replica.mig.start)
        argv = vllm.command(replica)
        # the first two words are `vllm serve`; the rest is the same command line. -P: a folder called executor where the user
        # stands must not hide ours
        return LaunchCommand((sys.executable, "-P", "-m", "executor.emulator", "serve", *argv[2:]), environment)

    return launch
