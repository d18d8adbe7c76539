"""Bad input of every kind: exit code 1, one message that names the place, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import sound_plans
from tests.ports import free_ports
from tests.ullage.commands import TRACE_HEAD, ullage, write_plan, write_trace

READERS = {
    "validate": ["validate", "{}"],
    "plan": ["plan", "{}"],
    "show": ["show", "{}"],
    "render": ["render", "{}", "--to", "vllm", "-o", "deploy"],
    "apply": ["apply", "{}", "-y", "--engine", "emulated"],
    "simulate": ["simulate", "{}", "--trace", "trace.csv"],
    "simulate, trace": ["simulate", "plan.json", "--trace", "{}"],
    "replay": ["replay", "{}", "--trace", "trace.csv", "--seconds", "1"],
    "replay, trace": ["replay", "plan.json", "--trace", "{}", "--seconds", "1"],
}


def missing(path: Path) -> str:
    return "there is no such file"


def folder(path: Path) -> str:
    path.mkdir()
    return "Is a directory"


def empty(path: Path) -> str:
    path.touch()
    return "empty|Expecting value"


def not_utf8(path: Path) -> str:
    path.write_bytes(b"\xff\xfe\x00schema")
    return "not UTF-8|UTF-8"


def zeros(path: Path) -> str:
    path.write_bytes(bytes(64))
    return "."


FILES = (missing, folder, empty, not_utf8, zeros)


def refused(arguments: list[str], *expected: str) -> None:
    """The command ends with 1, and one of the expected texts stands in what it says."""
    result = ullage(*arguments)
    assert result.code == 1, result.out + result.err
    assert "Traceback" not in result.err
    assert any(text in result.err for text in expected), result.err


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("reader", READERS)
def test_files_that_cannot_be_read(reader: str, make: Callable[[Path], str], work: Path) -> None:
    name = "bad.csv" if "trace" in reader else "bad.yaml" if reader in {"validate", "plan"} else "bad.json"
    expected = make(work / name)
    refused([argument.format(name) for argument in READERS[reader]], *expected.split("|"))


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_gives_an_error_when_read(reader: str, work: Path) -> None:
    # what the kernel answers to reading a process's unmapped first page; nothing else is unreadable for every user
    (work / "bad.csv").symlink_to("/proc/self/mem")
    refused([argument.format("bad.csv") for argument in READERS[reader]], "bad.csv: cannot be read: Input/output error")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["validate", "plan.json"], "desired: unknown field"),
        (["plan", "plan.json"], "desired: unknown field"),
        (["show", "fleet.yaml"], "fleet.yaml:1:1: not JSON"),
        (["apply", "fleet.yaml", "-y"], "fleet.yaml:1:1: not JSON"),
        (["simulate", "fleet.yaml", "--trace", "trace.csv"], "fleet.yaml:1:1: not JSON"),
        (["simulate", "plan.json", "--trace", "plan.json"], "allowed endings are .csv, .csv.gz and .parquet"),
        (["simulate", "plan.json", "--trace", "fleet.yaml"], "allowed endings are .csv, .csv.gz and .parquet"),
        (["plan", "--solver", "nope"], "'nope' is not one of the solvers: exact,"),
        (["render", "plan.json", "--to", "vllm", "-o", ""], "-o: the folder has no name"),
        (["render", "plan.json", "--to", "nope", "-o", "deploy"], "'nope' is not one of the renderers: compose, envoy"),
        (["apply", "plan.json", "-y", "--engine", "nope"], "'nope' is not one of the backends: emulated, vllm"),
        (["apply", "plan.json"], "give --auto-approve"),
        (["init", "fleet.yaml"], "fleet.yaml exists; give another name, or --force"),
        (["init", "nowhere/fleet.yaml"], "nowhere/fleet.yaml: there is no folder nowhere"),
        (["init", "."], "is a folder; name a file"),
        (["plan", "-o", "nowhere/plan.json"], "there is no folder nowhere"),
        (["plan", "-o", "."], "is a folder; name a file"),
        (["plan", "-o", "fleet.yaml"], "would replace the file that is read"),
        (["show", "--svg", "plan.json"], "would replace the file that is read"),
        (["plan", "-o", "/proc/plan.json"], "/proc/plan.json: cannot be written"),
        (["render", "plan.json", "--to", "vllm", "-o", "plan.json"], "check the folder and its permissions"),
        (["render", "plan.json", "--to", "vllm", "-o", "/proc/deploy"], "check the folder and its permissions"),
        (["plan", "--state", "plan.json"], "plan.json: not a folder"),
        (["status", "--state", "plan.json"], "plan.json"),
        (["destroy", "-y", "--state", "plan.json"], "plan.json"),
        (["simulate", "plan.json", "--trace", "trace.csv", "--map", "small"], "--map small: write TENANT=WORKLOAD"),
        (["simulate", "plan.json", "--trace", "trace.csv", "--map", "small=x"], "the plan does not have: x; it has large, middle, small"),
        (["simulate", "plan.json", "--trace", "trace.csv", "--start", "60"], "no request between 60 s and 61 s; it ends at 1 s"),
        (["simulate", "plan.json", "--trace", "trace.csv", "--seconds", "inf"], "a stretch of inf s has no end"),
    ],
)
def test_what_does_not_fit_is_said(arguments: list[str], expected: str, work: Path) -> None:
    before = {path: path.read_bytes() for path in work.iterdir()}
    refused(arguments, expected)
    assert {path: path.read_bytes() for path in work.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["--nope"],
        ["plan", "--nope"],
        ["plan", "a", "b"],
        ["plan", "--time-limit", "-1"],
        ["plan", "--time-limit", "nan"],
        ["render", "plan.json"],
        ["apply"],
        ["replay", "plan.json"],
        *(["simulate", "plan.json", "--trace", "trace.csv", "--seconds", text] for text in ("-5", "0", "nan", "soon")),
        ["replay", "plan.json", "--trace", "trace.csv", "--seconds", "-5"],
        ["simulate", "plan.json", "--trace", "trace.csv", "--start", "-1"],
        ["simulate", "plan.json", "--trace", "trace.csv", "--interference", "0.5"],
        ["simulate", "plan.json", "--trace", "trace.csv", "--interference", "inf"],
        *(["replay", "plan.json", "--trace", "trace.csv", "--repeat-rate", text] for text in ("0", "1.5", "1000000000")),
        ["demo", "--seconds", "0"],
    ],
)
def test_usage_errors_end_with_1(arguments: list[str], work: Path) -> None:
    refused(arguments, "Error: ")


def test_tenants_that_are_no_workloads(work: Path) -> None:
    write_trace(work / "trace.csv", "small", "nobody", "")
    refused(
        ["simulate", "plan.json", "--trace", "trace.csv"], "these tenants of the trace: (no tenant), nobody; the plan has large, middle"
    )
    mapped = ullage("simulate", "plan.json", "--trace", "trace.csv", "--map", "nobody=middle", "--map", "=large", "--json")
    assert {row["workload"]: row["requests"] for row in json.loads(mapped.out)["workloads"]} == {"large": 1, "middle": 1, "small": 1}


def test_a_trace_without_rows(work: Path) -> None:
    (work / "trace.csv").write_text(TRACE_HEAD, encoding="utf-8")
    refused(["simulate", "plan.json", "--trace", "trace.csv"], "trace.csv: has column names but no requests")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', '{"schema_version": 1, "replicas": 3}'])
@pytest.mark.parametrize("arguments", [["plan"], ["status"], ["destroy", "-y"], ["apply", "plan.json", "-y", "--engine", "emulated"]])
def test_a_damaged_state(arguments: list[str], text: str, work: Path) -> None:
    (work / ".ullage").mkdir()
    (work / ".ullage" / "state.json").write_text(text, encoding="utf-8")
    refused(arguments, "state.json")
    assert (work / ".ullage" / "state.json").read_text(encoding="utf-8") == text


def test_a_plan_that_was_edited_by_hand_is_not_applied(work: Path) -> None:
    document = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    document["desired"]["replicas"][0]["ledger"]["total_mib"] += 80_000
    (work / "plan.json").write_text(json.dumps(document), encoding="utf-8")
    refused(["apply", "plan.json", "-y", "--engine", "emulated"], "plan.json: node h100-0, GPU 0: residents need")
    assert not (work / ".ullage").exists()


def test_actions_that_were_edited_by_hand_are_followed_before_they_are_done(work: Path) -> None:
    document = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    del document["actions"][0]
    (work / "plan.json").write_text(json.dumps(document), encoding="utf-8")
    refused(["apply", "plan.json", "-y", "--engine", "emulated"], "plan.json: the actions leave")
    assert not (work / ".ullage").exists()


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("gpus.0.memory_mib", 0, "desired.gpus.0.memory_mib: 0 MiB is no memory of a GPU"),
        ("gpus.1.replicas", ["x"], "desired.gpus.1.replicas: 'x' is not among desired.replicas"),
        ("replicas", [], "desired.gpus.0.replicas: 'large-0' is not among desired.replicas"),
        ("replicas.0.gpus", [], "desired.replicas.0.gpus: is empty"),
        ("replicas.2.args.max_model_len", 0, "desired.replicas.2.args.max_model_len: Input should be greater than or equal to 1, is 0"),
        (
            "replicas.2.args.tensor_parallel_size",
            0,
            "desired.replicas.2.args.tensor_parallel_size: Input should be greater than or equal to 1, is 0",
        ),
        ("nodes.0.gpu_count", "two", "desired.nodes.0.gpu_count: "),
        ("surprise", 1, "desired.surprise: "),
    ],
)
@pytest.mark.parametrize("reader", ["show", "render", "apply", "simulate", "replay"])
def test_a_plan_that_is_not_complete_in_itself(reader: str, path: str, value: object, expected: str, work: Path) -> None:
    document = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    *above, last = path.split(".")
    part = document["desired"]
    for step in above:
        part = part[int(step) if step.isdecimal() else step]
    part[int(last) if last.isdecimal() else last] = value
    (work / "odd.json").write_text(json.dumps(document), encoding="utf-8")
    refused([argument.format("odd.json") for argument in READERS[reader]], f"odd.json: {expected}")


def test_a_plan_that_names_what_the_catalogue_does_not_have(work: Path) -> None:
    text = (work / "plan.json").read_text(encoding="utf-8")
    for known, unknown in (("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.7B"), ("H100-SXM-80GB", "H100-SXM-90GB")):
        (work / "odd.json").write_text(text.replace(known, unknown), encoding="utf-8")
        refused(["apply", "odd.json", "-y", "--engine", "emulated"], unknown)
        refused(["simulate", "odd.json", "--trace", "trace.csv"], unknown)


def test_names_do_not_steer_the_terminal(work: Path) -> None:
    name = "x\x1b[31m\r.json"
    result = ullage("show", name)
    assert result.code == 1
    assert "\\x1b[31m\\r.json: there is no such file" in result.err
    assert "\x1b" not in result.err


def test_replay_without_a_router(work: Path) -> None:
    port = free_ports(1)[0]
    text = (work / "plan.json").read_text(encoding="utf-8").replace('"port": 8080', f'"port": {port}')
    (work / "plan.json").write_text(text, encoding="utf-8")
    refused(["replay", "plan.json", "--trace", "trace.csv", "--seconds", "1"], f"no router answers at 127.0.0.1:{port}")


def test_mig_on_real_gpus_is_refused_before_anything_starts(tmp_path: Path) -> None:
    refused(
        ["apply", str(write_plan(tmp_path / "plan.json", sound_plans.sliced())), "-y", "--engine", "vllm"],
        "MIG layouts need the NVIDIA driver",
    )


@given(place=st.integers(0, 10_000), junk=st.binary(min_size=0, max_size=6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_invariant_12_damaged_plans_never_give_a_traceback(place: int, junk: bytes, work: Path) -> None:
    raw = (work / "plan.json").read_bytes()
    at = place % len(raw)
    (work / "damaged.json").write_bytes(raw[:at] + junk + raw[at + len(junk) + 1 :])
    for arguments in (["show", "damaged.json"], ["simulate", "damaged.json", "--trace", "trace.csv"]):
        assert ullage(*arguments).code in {0, 1}


def test_the_folder_of_a_schedule_is_no_plan(work: Path) -> None:
    (work / "schedule").mkdir()
    (work / "schedule" / "schedule.json").write_text("{}", encoding="utf-8")
    result = ullage("show", "schedule")
    assert result.code == 1
    assert "schedule: is the folder of a schedule; name one of its plans, such as schedule/phase-1.json" in result.err
