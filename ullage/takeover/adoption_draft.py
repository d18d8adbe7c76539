"""Which server becomes which replica: the proposal of an adoption, from a fleet, a state and what runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from executor import ports
from executor.backends.engine_kinds import OpenBackend
from executor.errors import ExecutorError
from executor.hand_started.adoption import AdoptedServer, AdoptionProposal, why_not_adopted
from executor.hand_started.found_servers import FoundServer
from executor.processes import proc
from executor.processes.table import ProcessTable, members
from executor.state.folder import StateFolder
from planner.assembly.assemble import hosts_of
from planner.assembly.gpus import build_gpus
from planner.assembly.naming import PortsExhaustedError
from planner.hosts import address_of, is_everywhere
from planner.plan import Ledger, NodePlan, Prior, Replica, ReplicaForecast, State, state_hash
from planner.plan.local_paths import is_local, located
from planner.routes import routes_for
from planner.sizing.groups import ServiceGroup, service_groups
from planner.spec import Fleet
from planner.transitions.transition import same_engine
from profiles.catalogue import UnknownNameError, builtin
from profiles.gpu_types import GpuType, settings_on
from profiles.memory.ledger import MemoryLedger, memory_ledger
from profiles.memory.lifecycle import start_s
from profiles.settings import UnsupportedError
from renderers.manifest import RenderError
from ullage.planning.plan import plan_fleet
from ullage.takeover.real_args import NotAdoptedError, differences, real_args

# the lowest that a plan has (planner.plan.bounds)
_LOWEST_PORT = 1024
_NO_FORECAST = ReplicaForecast(ttft_s=0.0, tpot_s=0.0, busy_fraction=0.0, running_requests=0.0, kv_fraction=0.0)


@dataclass(frozen=True, slots=True)
class _Match:
    server: FoundServer
    replica: Replica
    assumed: list[str]


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adoption starts from; folder is that of the fleet file, state_dir holds the records."""

    fleet: Fleet
    folder: Path
    state: State
    state_dir: Path
    open_backend: OpenBackend

    def proposal(self, servers: Sequence[FoundServer]) -> AdoptionProposal:
        """Everything that adoption would write; changes nothing."""
        store = StateFolder(self.state_dir)
        backend = self.open_backend(store, self.folder)
        recorded = {pid for record in ProcessTable(store.processes, store.logs).records() for pid in members(record)}
        matches: list[_Match] = []
        refused: list[str] = []
        for server in servers:
            if server.engine.pid in recorded:
                continue
            try:
                match = self._match(server, matches, sum(other.answers.names == server.answers.names for other in servers))
                backend.wanted_hash(match.replica)
                matches.append(match)
            except (NotAdoptedError, RenderError, ExecutorError, UnsupportedError, ValueError) as error:
                refused.append(f"process {server.engine.pid} on port {server.engine.command.port}: {error}")
        return self._proposal([_with_mode(match, matches) for match in matches], refused)

    def _proposal(self, matches: Sequence[_Match], refused: Sequence[str]) -> AdoptionProposal:
        nodes = self._nodes()
        replicas = (*self.state.replicas, *(match.replica for match in matches))
        kept = self._kept(nodes, replicas) if matches else {}
        replicas = tuple(kept.get(replica.name, replica) for replica in replicas)
        return AdoptionProposal(
            prior=Prior(serial=self.state.serial, state_hash=state_hash(self.state)),
            nodes=tuple(nodes.values()),
            gpus=self._trial(nodes, replicas).gpus,
            servers=tuple(_adopted(match, kept.get(match.replica.name)) for match in matches),
            refused=tuple(refused),
        )

    def _nodes(self) -> dict[str, NodePlan]:
        found = {node.name: node for node in self.state.nodes}
        return found | {node.name: node for nodes in hosts_of(self.fleet).nodes.values() for node in nodes}

    def _trial(self, nodes: Mapping[str, NodePlan], replicas: Sequence[Replica]) -> State:
        """The state as it would be."""
        pools = {pool.name: pool for pool in self.fleet.pools}
        own = [node for node in nodes.values() if node.pool in pools]
        gpus = build_gpus(own, pools, replicas, self.fleet.policy.headroom_mib, self.state)
        others = tuple(gpu for gpu in self.state.gpus if gpu.pool not in pools)
        changes = {"nodes": tuple(nodes.values()), "gpus": (*others, *gpus), "replicas": tuple(replicas), "routes": routes_for(replicas)}
        return self.state.model_copy(update=changes)

    def _kept(self, nodes: Mapping[str, NodePlan], replicas: Sequence[Replica]) -> dict[str, Replica]:
        """Replicas that the next plan keeps as they run, with what it expects of them; the plan is made as `ullage plan` makes it."""
        trial = self._trial(nodes, replicas)
        try:
            planned = {replica.name: replica for replica in plan_fleet(self.fleet, trial, verify=True).plan.desired.replicas}
        except PortsExhaustedError:
            return {}
        old = {replica.name for replica in self.state.replicas}
        return {
            replica.name: planned[replica.name]
            for replica in replicas
            if replica.name not in old and same_engine(planned.get(replica.name), replica)
        }

    def _match(self, server: FoundServer, others: Sequence[_Match], alike: int) -> _Match:
        """The replica that a server becomes, which is one of so many of its name. Raises NotAdoptedError."""
        gpus = _checked(server)
        group = self._group(server)
        node = self._node(gpus, server.engine.command.host)
        gpu = next(pool.gpu for pool in self.fleet.pools if pool.name == node.pool)
        args, assumed = real_args(server, group.model, group.name, node.host, gpu, self.folder)
        if args.tensor_parallel_size != len(gpus):
            raise NotAdoptedError(f"it uses {len(gpus)} GPUs with --tensor-parallel-size {args.tensor_parallel_size}, which no plan does")
        version = server.answers.version or group.model.engine_version
        settings, architecture = settings_on(gpu, args.settings(version)), group.model.architecture
        rate_rps = group.peak_rps / max(1, alike)
        used = {replica.name for replica in (*self.state.replicas, *(other.replica for other in others))}
        replica = Replica(
            name=next(name for number in count() if (name := f"{group.name}-{number}") not in used),
            served_name=group.name,
            catalogue_model=group.model.engine_model if is_local(group.model.engine_model) else architecture.name,
            pool=node.pool,
            node=node.name,
            host=node.host,
            gpus=gpus,
            mode="tensor_parallel" if len(gpus) > 1 else "exclusive",
            engine_version=version,
            args=args,
            ledger=_ledger(memory_ledger(architecture, gpu, settings, args.kv_cache_memory_bytes)),
            capacity_rps=rate_rps,
            planned_rps=rate_rps,
            forecast=_NO_FORECAST,
            start_s=start_s(architecture, gpu, settings),
        )
        return _Match(server, replica, assumed)

    def _group(self, server: FoundServer) -> ServiceGroup:
        """The model of the fleet that clients name as they name this server, and that is the same one."""
        names = server.answers.names or ()
        group = next((group for group in service_groups(self.fleet) if group.name in names), None)
        if group is None:
            raise NotAdoptedError(f"no workload of the fleet file is served under {' or '.join(names)}, as clients name it")
        model, wanted = server.engine.command.model, group.model.engine_model
        if model is None or not self._same_model(model, wanted, server.engine.folder):
            raise NotAdoptedError(f"it serves {model or 'a model that is not told'}; {group.name} of the fleet file is {wanted}")
        return group

    def _same_model(self, model: str, wanted: str, start: Path | None) -> bool:
        if is_local(wanted):
            return ((start or Path("/")) / model).resolve() == located(wanted, self.folder)
        try:
            return model == wanted or builtin().model_id(model) == wanted
        except UnknownNameError:
            return False

    def _node(self, gpus: tuple[int, ...], host: str) -> NodePlan:
        """The first node of this machine that has these GPUs for itself."""
        pools = {pool.name: pool for pool in self.fleet.pools}
        for node in self._nodes().values():
            pool = pools.get(node.pool)
            if pool is None or pool.mig != "off" or ports.obstacle(node.host, 0) is not None:
                continue
            if not _reaches(host, node.host):
                continue
            # of GPUs that others use in part the plan uses the rest
            taken = {item.gpu for item in pool.taken if f"{pool.name}-{item.node}" == node.name and _whole(item.memory_mib, pool.gpu)}
            if all(gpu < node.gpu_count and gpu not in taken for gpu in gpus):
                return node
        shown = ", ".join(map(str, gpus))
        raise NotAdoptedError(f"no undivided node of the fleet file that is this machine and answers on {host} has GPU {shown} to itself")


def _checked(server: FoundServer) -> tuple[int, ...]:
    """The GPUs of a server that can be adopted; NotAdoptedError for others."""
    why = why_not_adopted(server.engine.pid)
    if why is None and not server.answers.names:
        why = server.answers.trouble or "it does not answer"
    if why is None and server.engine.command.port < _LOWEST_PORT:
        why = f"plans have no ports below {_LOWEST_PORT}"
    if why is not None:
        raise NotAdoptedError(why)
    if not server.gpus:
        raise NotAdoptedError(next((line for line in server.unknown if line.startswith("GPUs")), "it uses no GPU"))
    return server.gpus


def _ledger(predicted: MemoryLedger) -> Ledger:
    return Ledger(
        weights_mib=predicted.weights_mib,
        activation_mib=predicted.activation_mib,
        cuda_graphs_mib=predicted.cuda_graphs_mib,
        context_mib=predicted.context_mib,
        kv_mib=predicted.kv_mib,
        total_mib=predicted.total_mib,
        start_peak_mib=predicted.start_peak_mib,
    )


def _whole(taken_mib: int, gpu: GpuType) -> bool:
    return taken_mib >= gpu.memory_usable_mib


def _reaches(listening: str, host: str) -> bool:
    """Whether a server that listens on one address answers on the other."""
    return is_everywhere(listening) or address_of(listening) == address_of(host)


def _with_mode(match: _Match, matches: Sequence[_Match]) -> _Match:
    """Engines that share a GPU are time-shared."""
    residents = Counter(gpu for other in matches for gpu in other.replica.gpus)
    most = max(residents[gpu] for gpu in match.replica.gpus)
    if most < 2 or match.replica.mode != "exclusive":
        return match
    changes = {"mode": "time_shared", "max_residents": most, "active_limit": float(most), "active_at_worst": most}
    return _Match(match.server, match.replica.model_copy(update=changes), match.assumed)


def _adopted(match: _Match, kept: Replica | None) -> AdoptedServer:
    process = match.server.engine.process
    replica = kept or match.replica
    return AdoptedServer(
        replica=replica,
        pid=process.pid,
        start_ticks=process.start_ticks,
        boot_id=proc.boot_id(),
        argv=tuple(_words(match.server)),
        differences=(*differences(match.server, replica, match.assumed), *_strangers(match.server)),
        kept=kept is not None,
    )


def _words(server: FoundServer) -> Iterator[str]:
    command = server.engine.command
    yield from ("vllm", "serve", *((command.model,) if command.model else ()))
    for flag in command.flags:
        yield from (f"--{'' if flag.on else 'no-'}{flag.name}", *flag.values)


def _strangers(server: FoundServer) -> Iterator[str]:
    """Processes that a stop would end with it."""
    pid = server.engine.pid
    beside = {*proc.session_members(pid), *proc.group_members(pid)} - set(server.engine.family)
    if beside:
        yield f"processes {', '.join(map(str, sorted(beside)))} are in its process group or session, and would be stopped with it"
