"""An engine as a client of MPS: found by NVIDIA's variables, refused as CUDA refuses it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ALL_THREADS = 100
VARIABLES = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE")
"""Where the daemon is, and the part of the threads; empty ones say nothing."""


class MpsError(RuntimeError):
    """CUDA refuses to start; the message is its own where it has one."""


def thread_percentage(environment: Mapping[str, str]) -> int | None:
    """The part of the GPU's threads that MPS gives this process; None for one that has nothing to do with MPS.

    Raises MpsError where it is sent to a daemon that is not there. Real CUDA refuses it or goes on without MPS, by version and cause; an
    emulated engine that went on would hide that nobody has started the daemon.
    """
    folder, text = (environment.get(name) or None for name in VARIABLES)
    if folder is not None and not (Path(folder) / "control").exists():
        raise MpsError("CUDA error 805: MPS client failed to connect to the MPS control daemon or the MPS server")
    if text is None:
        return None if folder is None else ALL_THREADS
    if not text.isdecimal() or not 1 <= int(text) <= ALL_THREADS:
        raise MpsError(f"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is {text!r}; it must be a whole number from 1 to {ALL_THREADS}")
    return int(text)
