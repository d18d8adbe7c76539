"""Reading a fleet file: text in, a Fleet or every problem out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from planner.plan.local_paths import is_local
from planner.risk import Risk
from planner.rollout_rules import Rollout
from planner.spec.budget import budget_problems, disruption_budget
from planner.spec.declared import DeclaredFleet, DeclaredPolicy, DeclaredPool
from planner.spec.declared_model import DeclaredModel
from planner.spec.declared_workload import DeclaredWorkload
from planner.spec.demand_files import DemandFiles, Recorded
from planner.spec.errors import SpecError, SpecProblem
from planner.spec.field_types import Names
from planner.spec.fleet import Fleet, FleetPool, Model, Policy, Ports, RouterAddress, Workload
from planner.spec.goals import goal_tiers
from planner.spec.messages import Loc, problem_at, problems_of
from planner.spec.part import Declared
from planner.spec.pool_gpus import GpuFiles, resolve_gpu_types
from planner.spec.pools import check_size, resolve_pools
from planner.spec.pouring import poured
from planner.spec.prompt_splitting import check_splits
from planner.spec.served import check_blocks, check_mig, check_sleepers, local_config, resolve_models
from planner.spec.workloads import check_replicas, check_teams, check_together, resolve_neighbours, resolve_workloads
from planner.spec.yaml_tree import Node, decode, parse
from profiles.catalogue import Catalogue
from profiles.engine_versions import flags_caveat, stop_caveat
from profiles.fields import FieldError
from profiles.regular_files import read_regular
from profiles.store.canonical import canonical
from profiles.store.measurements import Measurements
from profiles.store.store_folder import Read, parse_file, store_files

_Part = TypeVar("_Part", bound=Declared)


def load_fleet(path: Path, text: str | bytes, catalogue: Catalogue, read: Read = read_regular) -> Fleet:
    """The fleet that text declares. path names it in errors and is where relative file names start from.

    read gives the bytes of traces and forecasts. Raises SpecError with every problem that can be found at once.
    """
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    root, problems = parse(str(path), decode(str(path), raw))
    return load_tree(path, root, hashlib.sha256(raw).hexdigest(), catalogue, read, problems)


def load_tree(
    path: Path, root: Node, own_hash: str, catalogue: Catalogue, read: Read = read_regular, problems: tuple[SpecProblem, ...] = ()
) -> Fleet:
    """As load_fleet(), of what was parsed before, with what was wrong with it; own_hash is kept as that of the file."""
    if not isinstance(root.value, dict):
        found = problem_at(str(path), root, (), "a fleet file is a mapping with schema_version, pools, models, workloads and policy")
        raise SpecError((*problems, found))
    loading = _Loading(path, root, catalogue, read)
    loading.problems.extend(problems)
    fleet = loading.fleet(own_hash)
    if loading.problems:
        raise SpecError(tuple(loading.problems))
    assert fleet is not None
    return fleet


class _Loading:
    """One load: the tree, what was found wrong, and the steps from the tree to the fleet."""

    def __init__(self, path: Path, root: Node, catalogue: Catalogue, read: Read) -> None:
        self.file = str(path)
        self.name = path.name
        self.folder = path.parent
        self.root = root
        self.catalogue = catalogue
        self.read = read
        self.problems: list[SpecProblem] = []
        self.warnings: list[str] = []
        self.hashes: dict[str, str] = {}

    def fleet(self, own_hash: str) -> Fleet | None:
        """The fleet, or None when there are problems: as many as can be found are collected all the same."""
        self.hashes[self.name] = own_hash
        raw = self.root.plain()
        models_named = (*self._names(raw, "models"), *_adapter_names(raw.get("models")))
        names = Names(self.catalogue, self._names(raw, "pools"), models_named, self._names(raw, "workloads"))
        self._validate(raw, names)
        declared_pools = self._valid(raw, "pools", DeclaredPool, names)
        gpu_files = GpuFiles(self.folder, self.read, self.hashes, self.problems)
        types = resolve_gpu_types(declared_pools, self.catalogue, gpu_files, self._report)
        pools = resolve_pools(declared_pools, types, self.catalogue, self._report, self._warn)
        declared_models = self._valid(raw, "models", DeclaredModel, names)
        models = resolve_models(declared_models, self.catalogue, self.folder, self._report)
        declared_workloads = self._valid(raw, "workloads", DeclaredWorkload, names)
        workloads = resolve_workloads(declared_workloads, models, self._recorded(raw), self._report, self._warn)
        workloads = resolve_neighbours(workloads, self._report)
        check_replicas(workloads, self._report)
        check_together(workloads, pools, names.models, self._report)
        check_splits(declared_workloads, workloads, names.models, self._report)
        check_size(pools, self._report)
        if len(pools) == len(names.pools):
            self._check_on_pools(models, workloads, pools)
        policy = self._policy(raw, names, pools)
        if policy is not None and policy.isolate_teams:
            check_teams(workloads, self._report)
        measurements = self._measurements(raw)
        self._hash_models(declared_models)
        self._warn_unused(models, workloads)
        self._warn_versions(models)
        if self.problems or policy is None:
            return None
        hashes = dict(sorted(self.hashes.items()))
        own = {
            types[name].name: types[name] for name, pool in declared_pools.items() if not isinstance(pool.gpu, str) or is_local(pool.gpu)
        }
        return Fleet(
            pools=pools,
            own_gpu_types=tuple(own[name] for name in sorted(own)),
            models=models,
            workloads=poured(workloads, pools),
            policy=policy,
            measurements=measurements,
            hashes=hashes,
            warnings=tuple(self.warnings),
        )

    def _check_on_pools(self, models: tuple[Model, ...], workloads: tuple[Workload, ...], pools: tuple[FleetPool, ...]) -> None:
        check_blocks(models, pools, self._report)
        check_sleepers(models, workloads, pools, self._report)
        check_mig(workloads, pools, self._report)

    def _report(self, loc: Loc, message: str) -> None:
        self.problems.append(problem_at(self.file, self.root, loc, message))

    def _warn(self, loc: Loc, message: str) -> None:
        place = problem_at(self.file, self.root, loc, message)
        self.warnings.append(f"{place.path}: {message}")

    def _names(self, raw: dict[str, Any], section: str) -> tuple[str, ...]:
        entries = raw.get(section)
        return tuple(entries) if isinstance(entries, dict) else ()

    def _validate(self, raw: dict[str, Any], names: Names) -> None:
        try:
            DeclaredFleet.model_validate(raw, context=names)
        except ValidationError as error:
            self.problems += problems_of(self.file, self.root, (), DeclaredFleet, error)

    def _valid(self, raw: dict[str, Any], section: str, part: type[_Part], names: Names) -> dict[str, _Part]:
        """The entries of a section that are right in themselves."""
        found: dict[str, _Part] = {}
        for name in self._names(raw, section):
            try:
                found[name] = part.model_validate(raw[section][name], context=names)
            except ValidationError:
                continue  # reported by _validate
        return found

    def _recorded(self, raw: dict[str, Any]) -> Recorded:
        """The traces and forecasts that demands name."""
        files = DemandFiles(self.folder, self.read, self.hashes, self._report)
        return Recorded(files.traces(raw), files.forecasts(raw))

    def _policy(self, raw: dict[str, Any], names: Names, pools: tuple[FleetPool, ...]) -> Policy | None:
        try:
            declared = DeclaredPolicy.model_validate(raw.get("policy", {}), context=names)
        except ValidationError:
            return None  # reported by _validate
        found = (*_policy_problems(declared, pools), *budget_problems(declared.disruption_budget, names.workloads))
        for loc, message in found:
            self._report(("policy", *loc), message)
        if found:
            return None
        return Policy(
            headroom_mib=declared.headroom_mib,
            risk=Risk(**declared.risk.model_dump()),
            burst_factor=declared.burst_factor,
            max_active_residents=declared.max_active_residents,
            strict=declared.strict,
            isolate_teams=declared.isolate_teams,
            cost_slack_fraction=declared.cost_slack_fraction,
            goals=goal_tiers(declared.goals),
            router=RouterAddress(host=declared.router.host, port=declared.router.port, admin_port=declared.router.admin_port),
            ports=Ports(start=declared.ports.start, end=declared.ports.end),
            disruption_budget=disruption_budget(declared.disruption_budget),
            bursts=tuple(sorted(set(declared.bursts))),
            rollout=Rollout(canary_fraction=declared.rollout.canary_fraction, window_s=declared.rollout.window_s),
        )

    def _measurements(self, raw: dict[str, Any]) -> Measurements:
        """The points of the store that is named; what is wrong with it is reported, file by file."""
        name = raw.get("measurements")
        found = Measurements()
        if not isinstance(name, str) or not name:
            return found  # not named, or reported by _validate
        folder = self.folder / name
        try:
            files = store_files(folder)
        except FieldError as error:
            self._report(("measurements",), str(error))
            return found
        for path in files:
            try:
                content = self.read(path)
                found += parse_file(str(path), content)
                self.hashes[(Path(name) / path.relative_to(folder)).as_posix()] = hashlib.sha256(content).hexdigest()
            except (OSError, ValueError) as error:
                self._report(("measurements",), _reason(path, error))
        return canonical(found, self.catalogue)

    def _hash_models(self, declared: Mapping[str, DeclaredModel]) -> None:
        for model in declared.values():
            if is_local(model.source):
                try:
                    self.hashes[model.source] = hashlib.sha256(self.read(local_config(model.source, self.folder))).hexdigest()
                except (OSError, ValueError):
                    continue  # reported when the architecture was read

    def _warn_unused(self, models: tuple[Model, ...], workloads: tuple[Workload, ...]) -> None:
        used = {workload.model.name for workload in workloads}
        for model in models:
            if model.name not in used:
                self._warn(("models", model.name), "no workload uses this model; it is not served")

    def _warn_versions(self, models: tuple[Model, ...]) -> None:
        for model in models:
            for caveat in (flags_caveat(model.engine_version), stop_caveat(model.engine_version)):
                if caveat is not None:
                    self._warn(("models", model.name, "engine_version"), caveat)


def _adapter_names(models: object) -> Iterator[str]:
    """Names of adapters, as far as the section looks like models."""
    for model in models.values() if isinstance(models, dict) else ():
        adapters = model.get("adapters") if isinstance(model, dict) else None
        yield from adapters if isinstance(adapters, dict) else ()


def _reason(path: Path, error: OSError | ValueError) -> str:
    return f"{path}: cannot be read: {error.strerror or error}" if isinstance(error, OSError) else str(error)


def _child(node: Node | None, key: str) -> Node | None:
    return node.value.get(key) if node is not None and isinstance(node.value, dict) else None


def _children(node: Node | None) -> tuple[str, ...]:
    return tuple(node.value) if node is not None and isinstance(node.value, dict) else ()


def _policy_problems(policy: DeclaredPolicy, pools: tuple[FleetPool, ...]) -> Iterator[tuple[Loc, str]]:
    ports, router = policy.ports, policy.router
    try:
        goal_tiers(policy.goals)
    except ValueError as error:
        yield ("goals",), str(error)
    if ports.end < ports.start:
        yield ("ports", "end"), f"{ports.end} is before the start {ports.start}"
    for field, port in (("port", router.port), ("admin_port", router.admin_port)):
        if ports.start <= port <= ports.end:
            yield ("router", field), f"{port} lies among the ports for engines, {ports.start} to {ports.end}; choose another"
    if router.port == router.admin_port:
        yield ("router", "admin_port"), f"{router.admin_port} is the router's port for requests already; choose another"
    for pool in pools:
        if policy.headroom_mib >= pool.gpu.memory_usable_mib:
            yield ("headroom",), f"{policy.headroom_mib} MiB leave nothing of the {pool.gpu.memory_usable_mib} MiB of {pool.gpu.name}"
