"""Studies solved: equal to cold plans, in any number of processes, resumed, cut off, and with scenarios that have no plan."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

from planner.plan import State
from tests.ullage.study.studied import question, spec
from ullage.planning.plan import plan_fleet
from ullage.study.named import scenario
from ullage.study.question import StudyQuestion
from ullage.study.results import StudyResults, best, pareto
from ullage.study.rows import StudyRow
from ullage.study.scenarios import BASE
from ullage.study.study_folder import RESULTS, ROWS, StudyFolder, read_results
from ullage.study.study_run import StudyProgress, Watcher, run_study
from ullage.study.workers import Workers
from ullage.views.study.study_files import CSV, PARQUET, PICTURE, study_table, write_study
from ullage.views.study.study_svg import study_svg
from ullage.views.study.study_text import study_text


def small_question() -> StudyQuestion:
    return question(
        {"pool_gone": "h100"}, {"price": {"h100": "x2"}}, pools__h100__gpus_per_node=("1", "2"), workloads__small__rate=("x1", "x30")
    )


@pytest.fixture(scope="module")
def solved() -> StudyResults:
    return run_study(small_question(), workers=1)


def test_each_scenario_costs_what_a_cold_plan_of_it_costs(solved: StudyResults) -> None:
    """Invariant 31."""
    rows = {row.scenario: row for row in solved.rows}
    for asked in small_question().scenarios():
        cold = plan_fleet(asked.applied(spec()).resolved(), State()).plan.desired
        row = rows[asked.name]
        assert row.cost_usd_per_h == pytest.approx(cold.cost_usd_per_h), asked.name
        assert row.unserved_rps == pytest.approx(sum(workload.unserved_rps for workload in cold.workloads)), asked.name
        assert row.gpus_used == cold.gpus_used


def test_processes_find_what_one_finds(solved: StudyResults) -> None:
    assert run_study(small_question(), workers=2) == solved


def test_rows_stand_in_the_order_of_the_settings(solved: StudyResults) -> None:
    assert [row.scenario for row in solved.rows] == [
        BASE,
        "pools.h100.gpus_per_node=1, workloads.small.rate=x1",
        "pools.h100.gpus_per_node=1, workloads.small.rate=x30",
        "pools.h100.gpus_per_node=2, workloads.small.rate=x1",
        "pools.h100.gpus_per_node=2, workloads.small.rate=x30",
        "pool_gone=h100",
        "price={h100: x2}",
    ]
    assert solved.settings == ("pools.h100.gpus_per_node", "workloads.small.rate", "pool_gone", "price")


def test_what_a_lost_pool_carried_is_lost_at_once(solved: StudyResults) -> None:
    gone = next(row for row in solved.rows if row.scenario == "pool_gone=h100")
    assert gone.lost_at_once_rps == pytest.approx({"small": 1.0, "middle": 1.0, "large": 1.0})
    assert gone.by_workload_rps == pytest.approx({"small": 1.0, "middle": 1.0, "large": 1.0})
    assert gone.binding == "no room for large, middle, small"


def test_a_scenario_without_a_plan_says_why_and_the_others_go_on() -> None:
    results = run_study(question({"gpu": {"h100": "H1000"}}, {"demand": "x2"}), workers=1)
    assert [row.solved for row in results.rows] == [True, False, True]
    assert "unknown GPU type 'H1000'" in (results.rows[1].problem or "")
    assert "pools.h100.gpu" in (results.rows[1].problem or "")
    assert "1 could not be" in study_text(results)


class Counted:
    """A watcher that counts rows, and stops after some of them."""

    def __init__(self, most: int | None = None, stop: Callable[[], None] | None = None) -> None:
        self.seen: list[StudyProgress] = []
        self.begun: list[int] = []
        self.most, self.stop = most, stop
        self.watcher = Watcher(lambda scenarios, *_: self.begun.append(scenarios), self.moves)

    def moves(self, now: StudyProgress) -> None:
        self.seen.append(now)
        if self.most is not None and len(self.seen) == self.most and self.stop is not None:
            self.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_study_that_is_cut_off_goes_on_where_it_stopped(workers: int, tmp_path: Path, solved: StudyResults) -> None:
    folder = StudyFolder(tmp_path / "study")
    cut = Counted(2, lambda: signal.raise_signal(signal.SIGINT))
    first = run_study(small_question(), workers=workers, folder=folder, watcher=cut.watcher)
    assert (len(first.rows), first.complete) == (3, False)
    assert "stopped early, 4 are left" in study_text(first)
    again = Counted()
    second = run_study(small_question(), workers=workers, folder=folder, watcher=again.watcher)
    assert again.begun == [4]
    assert second == solved
    third = Counted()
    assert run_study(small_question(), workers=workers, folder=folder, watcher=third.watcher) == solved
    assert third.begun == []


def test_another_question_is_not_answered_from_the_folder(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    run_study(question({"demand": "x2"}), workers=1, folder=folder)
    for other in (question({"demand": "x3"}), StudyQuestion(spec(policy={"headroom": "2GiB"}), named=question({"demand": "x2"}).named)):
        counted = Counted()
        run_study(other, workers=1, folder=folder, watcher=counted.watcher)
        assert counted.begun == [1]


def test_a_torn_last_line_costs_one_row_and_no_more(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    run_study(question({"demand": "x2"}), workers=1, folder=folder)
    rows = tmp_path / "study" / ROWS
    rows.write_bytes(rows.read_bytes()[:-20])
    counted = Counted()
    run_study(question({"demand": "x2"}), workers=1, folder=folder, watcher=counted.watcher)
    assert counted.begun == [1]
    assert len(folder.known()) == 2


def test_nothing_is_begun_that_its_watcher_refuses(tmp_path: Path) -> None:
    def refuses(scenarios: int, left_s: float, workers: int) -> None:
        raise ValueError(f"{scenarios} are too many")

    with pytest.raises(ValueError, match="1 are too many"):
        run_study(question({"demand": "x2"}), folder=StudyFolder(tmp_path / "study"), watcher=Watcher(refuses))


def test_a_process_that_dies_costs_its_row_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question({"demand": "x2"}, {"demand": "x3"}, {"demand": "x4"}, {"demand": "x5"})
    with Workers(asked, 1) as workers:
        rows = []
        for _, row in workers.rows(list(asked.scenarios())):
            rows.append(row)
            if len(rows) == 2:
                for process in workers._running:
                    process.kill()
    solved = [row.solved for row in rows]
    assert solved.count(False) <= 1
    assert len(rows) == 4
    assert all("was killed by signal 9" in (row.problem or "") for row in rows if not row.solved)


@pytest.mark.parametrize("path", ["file", "missing/study"])
def test_a_folder_that_cannot_be_is_refused_before_anything_is_solved(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"is a file|there is no folder"):
        run_study(question({"demand": "x2"}), folder=StudyFolder(tmp_path / path))


def test_files_have_the_same_bytes_and_every_row(tmp_path: Path, solved: StudyResults) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_study(tmp_path / name, solved)
    for file in (CSV, PARQUET, PICTURE, RESULTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert parquet.read_table(tmp_path / "a" / PARQUET).to_pylist() == study_table(solved)
    assert read_results(tmp_path / "a") == read_results(tmp_path / "a" / RESULTS) == solved
    assert (tmp_path / "a" / PICTURE).read_text(encoding="utf-8") == study_svg(solved)
    assert len((tmp_path / "a" / CSV).read_text().splitlines()) == 1 + len(solved.rows)


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text(json.dumps({"rows": 3}))
    with pytest.raises(ValueError, match="is it a study"):
        read_results(tmp_path)
    with pytest.raises(ValueError, match="there is no such file"):
        read_results(tmp_path / "none")


def row(name: str, cost: float, breaks: float | None = 2.0, unserved: float = 0.0, attained: float | None = None) -> StudyRow:
    return StudyRow(
        scenario=name,
        cost_usd_per_h=cost,
        bound_usd_per_h=cost,
        gap_fraction=0.0,
        gpus_used=1,
        gpus_total=1,
        breaks_at_load_factor=breaks,
        unserved_rps=unserved,
        attainment_fraction=attained,
    )


def results(*rows: StudyRow) -> StudyResults:
    return StudyResults(fleet="f", input_hashes={}, options={}, settings=(), rows=rows, total=len(rows))


def test_the_best_serves_most_before_it_costs_least() -> None:
    found = results(row("cheap", 1, unserved=1), row("dear", 9, breaks=None), row("good", 5), StudyRow(scenario="none", problem="x"))
    assert best(found).scenario == "good"
    assert best(found, "breaks_at_load_factor").scenario == "dear"
    with pytest.raises(ValueError, match="did you mean 'cost_usd_per_h'"):
        best(found, "cost_usd")
    with pytest.raises(ValueError, match="study with verify"):
        best(found, "attainment_fraction")


def test_the_front_has_what_none_beats() -> None:
    found = results(row("a", 1, 1.1), row("b", 2, 1.5), row("c", 3, 1.2), row("d", 4, None), row("e", 0.5, 0, unserved=3))
    assert [item.scenario for item in pareto(found)] == ["a", "b", "d"]
    assert [item.scenario for item in pareto(found, "unserved")] == ["e", "a"]
    with pytest.raises(ValueError, match="nothing is simulated"):
        pareto(found, "attainment")
    with pytest.raises(ValueError, match="did you mean 'risk'"):
        pareto(found, "risc")
    simulated = results(row("a", 1, attained=0.9), row("b", 2, attained=0.99), row("c", 3, attained=0.95))
    assert [item.scenario for item in pareto(simulated, "attainment")] == ["a", "b"]


def test_a_study_varies_something_with_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="a study varies something"):
        StudyQuestion(spec())
    with pytest.raises(ValueError, match="two scenarios are called"):
        question({"demand": "x2"}, {"demand": "x2"})
    with pytest.raises(ValueError, match=r"two scenarios are called 'pools.h100.nodes=1'"):
        StudyQuestion(spec(), {"pools.h100.nodes": (1,)}, (scenario(spec(), {"demand": "x2"}, "pools.h100.nodes=1"),))
    with pytest.raises(ValueError, match=r"would undo workloads.small.rate"):
        StudyQuestion(spec(), {"workloads.small.rate": ("x2",), "workloads.small.demand.rate": ("x3",)})
    with pytest.raises(ValueError, match=r"pools.h100 would undo pools.h100.nodes"):
        StudyQuestion(spec(), {"pools.h100.nodes": (1,), "pools.h100": ({"gpu": "L40S"},)})
    with pytest.raises(ValueError, match="there is no 'h10'"):
        question(pools__h10__nodes=("1",))
    with pytest.raises(ValueError, match="these are 1000001 scenarios"):
        StudyQuestion(spec(), {f"policy.{field}": tuple(range(100)) for field in ("headroom", "burst_factor", "max_active_residents")})
    with pytest.raises(ValueError, match="--workers 0"):
        run_study(question({"demand": "x2"}), workers=0)


@pytest.mark.parametrize("rows", [(), (StudyRow(scenario=BASE, problem="no such GPU"),)])
def test_a_study_without_any_plan_is_shown_and_kept(rows: tuple[StudyRow, ...], tmp_path: Path) -> None:
    nothing = StudyResults(fleet="fleet.yaml", input_hashes={}, options={}, settings=("a",), rows=rows, total=5)
    write_study(tmp_path, nothing)
    assert read_results(tmp_path) == nothing
    assert f"stopped early, {5 - len(rows)} are left" in study_text(nothing)
    assert pareto(nothing) == ()
    with pytest.raises(ValueError, match="no scenario has a cost_usd_per_h"):
        best(nothing)


@pytest.mark.parametrize("line", ["[" * 200_000, '{"key": "k", "row": {"scenario": "x"}}', "{}", "x", "\x00"])
def test_lines_that_are_no_rows_cost_nothing(line: str, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    run_study(question({"demand": "x2"}), workers=1, folder=folder)
    with (tmp_path / "s" / ROWS).open("a") as file:
        file.write(f"{line}\n")
    counted = Counted()
    assert len(run_study(question({"demand": "x2"}), workers=1, folder=folder, watcher=counted.watcher).rows) == 2
    assert counted.begun == []


def test_what_was_solved_is_kept_when_the_fleet_as_declared_is_cut_off(
    tmp_path: Path, solved: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StudyFolder(tmp_path / "s")
    assert run_study(small_question(), workers=1, folder=folder) == solved

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ullage.study.solve.plan_fleet", cut)
    assert run_study(small_question(), workers=1, folder=folder) == solved
