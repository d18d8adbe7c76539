"""Command line and environment of a replica, per kind of engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from executor.emulator import devices
from executor.state.folder import StateFolder
from planner.plan import Replica
from planner.plan.local_paths import located, with_relative_paths
from renderers import vllm


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """Arguments and the environment rendered for the replica, on top of the one ullage itself runs in.

    planned are the arguments with local paths as the plan has them: an engine started from another checkout is the same one.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    planned: tuple[str, ...]


Launcher = Callable[[Replica], LaunchCommand]


def real(fleet_folder: Path) -> Launcher:
    """The vLLM installed on this machine; local paths start from the folder of the fleet file."""

    def launch(replica: Replica) -> LaunchCommand:
        return LaunchCommand(vllm.command(_here(replica, fleet_folder)), vllm.environment(replica), vllm.command(replica))

    return launch


def _here(replica: Replica, fleet_folder: Path) -> Replica:
    """The replica with whole paths."""
    args = with_relative_paths(replica.args, lambda path: str(located(path, fleet_folder)))
    return replica.model_copy(update={"args": args})


def emulated(folder: StateFolder, fleet_folder: Path) -> Launcher:
    """The emulator, with the same arguments, on the emulated devices of the state folder."""
    start = real(fleet_folder)

    def launch(replica: Replica) -> LaunchCommand:
        node = folder.node(replica.node)
        command = start(replica)
        environment = {**command.environment, "ULLAGE_EMULATED_NODE": str(node)}
        if replica.mig is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices.instance_uuid(replica.gpus[0], replica.mig.start)
        # the first two words are `vllm serve`; the rest is the same command line. -P: a folder called executor where the user
        # stands must not hide ours
        argv, planned = (
            (sys.executable, "-P", "-m", "executor.emulator", "serve", *words[2:]) for words in (command.argv, command.planned)
        )
        return LaunchCommand(argv, environment, planned)

    return launch
