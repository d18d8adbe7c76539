"""A fleet as it is declared: read from a file or made from values, changed by path, and resolved into what the planner sees."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from planner.demand.scaled import scaled
from planner.spec import Fleet, SpecProblem, load_tree
from planner.spec.edits import multiplied, node_of, product, times, value_at, with_value
from planner.spec.paths import FieldPath, joined, resolve
from planner.spec.yaml_tree import Node, decode, parse
from profiles.catalogue import builtin
from profiles.regular_files import read_regular
from profiles.store.store_folder import Read
from ullage.inputs import check_target, read_bytes, refuse_unknown_flags, write_text

# Forms of demand whose rates stand in another file.
_FROM_FILES = ("trace", "forecast")

# What a fleet that is in no file is called in errors and plans.
UNSAVED = Path("fleet")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FleetSpec:
    """A declared fleet; nothing in it ever changes: set() gives a changed copy. Two are equal that declare the same under one path.

    path names it in errors, and relative file names start from its folder. own_hash is that of the file; None of what is in no file as it
    is. factors multiply the demand of workloads whose demand is a trace or a forecast.
    """

    path: Path
    root: Node
    own_hash: str | None
    problems: tuple[SpecProblem, ...] = ()
    factors: tuple[tuple[str, Fraction], ...] = ()

    def set(self, path: str, value: object) -> FleetSpec:
        """A copy with another value at a path; PathError names the nearest spelling.

        A text "x1.5" multiplies what stands there, also the rate of a demand of another form. None leaves the field out, so that its
        default counts. What is wrong with a value is said when the fleet is planned, under the same path.

        >>> import ullage
        >>> fleet = ullage.fleet({"pools": {"h100": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 2}}})
        >>> fleet.set("pools.h100.nodes", 3).get("pools.h100.nodes")
        '3'
        """
        steps, factor = resolve(self.root, path, new=value is not None), times(value)
        if factor is not None:
            return self._times(path, steps, factor)
        node = None if value is None else node_of(value)
        factors = tuple(item for item in self.factors if not _replaces_file(steps, item[0]))
        return replace(self, root=with_value(self.root, steps, node), own_hash=None, factors=factors)

    def get(self, path: str) -> Any:  # noqa: ANN401 -- texts, lists and mappings as the file says them
        """What the fleet says at a path, as text, list or mapping; None where it says nothing and the default counts."""
        found = value_at(self.root, resolve(self.root, path, new=False))
        return None if found is None else found.plain()

    def resolved(self, read: Read = read_regular) -> Fleet:
        """The fleet as the planner sees it; SpecError and ValueError name every field that is wrong. read gives other files' bytes."""
        fleet = load_tree(self.path, self.root, self._hash(), builtin(), read, self.problems)
        refuse_unknown_flags(self.path, fleet)
        return scaled(fleet, {name: float(factor) for name, factor in self.factors}) if self.factors else fleet

    def save(self, path: str | Path) -> Path:
        """Write the fleet as YAML, without the comments of the file that it was read from. Relative names start from the new folder."""
        if self.factors:
            names = ", ".join(name for name, _ in self.factors)
            raise ValueError(
                f"{path}: the demand of {names} is that of a file times a factor, which a fleet file cannot say; a trace has repeat_rate"
            )
        check_target(Path(path))
        write_text(Path(path), yaml.safe_dump(self.root.plain(), sort_keys=False, allow_unicode=True, width=120))
        return Path(path)

    def document(self) -> dict[str, Any]:
        """What makes up the fleet, as plain values; the lines of the file are not kept."""
        factors = {name: str(factor) for name, factor in self.factors}
        return {"path": str(self.path), "declared": self.root.plain(), "own_hash": self.own_hash, "factors": factors}

    def names(self, section: str) -> tuple[str, ...]:
        """The names of the entries under pools, models or workloads."""
        found = value_at(self.root, (section,))
        return tuple(found.value) if found is not None and isinstance(found.value, Mapping) else ()

    def __eq__(self, other: object) -> bool:
        """Whether both declare the same, wherever it stands in their files."""
        return self._said() == other._said() if isinstance(other, FleetSpec) else NotImplemented

    def __hash__(self) -> int:
        """That of all that is declared."""
        return hash(json.dumps(self._said(), sort_keys=True))

    def __repr__(self) -> str:
        """The name and how much there is."""
        counts = ", ".join(f"{len(self.names(section))} {section}" for section in ("pools", "models", "workloads"))
        return f"FleetSpec({str(self.path)!r}: {counts})"

    def _times(self, path: str, steps: FieldPath, factor: Fraction) -> FleetSpec:
        if steps[:1] == ("workloads",) and steps[2:] == ("demand", "rate"):
            return self._demand_times(str(steps[1]), factor)
        text = value_at(self.root, steps)
        default = self._default(steps) if text is None or text.value is None else None
        return replace(self, root=multiplied(self.root, path, factor, default), own_hash=None)

    def _demand_times(self, workload: str, factor: Fraction) -> FleetSpec:
        """More or less of a demand in whichever of its five forms."""
        place: FieldPath = ("workloads", workload, "demand")
        windows = value_at(self.root, (*place, "windows"))
        if any(value_at(self.root, (*place, form)) is not None for form in _FROM_FILES):
            before = dict(self.factors)
            return replace(
                self, own_hash=None, factors=tuple(sorted({**before, workload: before.get(workload, Fraction(1)) * factor}.items()))
            )
        if windows is None or not isinstance(windows.value, tuple):
            field = "rate" if value_at(self.root, (*place, "requests")) is None else "requests"
            return replace(self, root=multiplied(self.root, joined((*place, field)), factor), own_hash=None)
        root = self.root
        for index in range(len(windows.value)):
            rate = value_at(root, (*place, "windows", index, "rate"))
            if rate is not None and isinstance(rate.value, str):
                root = with_value(root, (*place, "windows", index, "rate"), node_of(product(rate.value, factor)))
        return replace(self, root=root, own_hash=None)

    def _default(self, steps: FieldPath) -> str | None:
        """What counts for prices and goals that the file does not say."""
        known: dict[str, Callable[[Fleet, str], str]] = {
            "price": lambda fleet, name: f"{next(pool for pool in fleet.pools if pool.name == name).price_usd_per_h:.12g} USD/h",
            "ttft_p95": lambda fleet, name: f"{next(item for item in fleet.workloads if item.name == name).ttft_p95_s:.12g}s",
            "tpot_p95": lambda fleet, name: f"{next(item for item in fleet.workloads if item.name == name).tpot_p95_s:.12g}s",
        }
        field = str(steps[-1])
        return known[field](self.resolved(), str(steps[1])) if field in known else None

    def _hash(self) -> str:
        if self.own_hash is not None:
            return self.own_hash
        return hashlib.sha256(json.dumps(self._said()[1:], sort_keys=True).encode()).hexdigest()

    def _said(self) -> list[Any]:
        """All that is declared, and where files are found from."""
        return [str(self.path), self.root.plain(), [[name, str(factor)] for name, factor in self.factors]]


def _replaces_file(steps: FieldPath, workload: str) -> bool:
    """Whether a field holds the trace or forecast of a workload's demand: what it is multiplied by goes with it."""
    files: list[FieldPath] = [("workloads", workload, "demand", form) for form in _FROM_FILES]
    return any(file[: len(steps)] == steps for file in files)


def spec_of_document(document: Mapping[str, Any]) -> FleetSpec:
    """The fleet of its document()."""
    factors = tuple((name, Fraction(text)) for name, text in document["factors"].items())
    return FleetSpec(Path(document["path"]), node_of(document["declared"]), document["own_hash"], factors=factors)


def load(path: str | Path) -> FleetSpec:
    """The fleet of a fleet file; ValueError names what is wrong with it, all at once.

    >>> import ullage
    >>> ullage.load("fleet.yaml")
    FleetSpec('fleet.yaml': 1 pools, 3 models, 3 workloads)
    """
    raw = read_bytes(Path(path), "`ullage init` writes a starter")
    root, problems = parse(str(path), decode(str(path), raw))
    spec = FleetSpec(Path(path), root, hashlib.sha256(raw).hexdigest(), problems)
    spec.resolved()
    return spec


def fleet(declared: Mapping[str, object], folder: str | Path = ".") -> FleetSpec:
    """A fleet of nested dicts and lists in the form of a fleet file; schema_version may be left out. folder is where file names start from.

    What is wrong with it is said when it is planned, or by resolved().

    >>> import ullage
    >>> ullage.fleet({"pools": {"h100": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 2}}})
    FleetSpec('fleet': 1 pools, 0 models, 0 workloads)
    """
    return FleetSpec(Path(folder) / UNSAVED, node_of({"schema_version": 1, **declared}), None)
