"""Emulated GPUs of a state folder, as the local backend needs them."""

from __future__ import annotations

import shutil

from executor.backends.protocol import GpuHolder, ObservedGpu
from executor.emulator import devices
from executor.emulator.devices import GpuReading
from executor.emulator.gpu_file import DeviceError
from executor.emulator.node_gpus import node_gpu_type
from executor.errors import ExecutorError
from executor.state.folder import StateFolder
from planner.plan import GpuFacts, MigPlace, NodePlan, Repartition
from profiles.gpu_types import GpuType


def gpu_busy_s(gpu: GpuReading, gpu_type: GpuType) -> float:
    """Seconds of work of a whole GPU's compute: MIG instances count by their part of its compute slices."""
    slices = {profile.name: profile.compute_slices / gpu_type.mig_compute_slices for profile in gpu_type.mig_profiles}
    return sum(slices.get(instance.profile, 1.0) * instance.busy_s for instance in gpu.instances)


class EmulatedDevices:
    """Implements executor.backends.protocol.Devices on the nodes/ folder."""

    def __init__(self, folder: StateFolder) -> None:
        """Nodes are made by `create`."""
        self._folder = folder

    def create(self, nodes: tuple[NodePlan, ...], gpu_types: tuple[GpuFacts, ...] = ()) -> None:
        """Make nodes that are missing, anew when an idle one had other GPUs. Raises ExecutorError when one with other GPUs is in use."""
        declared = {facts.name: facts for facts in gpu_types}
        for node in nodes:
            own = declared.get(node.gpu_type)
            path = self._folder.node(node.name)
            try:
                devices.create_node(path, node.gpu_type, node.gpu_count, own=own)
            except OSError as error:
                raise ExecutorError(f"emulated devices: {path}: cannot be written: {error.strerror or error}") from error
            except (DeviceError, ValueError) as error:
                if devices.count_gpus(path) == 0 or any(gpu.residents for gpu in devices.read_node(path).gpus):
                    raise ExecutorError(f"emulated devices: {error}; `ullage destroy` ends what runs there") from error
                shutil.rmtree(path)
                devices.create_node(path, node.gpu_type, node.gpu_count, own=own)

    def gpus(self) -> tuple[ObservedGpu, ...]:
        """Every emulated GPU; nodes are named as their folders. Raises ExecutorError."""
        return tuple(
            ObservedGpu(
                node=node,
                index=gpu.index,
                holders=tuple(GpuHolder(resident.pid, resident.memory_mib, resident.active) for resident in gpu.residents),
                busy_s=gpu_busy_s(gpu, node_gpu_type(self._folder.nodes / node, gpu.gpu_type)),
                mig_layout=tuple(MigPlace(profile=part.profile, start=part.start) for part in gpu.instances if part.profile),
                memory_mib=gpu.total_mib,
            )
            for node, reading in self.readings().items()
            for gpu in reading.gpus
        )

    def over_commits(self) -> int | None:
        """Times that an emulated GPU was asked for more memory than it has. Raises ExecutorError."""
        readings = self.readings()
        return sum(reading.over_commits for reading in readings.values()) if readings else None

    def readings(self) -> dict[str, devices.NodeReading]:
        """Each node's devices by the name of its folder, sorted. Raises ExecutorError when a device file cannot be read."""
        folders = sorted(path for path in self._folder.nodes.glob("*") if devices.count_gpus(path)) if self._folder.nodes.exists() else []
        try:
            return {path.name: devices.read_node(path) for path in folders}
        except (DeviceError, OSError) as error:
            raise ExecutorError(f"emulated devices: {error}") from error

    def repartition(self, action: Repartition) -> None:
        """Set a GPU's layout; raises ExecutorError while something lives on it or the layout is not legal."""
        layout = [(place.profile, place.start) for place in action.layout]
        try:
            devices.repartition(self._folder.node(action.node), action.gpu, layout)
        except DeviceError as error:
            raise ExecutorError(str(error)) from error
