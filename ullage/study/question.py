"""What is to be solved: a fleet, what runs, the settings and scenarios, and how each is planned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from planner.plan import State
from planner.spec.paths import FieldPath, resolve
from ullage.fleet_spec import FleetSpec, spec_of_document
from ullage.plugins import SOLVERS, load
from ullage.study.scenarios import BASE, MOST_SCENARIOS, Scenario, count_of, grid
from ullage.study.solve import QUICKLY, ScenarioSolver, StudyOptions

# Fields that may name a file or folder; lists and mappings may hold such fields.
_NAMES_FILES = frozenset({"trace", "source", "gpu", "measurements"})


@dataclass(frozen=True, slots=True)
class StudyQuestion:
    """A study before it is solved: all combinations of the settings, and the named scenarios.

    ValueError when a path names nothing, when there is nothing to vary, or when there are too many scenarios.
    """

    spec: FleetSpec
    settings: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    named: tuple[Scenario, ...] = ()
    state: State = field(default_factory=State)
    options: StudyOptions = QUICKLY

    def __post_init__(self) -> None:
        """Refuse what could never be solved, before anything is."""
        load("solvers", SOLVERS, self.options.solver)
        self._check_paths()
        if not self.settings and not self.named:
            raise ValueError("a study varies something: give --set PATH=VALUES, --scenario KIND=VALUE or --file")
        if self.total > MOST_SCENARIOS:
            raise ValueError(f"these are {self.total} scenarios; at most {MOST_SCENARIOS} are solved: give fewer values")
        names = [scenario.name for scenario in self.named]
        taken = {BASE, *(scenario.name for scenario in grid(self.settings))} if names else {BASE}
        twice = sorted({name for name in names if names.count(name) > 1 or name in taken})
        if twice:
            raise ValueError(f"two scenarios are called {twice[0]!r}; give each a name of its own")

    def _check_paths(self) -> None:
        """Each path names a field, and no setting would undo an earlier one."""
        before: dict[FieldPath, str] = {}
        for path in self.settings:
            steps = resolve(self.spec.root, path)
            undone = next((other for known, other in before.items() if known[: len(steps)] == steps), None)
            if undone is not None:
                raise ValueError(f"{path} would undo {undone}, which is set before it; give one of them, or {path} first")
            before[steps] = path

    @property
    def total(self) -> int:
        """Scenarios to solve, the fleet as declared among them."""
        return 1 + count_of(self.settings) + len(self.named)

    def scenarios(self) -> Iterator[Scenario]:
        """All but the fleet as declared, in an order in which neighbours are alike."""
        first = 1 + count_of(self.settings)
        numbered = (replace(scenario, order=first + place) for place, scenario in enumerate(self.named))
        return chain(grid(self.settings), numbered)

    def solver(self) -> ScenarioSolver:
        """What solves the scenarios, one after the other."""
        return ScenarioSolver(self.spec, self.state, self.options)

    def document(self) -> dict[str, Any]:
        """What a process of its own needs to solve scenarios."""
        options = {"solver": self.options.solver, "time_limit_s": self.options.time_limit_s, "verify": self.options.verify}
        return {"fleet": self.spec.document(), "state": self.state.model_dump(mode="json"), "options": options}

    def keys(self, version: str) -> Callable[[Scenario], str]:
        """Names answers to scenarios: the same key, the same question to the same version of ullage."""
        hashes = self.input_hashes()
        common = json.dumps([self.document(), hashes, version], sort_keys=True).encode()
        # a fleet that cannot be read as a whole: only each scenario's tells which files there are
        broken = set(hashes) == {str(self.spec.path)}

        def key(scenario: Scenario) -> str:
            asked = [scenario.document()["edits"], self._files(scenario, broken=broken)]
            return hashlib.sha256(hashlib.sha256(common).digest() + json.dumps(asked, sort_keys=True).encode()).hexdigest()

        return key

    def _files(self, scenario: Scenario, *, broken: bool) -> dict[str, str]:
        """Hashes of the files of a scenario's fleet, where its edits may name others than the fleet as declared, or that is broken."""
        if not broken and not any(_may_name_files(path, value) for path, value in scenario.edits):
            return {}
        try:
            return scenario.applied(self.spec).resolved().hashes
        except ValueError:
            # it has no plan, and what has none is never answered from a folder
            return {}

    def input_hashes(self) -> dict[str, str]:
        """Those of the fleet file and of the files it names; only its own where it cannot be read as a whole."""
        try:
            return self.spec.resolved().hashes
        except ValueError:
            return {str(self.spec.path): self.spec.own_hash or ""}


def _may_name_files(path: str, value: object) -> bool:
    return path.rpartition(".")[2] in _NAMES_FILES or not (value is None or isinstance(value, str | int | float))


def solver_of_document(document: Mapping[str, Any]) -> ScenarioSolver:
    """What solves the scenarios of a question's document()."""
    options = StudyOptions(**document["options"])
    return ScenarioSolver(spec_of_document(document["fleet"]), State.model_validate(document["state"]), options)
