"""What the processes of one engine take of their host."""

from __future__ import annotations

# vLLM runs an API server, an engine core and one worker per GPU, each of which wants a core of its own.
CORES_PER_ENGINE = 2

# Host memory of one engine's processes: 1.6 GB measured for a CPU build with a tiny model in four processes, doubled for CUDA
# contexts and pinned buffers of each worker.
HOST_MEMORY_PER_PROCESS_MIB = 2048


def host_needs(gpus: int) -> tuple[int, int]:
    """Cores and MiB of host memory of one engine on so many GPUs.

    >>> host_needs(1)
    (3, 6144)
    """
    processes = CORES_PER_ENGINE + gpus
    return processes, processes * HOST_MEMORY_PER_PROCESS_MIB
