"""The door to HiGHS: a program that grew step by step is the same program as one built at once, and nobody else has a key."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, field
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.highs import Entries, IntegerAnswer, IntegerLimits, LinearAnswer, LinearSolver, empty
from solvers.model.arrays import Floats
from tests.test_structure import SOURCES, TESTS, name_of

SEEDS = st.integers(0, 2**32)
MANY = settings(deadline=None, max_examples=60)


@dataclass
class Written:
    """A linear program in plain lists: costs, bounds and entries of columns, bounds of rows."""

    costs: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    matrix: dict[tuple[int, int], float] = field(default_factory=dict)

    def solver(self) -> LinearSolver:
        """The whole program at once."""
        solver = LinearSolver()
        count = len(self.costs)
        solver.add_columns(self.costs, self.lower, self.upper, empty(count))
        entries = Entries()
        for row in range(len(self.row_lower)):
            entries.add({column: self.matrix.get((row, column), 0.0) for column in range(count)})
        solver.add_rows(self.row_lower, self.row_upper, entries)
        return solver

    def step(self, solver: LinearSolver, rng: Random) -> None:
        """One change, written down and made in a solver."""
        kind = rng.choice(["column", "column", "row", "bound", "row bound"])
        if kind == "column" or not self.costs:
            self._add_column(solver, rng)
        elif kind == "row" or not self.row_lower:
            self._add_row(solver, rng)
        elif kind == "row bound":
            at = rng.randrange(len(self.row_lower))
            self.row_lower[at], self.row_upper[at] = float(rng.randint(-9, 5)), rng.choice([math.inf, 20.0])
            solver.bound_row(at, self.row_lower[at], self.row_upper[at])
        else:
            some = sorted(rng.sample(range(len(self.costs)), rng.randint(0, len(self.costs))))
            for at in some:
                self.lower[at], self.upper[at] = 0.0, float(rng.randint(0, 9))
            solver.bound_columns(some, [self.lower[at] for at in some], [self.upper[at] for at in some])

    def _add_column(self, solver: LinearSolver, rng: Random) -> None:
        column, entries = len(self.costs), Entries()
        line = {row: float(rng.randint(-3, 5)) for row in range(len(self.row_lower)) if rng.random() < 0.6}
        self.matrix.update({(row, column): value for row, value in line.items()})
        entries.add(line)
        self.costs.append(float(rng.randint(-5, 9)))
        self.lower.append(0.0)
        self.upper.append(float(rng.randint(1, 9)))
        solver.add_columns(self.costs[-1:], self.lower[-1:], self.upper[-1:], entries)

    def _add_row(self, solver: LinearSolver, rng: Random) -> None:
        row, entries = len(self.row_lower), Entries()
        line = {column: float(rng.randint(-3, 5)) for column in range(len(self.costs)) if rng.random() < 0.6}
        self.matrix.update({(row, column): value for column, value in line.items()})
        entries.add(line)
        self.row_lower.append(float(rng.randint(-9, 5)))
        self.row_upper.append(rng.choice([math.inf, 20.0]))
        solver.add_rows(self.row_lower[-1:], self.row_upper[-1:], entries)

    def agrees(self, answer: LinearAnswer) -> bool:
        """Whether values and reduced costs are those of this program."""
        matrix = np.zeros((len(self.row_lower), len(self.costs)))
        for (row, column), value in self.matrix.items():
            matrix[row, column] = value
        rows = matrix @ answer.columns
        within = np.all(rows >= np.array(self.row_lower) - 1e-6) and np.all(rows <= np.array(self.row_upper) + 1e-6)
        reduced = np.array(self.costs) - matrix.T @ answer.duals
        value = float(np.array(self.costs) @ answer.columns)
        return bool(within) and np.allclose(reduced, answer.reduced, atol=1e-6) and math.isclose(value, answer.value, abs_tol=1e-6)

    def best_whole(self) -> float:
        """The least value over all whole columns; infinite where no row allows any."""
        best = math.inf
        for chosen in product(*(range(int(upper) + 1) for upper in self.upper)):
            rows = [sum(self.matrix.get((row, k), 0.0) * x for k, x in enumerate(chosen)) for row in range(len(self.row_lower))]
            if all(low <= row <= high for low, row, high in zip(self.row_lower, rows, self.row_upper, strict=True)):
                best = min(best, sum(cost * x for cost, x in zip(self.costs, chosen, strict=True)))
        return best


@MANY
@given(SEEDS)
def test_a_program_that_grew_is_the_one_built_at_once(seed: int) -> None:
    rng, written, solver = Random(seed), Written(), LinearSolver()
    for _ in range(14):
        written.step(solver, rng)
        if rng.random() < 0.4:
            continue
        warm, fresh = solver.solve(), written.solver().solve()
        assert (solver.rows, solver.columns) == (len(written.row_lower), len(written.costs))
        assert (warm is None) == (fresh is None)
        if warm is not None and fresh is not None:
            assert warm.value == pytest.approx(fresh.value, abs=1e-6)
            assert written.agrees(warm)
            assert written.agrees(fresh)


@MANY
@given(SEEDS)
def test_whole_numbers_are_the_best_of_all_from_any_start_and_leave_the_linear_program_alone(seed: int) -> None:
    rng, written, solver = Random(seed), Written(), LinearSolver()
    while len(written.costs) < 4:
        written.step(solver, rng)
    best, before = written.best_whole(), solver.solve()
    limits = IntegerLimits(nodes=10_000)
    found = solver.copied().solve_integer(range(4), limits)
    assert (found.columns is None) == math.isinf(best)
    if found.columns is not None:
        again = solver.copied().solve_integer(range(4), limits, found.columns)
        for each in (found, again):
            assert each.columns is not None
            assert float(np.array(written.costs) @ np.round(each.columns)) == pytest.approx(best, abs=1e-6)
            assert each.bound <= best + 1e-6
    few = solver.copied().solve_integer(range(4), IntegerLimits(nodes=0))
    assert few.bound <= best + 1e-6
    after = solver.solve()
    assert (before is None) == (after is None)
    assert before is None or after is None or before.value == after.value


def test_a_start_that_the_solver_mistakes_for_a_cheaper_one_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    solver = LinearSolver()
    solver.add_columns([3.0, 2.0], [0.0, 0.0], [5.0, 5.0], empty(2))
    entries = Entries()
    entries.add({0: 2.0, 1: 1.0})
    solver.add_rows([3.0], [math.inf], entries)
    start, limits = np.array([2.0, 0.0]), IntegerLimits(nodes=1_000)
    branch, asked = LinearSolver._branch, list[Floats | None]()

    def mistaken(self: LinearSolver, limits: IntegerLimits, start: Floats | None) -> IntegerAnswer:
        asked.append(start)
        answer = branch(self, limits, start)
        return answer if start is None else IntegerAnswer(start, answer.bound)

    monkeypatch.setattr(LinearSolver, "_branch", mistaken)
    found = solver.copied().solve_integer(range(2), limits, start)
    assert len(asked) == 2
    assert asked[1] is None
    assert found.columns is not None
    assert np.round(found.columns).tolist() == [1.0, 1.0]
    assert solver.copied().solve_integer(range(2), limits, np.array([1.0, 1.0])).columns is not None
    assert len(asked) == 3


@pytest.mark.parametrize(("bound", "entry"), [(math.nan, 1.0), (0.0, math.inf), (0.0, math.nan)])
def test_numbers_that_are_none_are_refused(bound: float, entry: float) -> None:
    solver = LinearSolver()
    solver.add_columns([1.0], [0.0], [1.0], empty(1))
    solver.add_rows([0.0], [1.0], empty(1))
    entries = Entries()
    entries.add({0: entry})
    with pytest.raises(ValueError, match="refuses"):
        solver.add_rows([bound], [1.0], entries)
    with pytest.raises(ValueError, match="refuses"):
        solver.add_columns([1.0], [bound], [1.0], entries)
    assert (solver.rows, solver.columns) == (1, 1)


def test_nobody_else_imports_highs() -> None:
    texts = {name_of(path): path.read_text(encoding="utf-8") for path in (*SOURCES, *TESTS)}
    named = {name: ast.parse(text) for name, text in texts.items() if "highspy" in text}
    assert {name for name, tree in named.items() if "highspy" in _imports(tree)} == {"solvers/highs.py"}


def _imports(tree: ast.Module) -> set[str]:
    """First words of what a module imports."""
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}
