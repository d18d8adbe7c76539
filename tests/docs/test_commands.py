"""Commands that the documents show: they run as shown, or at least exist."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tests.docs.documents import DOCUMENTS, ROOT, Command, commands, spans
from tests.executor.nvml.fake_driver import H100, pretend
from tests.planner.playbook.burst_fleet import burst_fleet_dict
from tests.planner.schedule.test_sleeping import MODELS, POOL, WORKLOADS
from tests.ports import free_ports
from tests.profiles.sources.samples import FIXTURES
from tests.ullage.commands import TRACE_HEAD, ullage, write_fleet
from tests.ullage.demand.recorded_server import RecordedServer, recorded_server
from tests.ullage.test_plan_command import FIGURES
from ullage.cli.main import app

GROUP = typer.main.get_group(app)
VERBS = GROUP.commands
PROFILE_VERBS = [f"profile {name}" for name in ("import", "list", "show", "check", "export", "estimate", "measure")]
TARGETS = frozenset(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))

# The tenants of the example trace: workloads of the starter that `ullage init` writes, and of the small fleet of the tests.
TENANTS = dict.fromkeys(("README.md", "docs/whatif.md"), ("chat", "summaries", "completion"))
# What a cluster's scheduler hands out whole: a GPU for each model.
WHOLE_GPUS = {"h100": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 4, "price": "3 USD/h", "sharing": ["exclusive"]}}
SECTIONS: dict[str, dict[str, Any]] = {
    "docs/clusters.md": {"pools": WHOLE_GPUS},
    "docs/schedule.md": {"pools": {"l40s": POOL}, "models": MODELS, "workloads": WORKLOADS},
}
PROMETHEUS = "http://127.0.0.1:9090"
SMALL_FLEET = ("small", "middle", "large")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


WITH_COMMANDS = [document for document in DOCUMENTS if any(command.runs for command in commands(document))]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a fleet (unless the document begins with init) and a trace; whatever runs in the end is destroyed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
    if request.node.callspec.id == "docs/discover.md":
        pretend(monkeypatch, tmp_path).machine([H100, H100])
    first = free_ports(10)[0]
    policy = {"router": {"port": first, "admin_port": first + 1}, "ports": {"start": first + 2, "end": first + 9}}
    example = ROOT / Path(request.node.callspec.id).parent
    if example.is_relative_to(ROOT / "examples") and (example / "fleet.yaml").exists():
        # an example is run where its files are
        shutil.copytree(example, tmp_path, dirs_exist_ok=True)
    elif request.node.callspec.id == "docs/bursts.md":
        (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(burst_fleet_dict(2.0, **policy)), encoding="utf-8")
    elif request.node.callspec.id not in TENANTS:
        write_fleet(tmp_path / "fleet.yaml", policy=policy, **SECTIONS.get(request.node.callspec.id, {}))
    tenants = TENANTS.get(request.node.callspec.id, SMALL_FLEET)
    rows = "".join(f"{0.5 * index},100,20,{tenant}\n" for index, tenant in enumerate(tenants * 30))
    (tmp_path / "bench.json").write_bytes((FIXTURES / "vllm-bench-serve-detailed.json").read_bytes())
    (tmp_path / "trace.csv.gz").write_bytes(gzip.compress((TRACE_HEAD + rows).encode(), mtime=0))
    yield tmp_path
    if (tmp_path / ".ullage").exists():
        assert ullage("destroy", "-y").code == 0


@pytest.fixture
def recorded() -> Iterator[RecordedServer]:
    """What stands at the address of the Prometheus server that documents name."""
    with recorded_server() as known:
        yield known


@pytest.mark.slow
@pytest.mark.parametrize("document", WITH_COMMANDS, ids=name_of)
def test_commands_run_in_the_order_shown(document: Path, folder: Path, recorded: RecordedServer) -> None:
    for command in commands(document):
        if command.runs:
            # a README's `destroy` finds nothing when `apply` is only checked, and says so
            result = ullage(*(word.replace(PROMETHEUS, recorded.url) for word in command.words[1:]))
            assert result.code == 0, f"{command.where}: {' '.join(command.words)}\n{result.err}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_exist_with_their_options(document: Path) -> None:
    for command in commands(document):
        check(command)


def found(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The command that words begin with, groups descended into, and what follows it."""
    command: Any = GROUP
    rest = list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def check(command: Command) -> None:
    program, *arguments = command.words
    assert program in {"ullage", "make"}, f"{command.where}: only ullage and make are checked, not {program}"
    if program == "make":
        assert set(arguments) <= TARGETS, f"{command.where}: {arguments}"
        return
    assert arguments[0] in VERBS, f"{command.where}: there is no ullage {arguments[0]}"
    known, options = found(arguments)
    # parses and checks the arguments as a call would, without the call
    known.make_context(known.name, options)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_inside_text_exist(document: Path) -> None:
    for program, verb, *arguments in spans(document):
        if program == "make":
            assert verb in TARGETS
            continue
        assert verb in VERBS, f"{name_of(document)}: ullage {verb}"
        command, options = found((verb, *arguments))
        known = {option for parameter in command.params for option in parameter.opts}
        assert {option for option in options if option.startswith("-")} <= known, f"{name_of(document)}: ullage {verb} {arguments}"


@pytest.mark.parametrize(
    ("document", "verbs"),
    [
        ("plan.md", ["plan", "show", "diff", "compact"]),
        ("render.md", ["render"]),
        ("run.md", ["apply", "status", "destroy"]),
        ("reconcile.md", ["reconcile"]),
        ("traffic.md", ["simulate", "replay"]),
        ("explain.md", ["explain"]),
        ("report.md", ["report"]),
        ("quote.md", ["quote"]),
        ("demand.md", ["demand pull", "demand forecast"]),
        ("schedule.md", ["schedule"]),
        ("whatif.md", ["whatif"]),
        ("bursts.md", ["playbook show", "playbook run"]),
        ("catalogue.md", ["catalogue gpus", "catalogue models"]),
        ("discover.md", ["discover"]),
        ("import.md", ["import", "adopt"]),
        ("profile.md", PROFILE_VERBS),
    ],
)
def test_every_option_is_documented(document: str, verbs: list[str]) -> None:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    for verb in verbs:
        for parameter in found(verb.split())[0].params:
            for option in parameter.opts:
                if option.startswith("-") and option not in {"-h", "--help"}:
                    assert f"`{option}" in text or f" {option}" in text, f"docs/{document}: {option} of ullage {verb}"


def test_every_figure_of_plan_json_is_documented() -> None:
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    assert [name for name in FIGURES if f"`{name}`" not in text] == []


def test_the_documents_are_read_as_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "some.md"
    document.write_text(
        "Text ullage nope.\n\n    ullage plan a.yaml  # why\n\n```sh\nullage status\n\nmake test\n```\n\n"
        "<!-- test: check only apply, destroy: reasons -->\n\n    ullage apply p\n    ullage plan\n\n"
        "Text.\n\n    ullage apply q\n\n```\nullage off\n```\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("tests.docs.documents.ROOT", tmp_path)
    assert [(command.where, " ".join(command.words), command.runs) for command in commands(document)] == [
        ("some.md:3", "ullage plan a.yaml", True),
        ("some.md:6", "ullage status", True),
        ("some.md:8", "make test", False),
        ("some.md:13", "ullage apply p", False),
        ("some.md:14", "ullage plan", True),
        ("some.md:18", "ullage apply q", True),
    ]
    assert {name_of(document) for document in WITH_COMMANDS} >= {"README.md", "docs/plan.md", "docs/run.md", "docs/traffic.md"}
