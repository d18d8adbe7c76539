"""Real GPUs of this machine, as the local backend needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pynvml

from executor.backends.protocol import GpuHolder, ObservedGpu
from executor.errors import ExecutorError, StateError
from executor.file_names import file_name
from executor.nvml.driver import GpuDriverError, gpu_count, session
from executor.nvml.gpu_readings import handle_of, mig_state, processes_on, uuid_of
from executor.nvml.mig_change import WantedInstance, layout_text, offer_for, set_layout
from executor.nvml.mig_geometry import instances, offers
from executor.state.folder import StateFolder
from planner.plan import GpuFacts, GpuPlan, MigPlace, NodePlan, Plan, Repartition, Replica, gpu_look_up
from profiles.catalogue import builtin
from profiles.engine_versions import MIG_BY_UUID, has
from profiles.gpu_types import GpuType

# Stands for the node of a GPU that no plan was applied to.
NO_NODE = "this-machine"


class NvmlDevices:
    """Implements executor.backends.protocol.Devices on the GPUs that the NVIDIA driver shows; a GPU of a node is the one of its index."""

    def __init__(self, folder: StateFolder) -> None:
        """The state folder says which GPU belongs to which node of the plan."""
        self._folder = folder
        self._types: dict[str, GpuType] = {}

    def create(self, nodes: tuple[NodePlan, ...], gpu_types: tuple[GpuFacts, ...] = ()) -> None:
        """Nothing is made: raises ExecutorError when a node has GPUs that are not there."""
        look_up = gpu_look_up(gpu_types, builtin().gpu)
        self._types |= {node.name: look_up(node.gpu_type) for node in nodes}
        with session():
            there = gpu_count()
        for node in nodes:
            if self._types[node.name].engine is None and node.gpu_count > there:
                raise ExecutorError(
                    f"node {node.name} has {node.gpu_count} GPUs in the plan, this machine has {there}; "
                    "`ullage discover` prints what the fleet file should say"
                )

    def refuse_divided(self, plan: Plan) -> None:
        """Raises ExecutorError where a replica is to have a whole GPU that is divided now, and the plan does not join it first."""
        changed = {(action.node, action.gpu) for action in plan.actions if isinstance(action, Repartition)}
        whole = [(item, index) for item in plan.started if item.mig is None for index in item.gpus if self._real(item.node)]
        with session():
            there = range(gpu_count())
            for replica, index in whole:
                if (replica.node, index) not in changed and index in there and mig_state(handle_of(index), index) == "on":
                    raise ExecutorError(
                        f"replica {replica.name}: GPU {index} of node {replica.node} is in MIG mode, and the plan uses it undivided: "
                        f"write mig: repartition or fixed in the pool, or switch it off with nvidia-smi -i {index} -mig 0"
                    )

    def refuse_without_uuids(self, plan: Plan) -> None:
        """Raises ExecutorError where engines are to share a GPU by MPS that cannot be told its UUID: a daemon counts GPUs otherwise."""
        for replica in plan.started:
            if replica.mode == "mps" and self._real(replica.node) and not has(replica.engine_version, MIG_BY_UUID):
                raise ExecutorError(
                    f"replica {replica.name}: vLLM {replica.engine_version} cannot be given its GPU by UUID, as engines that share one "
                    f"by MPS are: write {MIG_BY_UUID.first_version}.0 or newer, or take `mps` out of the pool's `sharing` and plan again"
                )

    def gpus(self) -> tuple[ObservedGpu, ...]:
        """Every GPU with the processes that hold its memory; a GPU whose node is not known stands under NO_NODE.

        One that is lost (fallen off the bus, or broken) is not among them: the others are still to be read. Raises ExecutorError.
        """
        owners = dict(self._owners())
        found = []
        with session():
            for index in range(gpu_count()):
                try:
                    found.append(self._gpu(index, owners.get(index, NO_NODE)))
                except GpuDriverError as error:
                    if error.code != pynvml.NVML_ERROR_GPU_IS_LOST:
                        raise
        return tuple(sorted(found, key=lambda gpu: (gpu.node, gpu.index)))

    def _gpu(self, index: int, node: str) -> ObservedGpu:
        handle = handle_of(index)
        memory_mib: dict[int, int] = {}
        for process in processes_on(handle, index, mig_state(handle, index)):
            memory_mib[process.pid] = memory_mib.get(process.pid, 0) + process.memory_mib
        # The driver tells neither who computes at this moment nor a sum of the time in which something did: its rates are of its
        # last sample, and there are none for divided GPUs.
        holders = tuple(GpuHolder(pid, mib, active=None) for pid, mib in sorted(memory_mib.items()))
        return ObservedGpu(file_name(node), index, holders, busy_s=None, mig_layout=self._mig_layout(node, index))

    def _mig_layout(self, node: str, index: int) -> tuple[MigPlace, ...] | None:
        """As the plan names it where it is the planned one, since names move with the driver; None for a GPU that no plan knows."""
        planned = self._planned(node, index)
        if planned is None:
            return None
        handle = handle_of(index)
        if mig_state(handle, index) != "on":
            return ()
        there = instances(handle, index)
        try:
            offered = offers(handle, index)
            wanted = {
                (offer_for(self._wanted(node, place.profile, place.start), offered, index).profile_id, place.start)
                for place in planned.mig_layout
            }
        except ExecutorError:
            # the driver has no such profile: then the layout is not the planned one
            wanted = set()
        if wanted == {(instance.profile_id, instance.start) for instance in there}:
            return planned.mig_layout
        return tuple(MigPlace(profile=instance.profile, start=instance.start) for instance in there)

    def over_commits(self) -> int | None:
        """None: the driver does not count them."""
        return None

    def repartition(self, action: Repartition) -> None:
        """Divide a GPU as the action says; raises ExecutorError, and then it is divided as before."""
        with session():
            set_layout(action.gpu, [self._wanted(action.node, place.profile, place.start) for place in action.layout])

    def visible(self, replica: Replica) -> dict[str, str]:
        """What a process must be given to see the replica's devices: CUDA_VISIBLE_DEVICES with the UUID of its MIG instance.

        For whole GPUs nothing, as their numbers are rendered; but beside a divided GPU CUDA counts otherwise, and engines that can take
        UUIDs get those; so do all that share by MPS, as their daemon does. Instances do not outlive a restart of the machine: where the
        GPU has none any more, those of the state are made again.
        Raises ExecutorError where the instance is not there.
        """
        if replica.mode == "mps" and self._real(replica.node):
            return {"CUDA_VISIBLE_DEVICES": _uuids(replica.gpus)}
        if replica.mig is None:
            return _beside_divided(replica.gpus) if has(replica.engine_version, MIG_BY_UUID) and self._real(replica.node) else {}
        index = replica.gpus[0]
        with session():
            uuid = self._uuid(replica)
            if uuid is None and not _layout_of(index):
                planned = self._planned(replica.node, index)
                if planned is not None:
                    places = [self._wanted(replica.node, place.profile, place.start) for place in planned.mig_layout]
                    set_layout(index, places)
                    uuid = self._uuid(replica)
            if uuid is None:
                raise ExecutorError(
                    f"GPU {index} of {replica.node} has no MIG instance {replica.mig.profile} at start slot {replica.mig.start}, "
                    f"it has {_layout_of(index) or 'none'}; `ullage destroy`, then plan and apply again"
                )
        return {"CUDA_VISIBLE_DEVICES": uuid}

    def _uuid(self, replica: Replica) -> str | None:
        assert replica.mig is not None
        index = replica.gpus[0]
        handle = handle_of(index)
        if mig_state(handle, index) != "on":
            return None
        offer = offer_for(self._wanted(replica.node, replica.mig.profile, replica.mig.start), offers(handle, index), index)
        places = {(instance.profile_id, instance.start): instance.uuid for instance in instances(handle, index)}
        return places.get((offer.profile_id, replica.mig.start))

    def _wanted(self, node: str, profile: str, start: int) -> WantedInstance:
        """A profile with what the node's GPU type knows of it; a node that `create` was not told of has names only."""
        profiles = self._types[node].mig_profiles if node in self._types else ()
        return WantedInstance(profile, start, next((kind for kind in profiles if kind.name == profile), None))

    def _real(self, node: str) -> bool:
        return node not in self._types or self._types[node].engine is None

    def _planned(self, node: str, index: int) -> GpuPlan | None:
        return next((gpu for gpu in self._known() if (gpu.node, gpu.index) == (node, index)), None)

    def _owners(self) -> Iterator[tuple[int, str]]:
        """Node by GPU index; where pools divide a machine, the last one wins: that which has replicas there, or memory that it may use."""
        for gpu in sorted(self._known(), key=lambda gpu: (bool(gpu.replicas), gpu.taken_mib < gpu.memory_mib)):
            yield gpu.index, gpu.node

    def _known(self) -> tuple[GpuPlan, ...]:
        """GPUs of the plans applied so far; none where the state cannot be read, which is told elsewhere."""
        try:
            return self._folder.load().gpus
        except StateError:
            return ()


def _uuids(gpus: tuple[int, ...]) -> str:
    with session():
        return ",".join(uuid_of(handle_of(index), index) for index in gpus)


def _beside_divided(gpus: tuple[int, ...]) -> dict[str, str]:
    """UUIDs of whole GPUs where another one of the machine is in MIG mode: CUDA numbers then leave out GPUs."""
    with session():
        handles = [handle_of(index) for index in range(gpu_count())]
        if not any(mig_state(handle, index) == "on" for index, handle in enumerate(handles)):
            return {}
        return {"CUDA_VISIBLE_DEVICES": ",".join(uuid_of(handles[index], index) for index in gpus)}


def _layout_of(index: int) -> str:
    """MIG instances of a GPU for people, empty where there is none."""
    handle = handle_of(index)
    found = instances(handle, index) if mig_state(handle, index) == "on" else ()
    return layout_text(found) if found else ""
