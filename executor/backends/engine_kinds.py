"""Kinds of engine the local backend can run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from executor.backends.emulated_devices import EmulatedDevices
from executor.backends.launch_command import emulated, real
from executor.backends.local import LocalBackend
from executor.backends.machine import inspect
from executor.backends.protocol import Backend
from executor.state.folder import StateFolder

# Makes the backend that keeps its records in a state folder; local paths of plans start from the folder of the fleet file.
OpenBackend = Callable[[StateFolder, Path], Backend]


def emulated_backend(folder: StateFolder, fleet_folder: Path) -> Backend:
    """The engine emulator on emulated devices inside the state folder."""
    return LocalBackend(folder, emulated(folder, fleet_folder), EmulatedDevices(folder))


def vllm_backend(folder: StateFolder, fleet_folder: Path) -> Backend:
    """The vLLM of this environment on the GPUs of this machine."""
    return LocalBackend(folder, real(fleet_folder), None, inspect=inspect)
