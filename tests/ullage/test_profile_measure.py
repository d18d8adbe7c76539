"""`ullage profile measure` against emulated engines and against servers that misbehave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.prediction import PredictedEngine, predict_latency
from profiles.latency.steptime import step_time
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements
from profiles.store.store_folder import read_store
from tests.emulator.processes import GIB, make_node, running
from tests.executor.fake_vllm_server import FakeServer, serving
from tests.executor.worlds import free_ports, until
from tests.ullage.commands import PROGRAM, Result, ullage

BIG = "Qwen/Qwen3-32B"
BIG_OPTIONS = ("--max-model-len", "2048", "--max-num-seqs", "64", "--kv-cache-memory-bytes", str(4 * GIB))


def measure(server: FakeServer, store: Path, *options: object, model: str = "tiny") -> Result:
    lengths = ("--input-tokens", "32", "--output-tokens", "4", "--concurrency", "1,2")
    return ullage("profile", "measure", "--url", server.url, "--model", model, "--gpu", "h100", "--store", store, *lengths, *options)


def points(store: Path) -> Measurements:
    return read_store(store) if store.exists() else Measurements()


@pytest.mark.slow
def test_the_emulators_step_time_comes_back(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running(make_node(tmp_path / "node"), BIG, *BIG_OPTIONS) as engine:
        command = (
            "profile",
            "measure",
            "--url",
            f"http://127.0.0.1:{engine.port}",
            "--model",
            "qwen3-32b",
            "--gpu",
            "h100",
            "--store",
            store,
        )
        loads = ("--input-tokens", "64", "--output-tokens", "32", "--concurrency", "1,4")
        result = ullage(*command, *loads, "--json")
        assert result.code == 0, result.err
        found = json.loads(result.out)
        assert (found["model"], found["gpu"], found["engine_version"], len(found["points"])) == (BIG, "H100-SXM-80GB", "0.32.0", 2)
        # nothing is measured twice
        again = ullage(*command, *loads)
        assert again.code == 0, again.err
        assert "0 points added" in again.out
    asked = PredictedEngine(builtin().model(BIG), builtin().gpu("h100"), EngineSettings(max_model_len=2048, max_num_seqs=64))
    step = step_time(asked.architecture, asked.gpu, asked.settings)
    kept = read_store(store)
    for point in kept.latency:
        clients = point.concurrency or 0
        # a machine may be slow, a step is never shorter than it was drawn: p50 is within 1 % of the model
        assert point.tpot_s is not None
        assert 0.95 < point.tpot_s / step.step_s(clients, clients * (64 + 16), clients) < 1.3
        predicted = predict_latency(asked, ClosedLoop(64, 32, clients), kept)
        assert predicted.tpot.p50_s == pytest.approx(point.tpot_s, rel=1e-4)
        assert predicted.provenance.startswith("measured at this load (ullage profile measure")
    assert (kept.starts[0].max_model_len, kept.starts[0].kv_bytes) == (2048, 4 * GIB)
    assert ullage("profile", "check", "--store", store).code == 0


@pytest.mark.slow
def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running(make_node(tmp_path / "node"), BIG, *BIG_OPTIONS) as engine:
        url = f"http://127.0.0.1:{engine.port}"
        command = ["profile", "measure", "--url", url, "--model", BIG, "--gpu", "h100", "--store", str(store)]
        command += ["--input-tokens", "16", "--output-tokens", "8", "--concurrency", "1,2,3"]
        process = subprocess.Popen([*PROGRAM, *command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            until(lambda: len(points(store).latency) >= 1)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        before = points(store)
        assert 1 <= len(before.latency) <= 3
        result = ullage(*command, "--json")
        assert result.code == 0, result.err
        assert json.loads(result.out)["known"] == len(before.latency)
    after = points(store)
    assert set(before.latency) <= set(after.latency)
    assert sorted(point.concurrency or 0 for point in after.latency) == [1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("hang", "no complete answer within 0.5 s; does the engine hang"),
        ("garbage", "is it a stream of server-sent events?"),
        ("error", 'http 500: {"message":"dead"}'),
        ("close", "reset"),
        ("short", "the server counts 3 tokens in an answer of 4"),
    ],
)
def test_requests_that_fail_are_no_points(mode: str, says: str, tmp_path: Path) -> None:
    with serving(FakeServer(mode=mode)) as server:
        result = measure(server, tmp_path / "store", "--request-seconds", "0.5")
    assert result.code == 1
    assert says in result.err
    assert f"{server.url}: 32 + 4 tokens, concurrency 1" in result.err
    assert points(tmp_path / "store").latency == ()


def test_tokens_that_arrive_together_are_timed_by_the_engine_or_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with serving(FakeServer(mode="together")) as server:
        refused = measure(server, store, "--confidence", "1")
        assert (refused.code, points(store).latency) == (1, ()), refused.out
        assert "32 + 4 tokens, concurrency 1: the tokens of an answer arrive together" in refused.err
        assert "give more --output-tokens" in refused.err
        # longer from first to last token than any client of this test can take
        server.decode_s = 3 * 1.5
        result = measure(server, store, "--confidence", "1")
    assert result.code == 0, result.err
    assert [point.tpot_s for point in points(store).latency] == [1.5, 1.5]


def test_points_before_a_failure_stay_and_are_not_repeated(tmp_path: Path) -> None:
    store = tmp_path / "store"
    # concurrency 1 takes one answer to warm up and 12 rounds of four, concurrency 2 fails
    with serving(FakeServer(mode="error", good=1 + 4 * 12)) as server:
        result = measure(server, store, "--confidence", "0.001", "--load-seconds", "600")
        assert result.code == 1
        assert [point.concurrency for point in points(store).latency] == [1]
        asked = len(server.bodies)
        server.mode = "ok"
        result = measure(server, store, "--confidence", "1", "--json")
        assert result.code == 0, result.err
        assert json.loads(result.out)["known"] == 1
        assert [point.concurrency for point in points(store).latency] == [1, 2]
        measure(server, store, "--again")
    prompts = [tuple(body["prompt"]) for body in server.bodies]
    assert len({prompt[:4] for prompt in prompts}) == len(prompts) > asked
    assert all(len(prompt) == 32 for prompt in prompts)


@pytest.mark.parametrize(
    ("server", "options", "says"),
    [
        (FakeServer(model="other", root="org/other"), (), "does not serve tiny, but other (org/other)"),
        (FakeServer(), ("--served-name", "nope"), "does not serve nope, but tiny"),
        (FakeServer(max_model_len=16), (), "32 + 4 tokens are more than the server's max_model_len 16"),
        (FakeServer(others=1), ("--confidence", "1"), "requests of others ended meanwhile"),
        (FakeServer(cached_tokens=16), ("--confidence", "1"), "the prefix cache answered"),
        (FakeServer(key="secret"), (), "the engine demands an API key; set VLLM_API_KEY"),
        (FakeServer(), ("--concurrency", "1,x"), "--concurrency 1,x: write whole numbers"),
        (FakeServer(), ("--concurrency", "0"), "write whole numbers of at least 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_measured_is_said(server: FakeServer, options: tuple[str, ...], says: str, tmp_path: Path) -> None:
    with serving(server):
        result = measure(server, tmp_path / "store", *options)
    assert result.code == 1
    assert says in result.err
    assert points(tmp_path / "store").latency == ()


def test_an_api_key_of_the_environment_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    with serving(FakeServer(key="secret", model="llama-8b", root="meta-llama/Llama-3.1-8B-Instruct")) as server:
        # the catalogue knows the root under another alias
        result = measure(server, tmp_path / "store", "--confidence", "1", model="llama-3.1-8b")
    assert result.code == 0, result.err
    assert {point.model for point in points(tmp_path / "store").latency} == {"meta-llama/Llama-3.1-8B"}
    assert all(b"secret" not in path.read_bytes() for path in (tmp_path / "store").rglob("*.yaml"))


def test_nobody_there(tmp_path: Path) -> None:
    result = measure(FakeServer(port=free_ports(1)[0]), tmp_path / "store")
    assert (result.code, "nothing answers (Connect call failed" in result.err or "refused" in result.err) == (1, True), result.err


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "https://h:1", "http://h:1/path", "http://h:x", "http://"])
def test_addresses(url: str, tmp_path: Path) -> None:
    result = ullage("profile", "measure", "--url", url, "--model", "m", "--gpu", "h100", "--store", tmp_path / "store")
    assert result.code == 1
    assert url in result.err


def test_options_that_are_missing() -> None:
    result = ullage("profile", "measure", "--url", "http://h:1")
    assert (result.code, result.err) == (1, "error: give --model and --gpu; `ullage profile measure --help` shows an example\n")


@pytest.mark.slow
def test_clients_that_wait_for_room_are_no_point(tmp_path: Path) -> None:
    store = tmp_path / "store"
    options = ("--max-model-len", "2048", "--max-num-seqs", "2", "--kv-cache-memory-bytes", str(4 * GIB))
    with running(make_node(tmp_path / "node"), BIG, *options) as engine:
        where = ("--url", f"http://127.0.0.1:{engine.port}", "--model", BIG, "--gpu", "h100", "--store", store)
        loads = ("--input-tokens", "32", "--output-tokens", "16", "--concurrency", "2,8,16", "--confidence", "1")
        result = ullage("profile", "measure", *where, *loads)
    assert result.code == 0, result.err
    assert [point.concurrency for point in points(store).latency] == [2]
    assert "32 + 16 tokens: ended before concurrency 8: the engine does not run more clients at once" in result.out
