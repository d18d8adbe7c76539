"""Local paths in a plan start from the folder of the fleet file: two checkouts of one repository give the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from executor.backends.launch_command import emulated, real
from executor.backends.local import LocalBackend
from executor.processes import table as processes
from executor.state.folder import StateFolder
from planner.plan import Replica, plan_from_json
from planner.plan.local_paths import plan_path
from tests.executor.worlds import until
from tests.fleets import SMALL_CONFIG
from tests.ports import free_ports
from tests.ullage.commands import Result, ullage, write_fleet, write_trace
from ullage.local_files import require_files


def checkout(folder: Path, **changes: object) -> Path:
    """A folder with a fleet file and all kinds of local files that one can name: two models, an adapter, a chat template."""
    (folder / "models" / "own").mkdir(parents=True)
    (folder / "models" / "own" / "config.json").write_text(json.dumps({**SMALL_CONFIG, "hidden_size": 1024}))
    # the fleet file may stand in the model's own folder
    (folder / "config.json").write_text(json.dumps({**SMALL_CONFIG, "hidden_size": 2048}))
    (folder / "adapters" / "support").mkdir(parents=True)
    (folder / "chat.jinja").write_text("{{ x }}")
    gpu = {"name": "My-GPU", "memory_usable_mib": 81000, "memory_bandwidth_gb_per_s": 3000, "bf16_tflops": 900}
    (folder / "gpu.yaml").write_text(json.dumps(gpu))
    models = {
        "own": {
            "source": "./models/./own/config.json",
            "max_model_len": 2048,
            "adapters": {"support": {"source": ".//adapters/support/", "rank": 16}},
            "extra_args": {"chat-template": "./models/../chat.jinja"},
        },
        "here": {"source": "./config.json", "max_model_len": 2048},
    }
    demand = {"rate": "1/s", "input_tokens": 100, "output_tokens": 50}
    workloads = {name: {"model": name, "demand": demand} for name in ("own", "here", "support")}
    pools = {"mine": {"gpu": "./gpu.yaml", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h"}}
    write_fleet(folder / "fleet.yaml", models=models, workloads=workloads, pools=pools, **changes)
    return folder


def two(tmp_path: Path, **changes: object) -> tuple[Path, Path]:
    first = checkout(tmp_path / "first", **changes)
    shutil.copytree(first, tmp_path / "deeper" / "second")
    return first, tmp_path / "deeper" / "second"


def plan(*arguments: object) -> Result:
    found = ullage("plan", *arguments)
    assert found.code == 0, found.err
    return found


def replicas(plan_file: Path) -> dict[str, Replica]:
    return {each.served_name: each for each in plan_from_json(plan_file.read_text(), "plan.json").desired.replicas}


def test_two_checkouts_give_the_same_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two(tmp_path)
    (tmp_path / "out").mkdir()
    texts, plans = set(), set()
    for folder in (first, second):
        texts.add(plan(folder / "fleet.yaml").out)
        for place in (folder / "plan.json", tmp_path / "out" / "plan.json"):
            plan(folder / "fleet.yaml", "-o", place)
            plans.add(place.read_bytes())
        monkeypatch.chdir(folder)
        plan("-o", "plan.json")
        plans.add(Path("plan.json").read_bytes())
        figures = json.loads(plan("--json").out)
        texts.add(plan().out)
        assert str(tmp_path) not in json.dumps(figures)
    assert (len(texts), len(plans)) == (1, 1)
    assert str(tmp_path) not in texts.pop()
    assert str(tmp_path).encode() not in plans.pop()
    found = replicas(first / "plan.json")
    own = found["own"].args
    assert (found["own"].catalogue_model, own.model, found["here"].args.model) == ("./models/own", "./models/own", "./")
    assert [module.path for module in own.lora_modules] == ["./adapters/support"]
    assert [extra.value for extra in own.extra_args] == ["./chat.jinja"]


def test_paths_in_a_plan_are_plain_and_cannot_be_taken_for_hub_names(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    for written, wanted in {
        "./a": "./a",
        ".//a/./b/": "./a/b",
        "./a/../b": "./b",
        "./../b": "../b",
        "./": "./",
        "../": "../",
        "../../": "../../",
        "/a/../b/": "/b",
        "//a": "/a",
        # behind a link .. is not where one came from
        "./link/../b": "./link/../b",
    }.items():
        assert plan_path(written, tmp_path) == wanted
        assert plan_path(wanted, tmp_path) == wanted


def test_absolute_paths_stay_what_they_are(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "here")
    (tmp_path / "link").symlink_to(folder / "models")
    text = (folder / "fleet.yaml").read_text().replace("./models/./own/config.json", f"{tmp_path}/link/own")
    (folder / "fleet.yaml").write_text(text)
    plan(folder / "fleet.yaml", "-o", folder / "plan.json")
    assert replicas(folder / "plan.json")["own"].args.model == f"{tmp_path}/link/own"


def test_engines_are_started_with_whole_paths_and_compared_by_the_plans(tmp_path: Path) -> None:
    first, second = two(tmp_path)
    plan(first / "fleet.yaml", "-o", first / "plan.json")
    item = replicas(first / "plan.json")["own"]
    state = StateFolder(tmp_path / "state")
    for launcher in (real, lambda folder: emulated(state, folder)):
        words = {folder: launcher(folder)(item).argv for folder in (first, second)}
        for folder, argv in words.items():
            assert str(folder / "models" / "own") in argv
            assert f"support={folder}/adapters/support" in argv
            assert argv[argv.index("--chat-template") + 1] == str(folder / "chat.jinja")
        hashes = {LocalBackend(state, launcher(folder), None).wanted_hash(item) for folder in (first, second)}
        assert len(hashes) == 1


def test_a_prior_plan_of_another_checkout_compares_equal(tmp_path: Path) -> None:
    first, second = two(tmp_path)
    plan(first / "fleet.yaml", "-o", first / "plan.json")
    assert ullage("plan", second / "fleet.yaml", "--prior", first / "plan.json", "--detailed-exitcode").code == 0


def test_a_plan_elsewhere_says_which_option_to_give_and_every_verb_takes_it(tmp_path: Path) -> None:
    first, _ = two(tmp_path)
    (tmp_path / "out").mkdir()
    there = tmp_path / "out" / "plan.json"
    told = plan(first / "fleet.yaml", "-o", there)
    assert told.out.endswith(f"next: ullage apply {there} --fleet-folder {first}\n")
    assert f"note: local paths in {there} start from the folder of {first / 'fleet.yaml'}" in told.err
    assert "--fleet-folder" not in "".join((beside := plan(first / "fleet.yaml", "-o", first / "plan.json")).out + beside.err)
    for verb in (("show",), ("render", "--to", "vllm", "-o", tmp_path / "scripts"), ("fit", "--prompt-tokens", "100")):
        if verb[0] != "render":
            lost = ullage(verb[0], there, *verb[1:])
            assert (lost.code, "--fleet-folder" in lost.err, str(tmp_path / "out") in lost.err) == (1, True, True)
        found = ullage(verb[0], there, *verb[1:], "--fleet-folder", first)
        assert found.code == 0, found.err
    wrong = ullage("show", there, "--fleet-folder", tmp_path / "nowhere")
    assert (wrong.code, f"--fleet-folder {tmp_path / 'nowhere'}: there is no such folder" in wrong.err) == (1, True)


def test_apply_on_real_engines_names_what_is_not_there_before_it_asks(tmp_path: Path) -> None:
    first, second = two(tmp_path)
    plan(first / "fleet.yaml", "-o", first / "plan.json")
    (second / "chat.jinja").unlink()
    (second / "adapters" / "support").rmdir()
    shutil.rmtree(second / "models")
    refused = ullage("apply", first / "plan.json", "--engine", "vllm", "--fleet-folder", second)
    place = next(i for i, name in enumerate(sorted(replicas(first / "plan.json"))) if name == "own")
    where = f"{first / 'plan.json'}: desired.replicas.{place}.args"
    assert refused.code == 1
    assert refused.err.splitlines()[:3] == [
        f"error: {where}.model: ./models/own: there is no folder {second}/models/own",
        f"{where}.lora_modules.0.path: ./adapters/support: there is no folder {second}/adapters/support",
        f"{where}.extra_args.0.value: ./chat.jinja: there is no file or folder {second}/chat.jinja",
    ]
    assert "--fleet-folder" in refused.err.splitlines()[3]
    assert not (first / ".ullage").exists()


def test_files_on_other_machines_are_not_looked_for(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "here")
    plan(folder / "fleet.yaml", "-o", folder / "plan.json")
    found = plan_from_json((folder / "plan.json").read_text(), "plan.json")
    # TEST-NET-1 of RFC 5737: no machine has an address of it
    moved = tuple(each.model_copy(update={"host": "192.0.2.1"}) for each in found.desired.replicas)
    far = found.model_copy(update={"desired": found.desired.model_copy(update={"replicas": moved})})
    assert require_files(far, folder / "plan.json", tmp_path) == ("192.0.2.1",)
    assert require_files(found, folder / "plan.json", folder) == ()
    with pytest.raises(ValueError, match="there is no folder"):
        require_files(found, folder / "plan.json", tmp_path)


def test_simulate_takes_the_folder_too(tmp_path: Path) -> None:
    folder, trace = checkout(tmp_path / "here"), write_trace(tmp_path / "trace.csv", "own", "here", "support")
    plan(folder / "fleet.yaml", "-o", tmp_path / "plan.json")
    lost = ullage("simulate", tmp_path / "plan.json", "--trace", trace)
    assert (lost.code, "--fleet-folder" in lost.err) == (1, True)
    assert ullage("simulate", tmp_path / "plan.json", "--trace", trace, "--fleet-folder", folder).code == 0


def leaders(state: StateFolder) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Process and arguments by the name of the record."""
    table = processes.ProcessTable(state.processes, state.logs)
    return {each.name: (each.pid, each.argv) for each in table.records()}


def test_applying_from_another_checkout_leaves_engines_and_starts_what_died_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
    port = free_ports(10)[0]
    policy = {"router": {"port": port, "admin_port": port + 1}, "ports": {"start": port + 2, "end": port + 9}}
    first, second = two(tmp_path, policy=policy)
    state, run = StateFolder(tmp_path / "state"), ("--state", tmp_path / "state")
    try:
        for folder, plan_file in ((first, first / "plan.json"), (second, tmp_path / "plan.json")):
            plan(folder / "fleet.yaml", *run, "-o", plan_file)
            applied = ullage("apply", plan_file, *run, "-y", "--engine", "emulated", "--fleet-folder", folder)
            assert (applied.code, "2 of 2 replicas are ready" in applied.out) == (0, True), applied.err
            if folder == first:
                started = leaders(state)
        assert leaders(state) == started
        pid, argv = started["replica-own-0"]
        assert str(first / "models" / "own") in argv
        os.kill(pid, signal.SIGKILL)
        record = processes.ProcessTable(state.processes, state.logs).record("replica-own-0")
        assert record is not None
        assert until(lambda: not processes.alive(record))
        again = ullage("apply", tmp_path / "plan.json", *run, "-y", "--engine", "emulated", "--fleet-folder", second)
        assert again.code == 0, again.err
        assert str(second / "models" / "own") in leaders(state)["replica-own-0"][1]
        assert leaders(state)["replica-here-0"] == started["replica-here-0"]
        assert ullage("status", *run).code == 0
    finally:
        assert ullage("destroy", *run, "-y").code == 0


def test_an_edited_path_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "here")
    plan(folder / "fleet.yaml", "-o", folder / "plan.json")
    text = (folder / "plan.json").read_text().replace("./chat.jinja", r"./chat\u001b.jinja")
    (folder / "plan.json").write_text(text)
    for verb in (("show",), ("apply", "--engine", "emulated", "-y")):
        refused = ullage(verb[0], folder / "plan.json", *verb[1:])
        assert (refused.code, "has characters that cannot be printed" in refused.err) == (1, True)
