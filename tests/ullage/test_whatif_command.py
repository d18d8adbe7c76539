"""`ullage whatif`: tables, files, named scenarios, and bad input in one clear sentence each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.ullage.commands import PROGRAM, ullage, write_fleet
from ullage.study.study_folder import ROWS


def test_a_grid_and_scenarios_in_one_table(work: Path) -> None:
    result = ullage("whatif", "--set", "pools.h100.nodes=1..2", "--scenario", "pool_gone=h100", "--pareto", "risk", "--workers", "1")
    assert (result.code, result.err) == (0, "")
    assert "fleet.yaml: 4 of 4 scenarios planned" in result.out
    for part in ("as declared *", "pools.h100.nodes=2", "pool_gone=h100", "no room for large, middle, small", "Who yields", "Lost at once"):
        assert part in result.out


def test_a_study_file_does_what_options_do(work: Path) -> None:
    Path("study.yaml").write_text(
        "schema_version: 1\nset:\n  pools.h100.nodes: 1..2\nscenarios:\n  - name: growth\n    demand: x1.5\n    offer: [L40S]\n",
        encoding="utf-8",
    )
    result = ullage("whatif", "--file", "study.yaml", "--set", "workloads.small.rate=x1", "--json", "--workers", "1")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert [row["scenario"] for row in found["rows"]] == [
        "as declared",
        "pools.h100.nodes=1, workloads.small.rate=x1",
        "pools.h100.nodes=2, workloads.small.rate=x1",
        "growth",
    ]


def test_long_studies_say_so_before_they_begin(work: Path) -> None:
    # so many that no machine is done with them soon
    many = ("--set", "pools.h100.nodes=1..300", "--set", "policy.burst_factor=1..300")
    result = ullage("whatif", *many, "--workers", "1")
    assert result.code == 1
    assert "90000 scenarios may take about " in result.err
    assert "give --yes to begin" in result.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "a study varies something"),
        (("--set", "pools.h10.nodes=2"), "there is no 'h10' under pools; did you mean 'h100'?"),
        (("--set", "pools.h100.nodes=6..2"), "the range 6..2 is empty; write 2..6"),
        (("--set", "pools.h100.nodes"), "write PATH=VALUES"),
        (("--set", "pools.h100.nodes=2", "--set", "pools.h100.nodes=3"), "is set twice"),
        (("--set", "pools.h100.nodes=1..9999", "--set", "policy.burst_factor=1..9999"), "at most 100000 are solved"),
        (("--scenario", "node_lost=h100-9"), "did you mean 'h100-0'?"),
        (("--file", "none.yaml"), "there is no such file"),
        (("--set", "pools.h100.gpu=[a"), "pools.h100.gpu: '[a' is not a value (not YAML: "),
        (("--scenario", "demand={a"), "--scenario demand: '{a' is not a value"),
        (("--set", "pools.h100.nodes=1", "--pareto", "riks"), "did you mean 'risk'?"),
        (("--set", "pools.h100.nodes=1", "--pareto", "attainment"), "study with verify (--verify)"),
        (("--set", "pools.h100.nodes=1", "-o", "fleet.yaml"), "is a file"),
        (("--set", "pools.h100.nodes=1", "--solver", "best"), "is not one of the solvers"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], told: str, work: Path) -> None:
    result = ullage("whatif", *arguments, "--workers", "1")
    assert result.code == 1
    assert told in result.err
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schema_version: 2\nset: {pools.h100.nodes: 1..2}\n", "schema_version: write 1"),
        ("schema_version: 1\nsets: {}\n", "did you mean 'set'?"),
        ("schema_version: 1\nset: [1]\n", "set: is not a mapping"),
        ("schema_version: 1\nscenarios: {a: 1}\n", "scenarios: is not a list"),
        ("schema_version: 1\nscenarios: [1]\n", "scenarios[0]: is not a mapping"),
        (
            "schema_version: 1\nscenarios: [{demand: x2}, {deman: x2}]\n",
            "scenarios[1]: no kind of scenario is called 'deman'; did you mean 'demand'?",
        ),
        ("schema_version: 1\nset: {pools.h100.nodes: 3..1}\n", "the range 3..1 is empty"),
        ("- 1\n", "is not a mapping"),
        ("a: b: c\n", "study.yaml:1:"),
    ],
)
def test_a_wrong_study_file_is_named_with_the_place(text: str, told: str, work: Path) -> None:
    Path("study.yaml").write_text(text, encoding="utf-8")
    result = ullage("whatif", "--file", "study.yaml")
    assert result.code == 1
    assert told in result.err
    assert "study.yaml" in result.err


def test_all_scenarios_without_a_plan_are_an_error_with_rows(work: Path) -> None:
    path = write_fleet(work / "other.yaml")
    result = ullage("whatif", path, "--set", "pools.h100.gpu=X1,X2", "--workers", "1")
    assert result.code == 1
    assert result.err == ""
    assert result.out.count("unknown GPU type") == 2


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(work: Path) -> None:
    command = ("whatif", "--set", "pools.h100.nodes=1..3", "--set", "policy.burst_factor=1..40", "--workers", "2", "-o", "s")
    process = subprocess.Popen([*PROGRAM, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    rows = work / "s" / ROWS
    while process.poll() is None and (not rows.exists() or rows.read_bytes().count(b"\n") < 6):
        continue
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "stopped early" in out
    assert "the same command with -o s goes on from here" in err
    assert "Traceback" not in err
    done = rows.read_bytes().count(b"\n")
    again = ullage(*command)
    assert again.code == 0, again.err
    assert "121 of 121 scenarios planned" in again.out
    assert rows.read_bytes().count(b"\n") == 121 + 1
    assert done < 121
