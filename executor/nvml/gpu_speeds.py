"""How fast a GPU is by what its driver tells: for types that no data sheet is at hand for. Needs an open session (executor.nvml.driver)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pynvml

from executor.nvml.driver import GpuDriverError, asking
from executor.nvml.gpu_readings import handle_of

# Dense bf16 operations per clock of one streaming multiprocessor, and its CUDA cores, by compute capability: data-sheet TFLOP/s over
# multiprocessors and boost clock; general knowledge, not re-checked here. A capability between two counts as the older one.
_PER_SM = (
    ((7, 0), 1024, 64),
    ((8, 0), 2048, 64),
    ((8, 6), 1024, 128),
    ((9, 0), 4096, 128),
    ((10, 0), 8192, 128),
    ((12, 0), 1024, 128),
)


@dataclass(frozen=True, slots=True)
class GpuSpeeds:
    """Speeds of a GPU; None where the driver does not tell what they follow from. bf16_tflops are dense, at the highest clock."""

    memory_bandwidth_gb_per_s: float | None
    bf16_tflops: float | None
    sm_count: int | None


def read_speeds(index: int, compute_capability: str) -> GpuSpeeds:
    """Speeds from bus width, clocks and cores. Raises GpuDriverError."""
    handle = handle_of(index)
    bus_bits = _told(index, lambda: pynvml.nvmlDeviceGetMemoryBusWidth(handle))
    memory_mhz = _told(index, lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM))
    sm_mhz = _told(index, lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM))
    cores = _told(index, lambda: pynvml.nvmlDeviceGetNumGpuCores(handle))
    major, _, minor = compute_capability.partition(".")
    known = [row for row in _PER_SM if row[0] <= (int(major), int(minor))]
    if not known or cores is None:
        return GpuSpeeds(_bandwidth_gb_per_s(bus_bits, memory_mhz), None, None)
    _, operations, cores_per_sm = known[-1]
    sm_count = cores // cores_per_sm
    tflops = None if sm_mhz is None else sm_count * operations * sm_mhz / 1e6
    return GpuSpeeds(_bandwidth_gb_per_s(bus_bits, memory_mhz), tflops, sm_count)


def _bandwidth_gb_per_s(bus_bits: int | None, memory_mhz: int | None) -> float | None:
    """Memory moves two words of the bus per clock that NVML tells."""
    return None if bus_bits is None or memory_mhz is None else bus_bits / 8 * 2 * memory_mhz / 1e3


def _told(index: int, ask: Callable[[], object]) -> int | None:
    try:
        with asking("read its clocks and widths", index):
            return int(str(ask())) or None
    except GpuDriverError as error:
        if error.code in {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_PERMISSION}:
            return None
        raise
