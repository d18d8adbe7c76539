"""Rendered scripts take local files from the folder of the fleet file, wherever that is where they run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.plan import ExtraArg, LoraModule, Replica
from renderers import vllm
from renderers.files import write
from tests.plans import plan_of, replica
from tests.ports import free_port
from tests.renderers.conftest import ShellCheck
from tests.renderers.vllm.test_vllm import HOSTILE
from tests.renderers.vllm.test_vllm_scripts import Node

UNSET = "set ULLAGE_FLEET_FOLDER to the folder of the fleet file"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    for pid in made.running():
        os.kill(pid, signal.SIGKILL)


def local(model: str = "./models/own", **args: object) -> Replica:
    adapters = (LoraModule(name="support", path="../adapters/a b"),)
    added = (ExtraArg(flag="chat-template", value="./chat.jinja"),)
    given = {"port": free_port(), "lora_modules": adapters, "max_loras": 1, "max_lora_rank": 16, "extra_args": added, **args}
    return replica("own-0", "own", model, args=given)


def checkout(folder: Path) -> Path:
    """The folder of a fleet file with what `local` needs."""
    for path in (folder / "models" / "own", folder.parent / "adapters" / "a b"):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "chat.jinja").touch()
    return folder


def test_whatever_the_paths_are_called_they_are_quoted(tmp_path: Path, shellcheck: ShellCheck) -> None:
    write(vllm.render(plan_of((local(f"./{HOSTILE}"), replica("hub-0", "hub", gpus=(1,))), gpu_count=2)), tmp_path)
    # SC2016 points out that $(...) in single quotes is not run, which is what we want.
    shellcheck(*sorted(tmp_path.rglob("*.sh")), exclude="SC2016")
    assert "fleet_folder" not in (tmp_path / "h100-0" / "replicas" / "hub-0.sh").read_text()


def test_engines_get_whole_paths_from_the_folder_named_or_the_one_called_in(node: Node) -> None:
    item = local()
    node.render(item)
    first, second = checkout(node.folder / "one" / "first"), checkout(node.folder / "two" / "second")
    lost = node.run("start.sh")
    assert lost.returncode == 1
    for path in ("./models/own", "../adapters/a b", "./chat.jinja"):
        assert f"own-0: there is no {path} in {node.folder}: {UNSET}" in lost.stderr
    nowhere = node.run("start.sh", ULLAGE_FLEET_FOLDER="no/such folder")
    assert (nowhere.returncode, nowhere.stderr) == (1, f"there is no folder no/such folder: {UNSET}\n")
    assert node.events() == []
    done = node.run("start.sh", ULLAGE_FLEET_FOLDER="one/first")
    assert done.returncode == 0, done.stderr
    argv = node.call(item.args.port)["argv"]
    assert argv[1] == f"{first}/models/own"
    assert argv[argv.index("--lora-modules") + 1] == f"support={first}/../adapters/a b"
    assert argv[argv.index("--chat-template") + 1] == f"{first}/chat.jinja"
    # what runs is compared by the plan's own paths
    again = node.run("start.sh", ULLAGE_FLEET_FOLDER=str(second))
    assert (again.returncode, again.stdout) == (0, "own-0: unchanged\n")


def test_nothing_is_stopped_for_a_replica_whose_files_are_not_there(node: Node) -> None:
    item, folder = local(), checkout(node.folder / "one" / "first")
    node.render(item)
    assert node.run("start.sh", ULLAGE_FLEET_FOLDER=str(folder)).returncode == 0
    running = node.running()
    node.render(item.model_copy(update={"args": item.args.model_copy(update={"model": "./models/other"})}))
    refused = node.run("start.sh", ULLAGE_FLEET_FOLDER=str(folder))
    assert (refused.returncode, f"own-0: there is no ./models/other in {folder}: {UNSET}" in refused.stderr) == (1, True)
    assert node.running() == running


def test_a_script_of_one_replica_can_be_started_by_itself(node: Node) -> None:
    item, folder = local(), checkout(node.folder / "one" / "first")
    node.render(item)
    lost = node.run("replicas/own-0.sh")
    assert (lost.returncode, lost.stderr) == (1, f"there is no ./models/own in {node.folder}: {UNSET}\n")
    (node.folder / f"fail-{item.args.port}").touch()
    started = node.run("replicas/own-0.sh", ULLAGE_FLEET_FOLDER=str(folder))
    assert "there is no" not in started.stderr
    assert node.call(item.args.port)["argv"][1] == f"{folder}/models/own"


def test_the_hash_of_arguments_is_over_the_plans_own_paths() -> None:
    item = local(port=8100)
    moved = item.model_copy(update={"args": item.args.model_copy(update={"model": "./models/other"})})
    assert vllm.arguments_sha256(item) != vllm.arguments_sha256(moved)
    assert vllm.command(item)[2] == "./models/own"
