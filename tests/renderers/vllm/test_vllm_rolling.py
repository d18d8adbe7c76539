"""start.sh over what runs already: only what changed is touched, and never two replicas of one served model at once."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.plan import Replica
from renderers import vllm
from renderers.vllm.ready import alive
from tests.plans import replica
from tests.ports import free_ports
from tests.renderers.vllm.test_vllm_scripts import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    for pid in made.running():
        os.kill(pid, signal.SIGKILL)


def _changed(item: Replica, **args: object) -> Replica:
    return item.model_copy(update={"args": item.args.model_copy(update=args)})


def _pids(node: Node, *replicas: Replica) -> list[int]:
    return [int((node.scripts / "run" / f"{item.name}.pid").read_text().split()[0]) for item in replicas]


def _started(node: Node, *replicas: Replica) -> list[int]:
    node.render(*replicas)
    done = node.run("start.sh")
    assert done.returncode == 0, done.stderr
    return _pids(node, *replicas)


def _turns(node: Node, since: int) -> list[str]:
    return [line for line in node.events()[since:] if not line.startswith("token")]


def _two_of_one_model(gpus: tuple[int, int] = (0, 1)) -> tuple[Replica, Replica]:
    first, second = (replica(f"m-{i}", "m", gpus=(gpus[i],), args={"port": port}) for i, port in enumerate(free_ports(2)))
    return first, second


def _answers(port: int) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/health", timeout=60):
            return True
    except OSError:
        return False


def _pretending(node: Node, version: str) -> subprocess.CompletedProcess[str]:
    """start.sh in a bash that says it is of that version; bash itself lets nobody change the variable."""
    script = node.scripts / "rolling.sh"
    script.write_text(f"OTHER_VERSION=({version})\n" + script.read_text().replace("BASH_VERSINFO", "OTHER_VERSION"))
    return node.run("start.sh")


@pytest.mark.parametrize("version", ["3 2", "4 3"])
def test_a_bash_that_is_too_old_is_named_and_nothing_is_started(node: Node, version: str) -> None:
    node.render(replica("a", args={"port": free_ports(1)[0]}))
    done = _pretending(node, version)
    assert done.returncode == 1
    assert f"needs bash 4.4 or newer, this is {version.replace(' ', '.')}" in done.stderr
    assert "install a newer bash" in done.stderr
    assert not node.running()


@pytest.mark.parametrize("version", ["4 4", "5 0", "10 0"])
def test_a_newer_bash_goes_on(node: Node, version: str) -> None:
    node.render(replica("a", args={"port": free_ports(1)[0]}))
    done = _pretending(node, version)
    assert (done.returncode, "needs bash" in done.stderr) == (0, False)


def test_the_hash_covers_command_environment_and_mig_place() -> None:
    item = replica("r")
    others = (_changed(item, port=8101), _changed(item, max_num_seqs=65), replica("r", gpus=(1,)))
    assert len({vllm.arguments_sha256(each) for each in (item, *others)}) == 4
    # What changes nothing in an engine that runs does not matter.
    assert vllm.arguments_sha256(replica("r", start_s=600.0)) == vllm.arguments_sha256(item)
    assert vllm.arguments_sha256(replica("other name", planned_rps=0.1)) == vllm.arguments_sha256(item)


def test_a_second_start_changes_nothing_and_one_change_restarts_one(node: Node) -> None:
    one, two, three = free_ports(3)
    first, second = replica("a", "a", args={"port": one}), replica("b", "b", args={"port": two})
    before = _started(node, first, second)
    since = len(node.events())
    done = node.run("start.sh")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["a: unchanged", "b: unchanged"])
    assert (_pids(node, first, second), _turns(node, since)) == (before, [])
    # A new port is a new argument.
    second = _changed(second, port=three)
    after = _started(node, first, second)
    assert (after[0], alive(before[1]), after[1] != before[1]) == (before[0], False, True)
    assert _turns(node, since) == [f"stop {two}", f"begin {three}"]


@pytest.mark.parametrize("gpus", [(0, 1), (0, 0)])
def test_two_replicas_of_a_model_restart_one_after_the_other(node: Node, gpus: tuple[int, int]) -> None:
    first, second = _two_of_one_model(gpus)
    before = _started(node, first, second)
    ports = (first.args.port, second.args.port)
    since = len(node.events())
    node.render(_changed(first, max_num_seqs=32), _changed(second, max_num_seqs=32))
    with subprocess.Popen(["bash", str(node.scripts / "start.sh")], env=node.environment, stdout=subprocess.DEVNULL) as rolling:
        while rolling.poll() is None:
            # The other one is asked after the one: what went down between the questions has a sibling that is up.
            assert any(_answers(port) for port in (*ports, *ports))
    assert rolling.returncode == 0
    one, two = ports if _turns(node, since)[0] == f"stop {ports[0]}" else ports[::-1]
    assert _turns(node, since) == [f"stop {one}", f"begin {one}", f"stop {two}", f"begin {two}"]
    events = node.events()[since:]
    assert f"token {one}" in events[events.index(f"begin {one}") : events.index(f"stop {two}")]
    assert not set(before) & set(_pids(node, first, second))


def test_a_removed_replica_is_stopped_last_or_before_a_start_in_its_place(node: Node) -> None:
    one, two, three = free_ports(3)
    stays, goes = replica("a", "a", args={"port": one}), replica("b", "b", gpus=(1,), args={"port": two})
    before = _started(node, stays, goes)
    since = len(node.events())
    new = replica("c", "c", args={"port": three})
    after = _started(node, stays, new)
    assert (after[0], alive(before[1])) == (before[0], False)
    assert _turns(node, since) == [f"begin {three}", f"stop {two}"]
    assert not list((node.scripts / "run").glob("b.*[dp]"))
    since = len(node.events())
    assert _started(node, stays, replica("d", "d", args={"port": two})) == [before[0], *_pids(node, replica("d"))]
    assert _turns(node, since) == [f"stop {three}", f"begin {two}"]


def test_a_failing_restart_leaves_all_others_running(node: Node) -> None:
    first, second = _two_of_one_model((0, 1))
    leaver = replica("z", "z", gpus=(2,), args={"port": free_ports(3)[2]})
    before = _started(node, first, second, leaver)
    ports = (first.args.port, second.args.port)
    for port in ports:
        (node.folder / f"fail-{port}").touch()
    node.render(_changed(first, max_num_seqs=32), _changed(second, max_num_seqs=32))
    done = node.run("start.sh")
    assert done.returncode == 1
    failed, kept = (0, 1) if "m-0: not ready" in done.stderr else (1, 0)
    assert f"m-{failed}: not ready" in done.stderr
    assert f"m-{kept}: not changed: m-{failed} of the same served model is not ready" in done.stderr
    assert [alive(before[i]) for i in (failed, kept, 2)] == [False, True, True]
    # Once the fault is gone the same script ends the work: the one that is down first, then the other, then the leaver.
    for port in ports:
        (node.folder / f"fail-{port}").unlink()
    since = len(node.events())
    assert node.run("start.sh").returncode == 0
    assert _turns(node, since) == [
        f"begin {ports[failed]}", f"stop {ports[kept]}", f"begin {ports[kept]}", f"stop {leaver.args.port}"
    ]  # fmt: skip


def test_replicas_of_two_models_swap_gpus_and_ports(node: Node) -> None:
    one, two = free_ports(2)
    first, second = replica("a", "a", args={"port": one}), replica("b", "b", gpus=(1,), args={"port": two})
    before = _started(node, first, second)
    after = _started(node, replica("a", "a", gpus=(1,), args={"port": two}), replica("b", "b", args={"port": one}))
    assert not set(before) & set(after)
    assert (_answers(one), _answers(two)) == (True, True)


def test_one_of_a_model_does_not_take_the_port_of_the_other(node: Node) -> None:
    first, second = _two_of_one_model()
    before = _started(node, first, second)
    node.render(_changed(first, port=second.args.port), _changed(second, port=first.args.port))
    done = node.run("start.sh")
    assert (done.returncode, "both would be down at once" in done.stderr, _pids(node, first, second)) == (1, True, before)


def test_what_shrinks_is_restarted_before_what_grows_into_its_place(node: Node) -> None:
    one, two = free_ports(2)
    grows, shrinks = replica("a", "a", args={"port": one}), replica("b", "b", args={"port": two})
    _started(node, grows, shrinks)
    since = len(node.events())
    larger, smaller = (grows.ledger.model_copy(update={"total_mib": mib}) for mib in (30000, 20000))
    _started(
        node,
        _changed(grows, max_num_seqs=65).model_copy(update={"ledger": larger}),
        _changed(shrinks, max_num_seqs=63).model_copy(update={"ledger": smaller}),
    )
    assert _turns(node, since) == [f"stop {two}", f"begin {two}", f"stop {one}", f"begin {one}"]


def test_one_that_runs_but_does_not_answer_is_left_alone(node: Node) -> None:
    one, never = free_ports(2)
    item = replica("a", "a", args={"port": one}, start_s=0.0)
    before = _started(node, item)
    (node.folder / f"await-{one}").write_text(str(never))
    # The limit of the rendered script is minutes; a single question shows the same.
    script = node.scripts / "start.sh"
    line = next(line for line in script.read_text().splitlines() if line.startswith("add_replica"))
    script.write_text(script.read_text().replace(line, line.rpartition(" ")[0] + " 0"))
    done = node.run("start.sh")
    assert (done.returncode, "runs unchanged but does not answer" in done.stderr, _pids(node, item)) == (1, True, before)
    assert alive(before[0])


def test_a_server_without_a_record_is_restarted_once(node: Node) -> None:
    item = replica("a", "a", args={"port": free_ports(1)[0]})
    before = _started(node, item)
    (node.scripts / "run" / "a.record").unlink()
    after = _started(node, item)
    assert after != before
    assert _started(node, item) == after


def test_a_removed_replica_outlives_a_restart_that_needs_none_of_its_memory(node: Node) -> None:
    one, two = free_ports(2)
    stays, goes = replica("a", "a", args={"port": one}), replica("b", "b", args={"port": two})
    _started(node, stays, goes)
    since = len(node.events())
    _started(node, _changed(stays, max_num_seqs=32))
    assert _turns(node, since) == [f"stop {one}", f"begin {one}", f"stop {two}"]
