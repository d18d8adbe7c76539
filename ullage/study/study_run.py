"""Solves a study: the fleet as declared first, then all scenarios on all cores, keeping each row as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter

from planner.plan import Desired
from ullage.study.question import StudyQuestion
from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow, lost_at_once, problem_row, row_of
from ullage.study.scenarios import BASE, Scenario
from ullage.study.study_folder import StudyFolder
from ullage.study.values import shown
from ullage.study.workers import Workers, cores

# So few scenarios are solved before other processes have started.
_FEW = 3


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """Scenarios that are done, of how many, and the seconds that the rest may take; None before the first is solved."""

    done: int
    total: int
    left_s: float | None


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whoever waits for a study. begins is told how many scenarios are left, how long they may take and on how many cores; it may raise
    ValueError to have nothing begun. moves is told of every row.
    """

    begins: Callable[[int, float, int], None] = lambda *_: None
    moves: Callable[[StudyProgress], None] = lambda _: None


NOBODY = Watcher()


@dataclass(slots=True)
class _Run:
    """A study on its way."""

    question: StudyQuestion
    folder: StudyFolder | None
    key: Callable[[Scenario], str]
    rows: dict[int, StudyRow] = field(default_factory=dict)
    base: Desired | None = None

    def take(self, scenario: Scenario, row: StudyRow, *, known: bool = False) -> None:
        """A row of a scenario, solved now or before."""
        at_once = lost_at_once(self.base, scenario.lost_nodes) if self.base is not None else row.lost_at_once_rps
        changes = {"scenario": scenario.name, "settings": dict(scenario.settings), "lost_at_once_rps": at_once}
        self.rows[scenario.order] = row.model_copy(update=changes)
        # what has no plan is tried again: a file may be there then, or memory
        if self.folder is not None and not known and row.solved:
            self.folder.keep(self.key(scenario), self.rows[scenario.order])


def run_study(
    question: StudyQuestion, *, workers: int | None = None, folder: StudyFolder | None = None, watcher: Watcher = NOBODY
) -> StudyResults:
    """The results of a study. Ctrl-C ends it early with the rows so far; with a folder, the same study goes on from them.

    Rows do not depend on the number of processes, nor on the order in which they are solved, beyond each plan's stated gap.
    """
    if workers is not None and (not hasattr(workers, "__index__") or workers < 1):
        raise ValueError(f"--workers {workers}: is no number of processes; at least 1 is needed")
    if folder is not None:
        folder.prepare()
    run = _Run(question, folder, question.keys(_version()))
    try:
        # known rows first: they are part of the results also where nothing else comes of it
        left = _known(run, folder.known() if folder is not None else {})
        _solve(run, left, _base(run), workers or cores(), watcher)
    except KeyboardInterrupt:
        pass
    return _results(run)


def _known(run: _Run, known: Mapping[str, StudyRow]) -> list[Scenario]:
    """Take the rows that were solved before; the scenarios that are left, without the fleet as declared."""
    base, left = Scenario(BASE), []
    for scenario in (base, *run.question.scenarios()):
        row = known.get(run.key(scenario)) if known else None
        if row is not None:
            run.take(scenario, row, known=True)
        elif scenario is not base:
            left.append(scenario)
    return left


def _base(run: _Run) -> float:
    """Solve the fleet as declared; the seconds that took."""
    scenario, started_s = Scenario(BASE), perf_counter()
    try:
        plan = run.question.solver().plan(scenario)
    except ValueError as error:
        row = problem_row(scenario, str(error))
    else:
        run.base, row = plan.desired, row_of(scenario, plan)
    run.take(scenario, row)
    return perf_counter() - started_s


def _solve(run: _Run, left: list[Scenario], one_s: float, workers: int, watcher: Watcher) -> None:
    """Solve what is left: here when it is little, else in processes."""
    processes = min(workers, len(left))
    if not left:
        return
    watcher.begins(len(left), one_s * len(left) / processes, processes)
    before, started_s = len(run.rows), perf_counter()

    def taken(scenario: Scenario, row: StudyRow) -> None:
        run.take(scenario, row)
        done = len(run.rows) - before
        watcher.moves(StudyProgress(len(run.rows), run.question.total, (perf_counter() - started_s) / done * (len(left) - done)))

    if processes == 1 or len(left) <= _FEW:
        solver = run.question.solver()
        for scenario in left:
            taken(scenario, solver.row(scenario))
        return
    with Workers(run.question, processes) as running:
        for scenario, row in running.rows(left):
            taken(scenario, row)


def _version() -> str:
    """The installed version, whose answers are not taken for those of another one."""
    try:
        return version("ullage")
    except PackageNotFoundError:
        return ""


def _results(run: _Run) -> StudyResults:
    question, options = run.question, run.question.options
    named = (kind for scenario in question.named for kind, _ in scenario.settings)
    return StudyResults(
        fleet=shown(question.spec.path.name),
        input_hashes=question.input_hashes(),
        options={"solver": options.solver, "time_limit_s": options.time_limit_s, "verify": options.verify},
        settings=tuple(dict.fromkeys((*map(shown, question.settings), *named))),
        rows=tuple(row for _, row in sorted(run.rows.items())),
        total=question.total,
    )
