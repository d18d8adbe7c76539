"""Talking to the NVIDIA driver: sessions, and its errors as sentences that say what failed, on which GPU, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import pynvml

from executor.errors import ExecutorError

# What NVML gives for a GPU, an instance, or a struct about one; its bindings ship no types.
NvmlHandle: TypeAlias = Any

# nvml.h; bindings of version 12 have no name for it
_GPU_NOT_FOUND = 28

_REPLACE = "look into the kernel's log (dmesg) for its Xid, and reset the GPU or restart the machine"

# What to do, by NVML's return code.
_ADVICE = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "there is no NVIDIA driver here: install it, or in a container, let it see the GPUs",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: load it (modprobe nvidia), or install it",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was changed while its older part is loaded: restart the machine",
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "this user may not do it: run it as root, or give the user the right (for MIG: the files in /dev/nvidia-caps)"
    ),
    pynvml.NVML_ERROR_GPU_IS_LOST: f"the GPU does not answer any more: {_REPLACE}",
    _GPU_NOT_FOUND: f"the GPU is not there any more: {_REPLACE}",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU must be reset first: end what uses it, then nvidia-smi --gpu-reset -i GPU",
    pynvml.NVML_ERROR_IN_USE: "something uses it: end that first",
    pynvml.NVML_ERROR_NOT_SUPPORTED: "this GPU or its driver cannot do it",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "the driver is too old for it: install a newer one",
    pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES: "the GPU has no room left for it at that place",
    pynvml.NVML_ERROR_TIMEOUT: f"the GPU did not answer in time: {_REPLACE}",
    pynvml.NVML_ERROR_UNKNOWN: _REPLACE,
}


class GpuDriverError(ExecutorError):
    """The driver refused or failed; code is NVML's return code."""

    def __init__(self, code: int, message: str) -> None:
        """Message: what was asked of which GPU, what the driver said, and what to do."""
        super().__init__(message)
        self.code = code


@contextmanager
def session() -> Iterator[None]:
    """The driver's library, open inside the body. Raises GpuDriverError where there is none.

    It is not kept open in between: whoever holds it keeps a GPU from being reset.
    """
    with asking("open the driver's library"):
        pynvml.nvmlInit()
    try:
        yield
    finally:
        # what was asked for has been told; that the library does not close changes none of it
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


@contextmanager
def asking(what: str, gpu: int | None = None) -> Iterator[None]:
    """Turns what the body's calls raise into GpuDriverError; what: the end of the sentence `cannot ...`, gpu: index of the GPU asked."""
    try:
        yield
    except pynvml.NVMLError as error:
        code = int(error.value)
        where = "" if gpu is None else f"GPU {gpu}: "
        advice = _ADVICE.get(code)
        raise GpuDriverError(code, f"{where}NVML cannot {what} ({error}){f'; {advice}' if advice else ''}") from None


def driver_answers() -> bool:
    """Whether NVML can be opened and shows a GPU."""
    try:
        with session():
            return gpu_count() > 0
    except GpuDriverError:
        return False


def gpu_count() -> int:
    """How many GPUs the driver shows; inside a session. Raises GpuDriverError."""
    with asking("count the GPUs"):
        return int(pynvml.nvmlDeviceGetCount())


def text_of(value: str | bytes) -> str:
    """What NVML calls a thing: older bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
