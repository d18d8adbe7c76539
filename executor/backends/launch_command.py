"""Command line and environment of a replica, per kind of engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.emulator import devices, mps_client
from executor.state.folder import StateFolder
from planner.plan import Replica
from planner.plan.local_paths import located, with_relative_paths
from renderers import vllm


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """Arguments and the environment rendered for the replica, on top of the one ullage itself runs in.

    planned are the arguments with local paths as the plan has them: an engine started from another checkout is the same one.
    at_start gives variables that only its start can know, over those of the environment; it raises ExecutorError where it cannot.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    planned: tuple[str, ...]
    at_start: Callable[[], Mapping[str, str]] = dict


Launcher = Callable[[Replica], LaunchCommand]
Visible = Callable[[Replica], Mapping[str, str]]


def real(fleet_folder: Path, visible: Visible | None = None) -> Launcher:
    """The vLLM installed on this machine; local paths start from the folder of the fleet file.

    visible tells, as a replica starts, which variables show it its devices where the rendered ones do not.
    """

    def launch(replica: Replica) -> LaunchCommand:
        environment = vllm.environment(replica)
        argv, planned = vllm.command(_here(replica, fleet_folder)), vllm.command(replica)
        if visible is None:
            return LaunchCommand(argv, environment, planned)
        if replica.mig is not None:
            # the instance may not be there yet, and gets another UUID when it is made again: the engine is the same one in the same slot
            environment = {**environment, "CUDA_VISIBLE_DEVICES": f"{replica.gpus[0]}@{replica.mig.profile}@{replica.mig.start}"}
        return LaunchCommand(argv, environment, planned, lambda: visible(replica))

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
        # what the user's shell says about a real MPS daemon is not about emulated GPUs
        unset = {} if replica.mode == "mps" else dict.fromkeys(mps_client.VARIABLES, "")
        return LaunchCommand(argv, environment, planned, lambda: unset)

    return launch
