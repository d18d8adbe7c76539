"""This machine: its GPUs, how they are joined, and their host."""

from __future__ import annotations

from dataclasses import dataclass

from executor.errors import ExecutorError
from executor.nvml.driver import gpu_count, session
from executor.nvml.gpu_readings import NvmlGpu, read_gpu
from executor.nvml.gpu_speeds import GpuSpeeds, read_speeds
from executor.nvml.host_readings import HostReading, read_host
from executor.nvml.node_links import NodeLink, node_link


@dataclass(frozen=True, slots=True)
class MachineReading:
    """Everything that a pool of the fleet file says of a node; link is None where there is one GPU, speeds are in the order of gpus."""

    gpus: tuple[NvmlGpu, ...]
    speeds: tuple[GpuSpeeds, ...]
    link: NodeLink | None
    host: HostReading


def read_machine() -> MachineReading:
    """Read it all. Raises GpuDriverError where the driver does not answer, ExecutorError where it shows no GPU."""
    with session():
        count = gpu_count()
        if count == 0:
            raise ExecutorError("the NVIDIA driver answers, and shows no GPU; in a container, let it see the GPUs")
        gpus = tuple(read_gpu(index) for index in range(count))
        speeds = tuple(read_speeds(gpu.index, gpu.compute_capability) for gpu in gpus)
        # a divided GPU does not use its links
        link = None if any(gpu.mig == "on" for gpu in gpus) else node_link(count)
    return MachineReading(gpus, speeds, link, read_host())
