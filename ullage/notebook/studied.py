"""Studies as analysts hold them: a study draws itself, becomes a data frame, and names its best scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from planner.plan import State
from planner.spec.nearest import nearest
from ullage.fleet_spec import FleetSpec, load
from ullage.notebook.fleet_plan import FleetPlan
from ullage.notebook.frames import frame
from ullage.notebook.planned_fleet import plan
from ullage.planning.ask import DEFAULT_ENGINE
from ullage.planning.running_state import running_state
from ullage.study.named import said_in, scenario
from ullage.study.question import StudyQuestion
from ullage.study.results import StudyResults, best, pareto
from ullage.study.rows import StudyRow
from ullage.study.scenarios import BASE, Scenario
from ullage.study.solve import StudyOptions
from ullage.study.study_folder import StudyFolder
from ullage.study.study_run import Watcher, run_study
from ullage.study.values import shown, values_of
from ullage.views.study.study_files import study_table, write_study
from ullage.views.study.study_progress import study_progress
from ullage.views.study.study_text import study_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Plans of one fleet with something changed in each. results hold everything that is known of them; two are equal when these are."""

    results: StudyResults
    question: StudyQuestion

    @property
    def rows(self) -> tuple[StudyRow, ...]:
        """A row per scenario, the fleet as declared first."""
        return self.results.rows

    def to_frame(self) -> pd.DataFrame:
        """One row per scenario: its name, its settings by path, its figures with their units. ImportError without pandas.

        >>> study.to_frame()[["scenario", "gpus_used"]].shape
        (3, 2)
        """
        rows = study_table(self.results)
        return frame(rows, tuple(rows[0]) if rows else ("scenario",))

    def best(self, column: str = "cost_usd_per_h") -> StudyRow:
        """The scenario with the best figure of those that leave least unserved; ValueError for a column that is no figure.

        >>> study.best("cost_usd_per_h").scenario
        'as declared'
        """
        return best(self.results, column)

    def pareto(self, against: str = "risk") -> pd.DataFrame:
        """The rows that none of the others beats in both cost and attainment, risk or unserved, cheapest first. ImportError without pandas.

        risk is the growth of demand that breaks the first goal, attainment needs a study with verify=True.

        >>> list(study.pareto().columns[:1])
        ['scenario']
        """
        names = {row.scenario for row in pareto(self.results, against)}
        table = self.to_frame()
        return table[table["scenario"].isin(names)].sort_values("cost_usd_per_h", ignore_index=True)

    def plot(self) -> Figure:
        """Cost of each scenario with its bound, and cost against risk. ImportError without matplotlib.

        >>> len(study.plot().axes)
        2
        """
        from ullage.notebook.study_figure import study_figure

        return study_figure(self.results)

    def plan(self, name: str) -> FleetPlan:
        """The plan of a scenario, made again. ValueError for a scenario that the study does not have."""
        found: dict[str, Scenario] = {item.name: item for item in (Scenario(BASE), *self.question.scenarios())}
        if name not in found:
            close = nearest(name, found)
            raise ValueError(f"the study has no scenario {name[:80]!r}{f'; did you mean {close!r}?' if close else ''}")
        spec, options = found[name].applied(self.question.spec), self.question.options
        return plan(spec, state=self.question.state, solver=options.solver, time_limit_s=options.time_limit_s, verify=options.verify)

    def save(self, folder: str | Path) -> Path:
        """Write csv, parquet, json and a picture into a folder, as `ullage whatif -o` does. Returns the folder."""
        path = Path(folder)
        StudyFolder(path).prepare()
        write_study(path, self.results)
        return path

    def __eq__(self, other: object) -> bool:
        """Whether the results are equal."""
        return self.results == other.results if isinstance(other, Study) else NotImplemented

    def __hash__(self) -> int:
        """That of the scenarios' names."""
        return hash(tuple(row.scenario for row in self.rows))

    def __str__(self) -> str:
        """The table that `ullage whatif` prints."""
        return study_text(self.results)

    def __repr__(self) -> str:
        """How many scenarios of which fleet."""
        solved = sum(row.solved for row in self.rows)
        return f"<Study: {solved} of {self.results.total} scenarios of {self.results.fleet} planned>"

    def _repr_html_(self) -> str:
        from ullage.views.html.study.study_fragment import study_html

        return study_html(self.results)


def whatif(
    fleet: FleetSpec | str | Path,
    settings: Mapping[str, object] | None = None,
    *,
    scenarios: Sequence[Mapping[str, object] | str] | Mapping[str, object] | str = (),
    state: State | str | Path | None = None,
    prior: FleetPlan | str | Path | None = None,
    verify: bool = False,
    solver: str = DEFAULT_ENGINE,
    time_limit_s: float | None = None,
    workers: int | None = None,
    progress: bool = False,
    out: str | Path | None = None,
) -> Study:
    """Plan a fleet in all combinations of settings, and in named scenarios, as `ullage whatif` does.

    settings map paths to values: a list, a range, or a text as --set takes it; "x1.5" multiplies. scenarios map kinds to what they apply
    to ({"node_lost": "h100-0"}, or "node_lost=h100-0" as --scenario takes it; see docs/whatif.md); "name" calls one otherwise. What runs
    is said by state or prior, as for ullage.plan().
    Ctrl-C ends the study with the rows so far. With out every row is kept in that folder, and the same call goes on where it stopped.
    A scenario that has no plan has a row that says why. ValueError for paths and kinds that there are not.

    >>> import ullage
    >>> study = ullage.whatif("fleet.yaml", {"pools.h100.nodes": [1, 2]}, workers=1)
    >>> [row.gpus_total for row in study.rows]
    [2, 2, 4]
    """
    spec = fleet if isinstance(fleet, FleetSpec) else load(fleet)
    question = StudyQuestion(
        spec,
        {path: values_of(path, values) for path, values in (settings or {}).items()},
        tuple(_named(spec, said) for said in ([scenarios] if isinstance(scenarios, Mapping | str) else scenarios)),
        running_state(spec.path, state, prior.document if isinstance(prior, FleetPlan) else prior),
        StudyOptions(solver=solver, time_limit_s=time_limit_s, verify=verify),
    )
    with study_progress(progress) as moves:
        results = run_study(question, workers=workers, folder=None if out is None else StudyFolder(Path(out)), watcher=Watcher(moves=moves))
    study = Study(results, question)
    if out is not None:
        study.save(out)
    return study


def _named(spec: FleetSpec, said: Mapping[str, object] | str) -> Scenario:
    if isinstance(said, str):
        return scenario(spec, said_in(said))
    if not isinstance(said, Mapping):
        raise ValueError(f"{said!r:.60} is no scenario; write for example {{'demand': 'x2'}}")  # noqa: TRY004 -- as all bad input
    kinds = {kind: argument for kind, argument in said.items() if kind != "name"}
    return scenario(spec, kinds, None if said.get("name") is None else shown(said["name"]))
