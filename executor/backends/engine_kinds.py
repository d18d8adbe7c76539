"""Kinds of engine the local backend can run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from executor.backends.emulated_devices import EmulatedDevices
from executor.backends.launch_command import emulated, real
from executor.backends.local import LocalBackend
from executor.backends.machine import inspect
from executor.backends.protocol import Backend
from executor.nvml.driver import driver_answers
from executor.nvml.nvml_devices import NvmlDevices
from executor.state.folder import StateFolder
from planner.plan import Plan

# -P: a folder called executor where the user stands must not hide ours
EMULATED_MPS_CONTROL = (sys.executable, "-P", "-m", "executor.emulator.mps_control", "-f")

# Makes the backend that keeps its records in a state folder; local paths of plans start from the folder of the fleet file.
OpenBackend = Callable[[StateFolder, Path], Backend]


def emulated_backend(folder: StateFolder, fleet_folder: Path) -> Backend:
    """The engine emulator on emulated devices inside the state folder."""
    return LocalBackend(folder, emulated(folder, fleet_folder), EmulatedDevices(folder), mps_control=EMULATED_MPS_CONTROL)


def vllm_backend(folder: StateFolder, fleet_folder: Path) -> Backend:
    """The vLLM of this environment on the GPUs of this machine; where no NVIDIA driver answers, GPUs are left as they are."""
    if not driver_answers():
        return LocalBackend(folder, real(fleet_folder), None, inspect=inspect)
    devices = NvmlDevices(folder)

    def inspect_all(plan: Plan, path: str) -> None:
        inspect(plan, path)
        devices.refuse_divided(plan)
        devices.refuse_without_uuids(plan)

    return LocalBackend(folder, real(fleet_folder, devices.visible), devices, inspect=inspect_all)
