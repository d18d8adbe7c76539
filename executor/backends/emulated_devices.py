"""Emulated GPUs of a state folder, as the local backend needs them."""

from __future__ import annotations

import shutil

from executor.emulator import devices
from executor.emulator.gpu_file import DeviceError
from executor.errors import ExecutorError
from executor.state.folder import StateFolder
from planner.plan import GpuFacts, NodePlan, Repartition


class EmulatedDevices:
    """Implements executor.backends.local.Devices on the nodes/ folder."""

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

    def residents(self) -> frozenset[int]:
        """Processes that hold memory on any emulated GPU."""
        return frozenset(resident.pid for reading in self.readings().values() for gpu in reading.gpus for resident in gpu.residents)

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
