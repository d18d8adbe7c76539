"""Kinds of engine the local backend can run, by the name given to apply."""

from __future__ import annotations

from collections.abc import Callable

from executor.backends.emulated_devices import EmulatedDevices
from executor.backends.launch_command import emulated, real
from executor.backends.local import LocalBackend
from executor.backends.machine import inspect
from executor.backends.protocol import Backend
from executor.errors import ExecutorError
from executor.state.folder import StateFolder


def emulated_backend(folder: StateFolder) -> Backend:
    """The engine emulator on emulated devices inside the state folder."""
    return LocalBackend(folder, emulated(folder), EmulatedDevices(folder))


def vllm_backend(folder: StateFolder) -> Backend:
    """The vLLM of this environment on the GPUs of this machine."""
    return LocalBackend(folder, real, None, inspect=inspect)


ENGINES: dict[str, Callable[[StateFolder], Backend]] = {"emulated": emulated_backend, "vllm": vllm_backend}


def open_backend(engine: str, folder: StateFolder) -> Backend:
    """Raises ExecutorError, listing the names, for an unknown one."""
    if engine not in ENGINES:
        raise ExecutorError(f"engine {engine!r} is unknown; use one of {', '.join(sorted(ENGINES))}")
    return ENGINES[engine](folder)
