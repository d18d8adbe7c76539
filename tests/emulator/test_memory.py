from __future__ import annotations

import http.client
import json
import re
import signal
import socket
from pathlib import Path

import pytest

from executor.emulator.devices import gpu_path, instance_uuid, open_gpu, read_node, repartition
from executor.emulator.gpu_file import DeviceError
from tests.emulator.processes import GIB, MODEL, SMALL, SMALL_SHARE, launch, make_node, refused, running
from tests.executor.worlds import until

# On an 80 GB card, one of these fits and two do not.
LARGE = (*SMALL[:-1], str(60 * GIB), "--gpu-memory-utilization", "0.5", "--enable-sleep-mode", "--served-model-name", "large")


def test_an_engine_takes_what_the_ledger_says_and_gives_it_back(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    with running(node, MODEL, *SMALL_SHARE, "--served-model-name", "small") as engine:
        (resident,) = read_node(node).gpus[0].residents
        assert (resident.pid, resident.name) == (engine.process.pid, "small")
        # One GiB of pool, the weights of 0.6 billion parameters in two bytes, and overheads.
        assert 1024 + 1100 < resident.memory_mib < 8 * 1024
        assert engine.end(signal.SIGTERM) == 0
    assert read_node(node).gpus[0].used_mib == 0
    assert read_node(node).over_commits == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--max-model-len", "2048", "--kv-cache-memory-bytes", "1000000"), "larger than the available KV cache memory"),
        (("--max-model-len", "2048", "--gpu-memory-utilization", "0.01"), "No available memory for the cache blocks"),
        (("--max-model-len", "999999999"), "is greater than the derived"),
        (("--kv-cache-memory-bytes", str(200 * GIB), "--gpu-memory-utilization", "0.5"), "CUDA out of memory"),
        (("--tensor-parallel-size", "2"), "needs 2 GPUs"),
        (("--quantization", "nonsense"), "nonsense"),
    ],
)
def test_what_cannot_run_does_not_start(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    code, log = refused(make_node(tmp_path), MODEL, *arguments)
    assert code == 1
    assert says in log
    assert "Engine core initialization failed" in log
    assert "Traceback" not in log
    assert read_node(tmp_path).gpus[0].used_mib == 0


@pytest.mark.parametrize(
    ("environment", "gpus", "says"),
    [
        ({"ULLAGE_EMULATED_NODE": ""}, "0", "ULLAGE_EMULATED_NODE is not set"),
        ({"ULLAGE_EMULATED_NODE": "/nowhere"}, "0", "not an emulated node"),
        ({"ULLAGE_EMULATED_START_SCALE": "fast"}, "0", "ULLAGE_EMULATED_START_SCALE is 'fast'"),
        ({}, "3", "no device '3'"),
        ({}, "MIG-1", "no MIG instance MIG-1"),
        ({}, "0,0", "twice"),
    ],
)
def test_a_wrong_environment_is_named(tmp_path: Path, environment: dict[str, str], gpus: str, says: str) -> None:
    code, log = refused(make_node(tmp_path), MODEL, "--tensor-parallel-size", "1", gpus=gpus, environment=environment)
    assert (code, says in log, "Traceback" in log) == (1, True, False)


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    code, log = refused(make_node(tmp_path), "Qwen/Qwen3-0.7B")
    assert code == 1
    assert "Qwen3-0.6B" in log


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"model_type": "llama", "hidden_size": -1}'])
def test_a_local_folder_that_is_no_model_is_named(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if content is not None:
        (folder / "config.json").write_text(content)
    code, log = refused(make_node(tmp_path / "node"), str(folder))
    assert (code, "config.json" in log, "Traceback" in log) == (1, True, False), log


def test_a_port_in_use_is_found_first(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, log = refused(node, MODEL, *SMALL_SHARE, port=taken.getsockname()[1])
    assert code == 1
    assert "Address already in use" in log


def test_the_second_engine_is_refused_while_memory_is_short_and_starts_when_the_first_sleeps(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    with running(node, MODEL, *LARGE) as first:
        code, log = refused(node, MODEL, *LARGE)
        assert code == 1
        assert "Free memory on device cuda:0" in log
        assert "is less than desired GPU memory utilization (0.5" in log
        assert read_node(node).over_commits == 0
        held_mib = read_node(node).gpus[0].used_mib
        assert first.post("/sleep?level=1").status == 200
        assert first.get("/is_sleeping").json == {"is_sleeping": True}
        assert first.metric("vllm:engine_sleep_state", sleep_state="weights_offloaded") == 1
        assert read_node(node).gpus[0].used_mib < held_mib / 10
        with running(node, MODEL, *LARGE):
            woken = first.post("/wake_up")
            assert woken.status == 500
            assert "CUDA out of memory" in woken.json["error"]["message"]
            assert first.get("/is_sleeping").json == {"is_sleeping": True}
            assert read_node(node).over_commits == 1
            assert read_node(node).gpus[0].instances[0].peak_mib > read_node(node).gpus[0].total_mib
        assert first.post("/wake_up").status == 200
        assert first.post("/v1/completions", {"model": "large", "prompt": "hi", "max_tokens": 2}).status == 200
        assert read_node(node).gpus[0].used_mib == held_mib


def test_a_sleeper_holds_requests_and_answers_them_awake(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    with running(node, MODEL, *LARGE) as engine:
        assert engine.post("/sleep?level=2&mode=wait").status == 200
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps({"prompt": "hi", "max_tokens": 3, "ignore_eos": True}))
        assert until(lambda: engine.metric("vllm:num_requests_waiting") == 1)
        assert engine.get("/health").status == 200
        assert engine.post("/wake_up").status == 200
        assert json.loads(connection.getresponse().read())["usage"]["completion_tokens"] == 3
        connection.close()


@pytest.mark.parametrize(("mode", "reason"), [("abort", "abort"), ("wait", "length"), ("keep", "length")])
def test_what_sleep_does_to_requests_in_flight(tmp_path: Path, mode: str, reason: str) -> None:
    node = make_node(tmp_path)
    with running(node, MODEL, *LARGE) as engine:
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
        # what sleep aborts must still run when it comes, however late; the others end by themselves
        tokens = 2000 if reason == "abort" else 50
        connection.request(
            "POST", "/v1/completions", json.dumps({"prompt": "hi", "max_tokens": tokens, "ignore_eos": True, "stream": True})
        )
        reply = connection.getresponse()
        first = reply.readline()
        assert engine.post(f"/sleep?mode={mode}").status == 200
        assert engine.post("/wake_up").status == 200
        lines = [line for line in (first + reply.read()).split(b"\n\n") if line]
        assert json.loads(lines[-2].removeprefix(b"data: "))["choices"][0]["finish_reason"] == reason
        if reason == "length":
            assert len(lines) == 51
        connection.close()
    assert engine.process.returncode is not None


def test_sleep_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with running(make_node(tmp_path), MODEL, *SMALL_SHARE) as engine:
        assert engine.post("/sleep?level=7").status == 400
        assert engine.post("/sleep?mode=soon").status == 400
        assert engine.post("/wake_up?tags=all").status == 400
        # Without --enable-sleep-mode it is a state and frees nothing.
        held_mib = read_node(tmp_path).gpus[0].used_mib
        assert engine.post("/sleep").status == 200
        assert read_node(tmp_path).gpus[0].used_mib == held_mib


def test_a_killed_engine_leaves_a_slot_that_the_next_start_cleans(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    with running(node, MODEL, *LARGE) as engine:
        engine.end(signal.SIGKILL)
        with open_gpu(node, 0) as gpu:
            assert [slot.pid for _, slot in gpu.slots(0)] == [engine.process.pid]
    with running(node, MODEL, *LARGE) as engine, open_gpu(node, 0) as gpu:
        assert [slot.pid for _, slot in gpu.slots(0)] == [engine.process.pid]


def test_two_engines_share_a_gpu(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    with running(node, MODEL, *SMALL_SHARE) as one, running(node, MODEL, *SMALL_SHARE) as two:
        connections = [http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60) for engine in (one, two)]
        for connection in connections:
            connection.request("POST", "/v1/completions", json.dumps({"prompt": "hi", "max_tokens": 40, "ignore_eos": True}))
        replies = [json.loads(connection.getresponse().read()) for connection in connections]
        assert [reply["usage"]["completion_tokens"] for reply in replies] == [40, 40]
        for connection in connections:
            connection.close()
        gpu = read_node(node).gpus[0]
        assert len(gpu.residents) == 2
        assert gpu.over_commits == 0
        # Together they worked no longer than the GPU was busy.
        assert 0 < sum(resident.busy_s for resident in gpu.residents) <= gpu.instances[0].busy_s * 1.05 + 0.01


def test_tensor_parallel_engines_hold_memory_on_every_gpu(tmp_path: Path) -> None:
    node = make_node(tmp_path, 2)
    with running(node, MODEL, *SMALL, "--gpu-memory-utilization", "0.2", "-tp", "2", gpus="1,0") as engine:
        assert [len(gpu.residents) for gpu in read_node(node).gpus] == [1, 1]
        assert engine.post("/v1/completions", {"prompt": "hi", "max_tokens": 3}).status == 200


def test_mig_instances_have_their_own_memory(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    repartition(node, 0, (("3g.40gb", 0), ("3g.40gb", 4)))
    left, right = instance_uuid(0, 0), instance_uuid(0, 4)
    with running(node, MODEL, *SMALL_SHARE, gpus=left), running(node, MODEL, *SMALL_SHARE, gpus=right):
        instances = read_node(node).gpus[0].instances
        assert [len(instance.residents) for instance in instances] == [1, 1]
        assert all(instance.total_mib < 45 * 1024 for instance in instances)
        with pytest.raises(DeviceError, match="while in use"):
            repartition(node, 0, ())
    code, log = refused(node, MODEL, *SMALL_SHARE)
    assert (code, "is in MIG mode" in log) == (1, True)
    repartition(node, 0, ())
    assert [instance.profile for instance in read_node(node).gpus[0].instances] == [""]


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    engine = launch(node, MODEL, *SMALL_SHARE, environment={"ULLAGE_EMULATED_START_SCALE": "1000"})
    assert engine.process.stderr is not None
    engine.process.stderr.readline()
    assert engine.end(signal.SIGTERM) == 0
    assert not any("Application startup complete" in line for line in engine.log)
    engine.process.stderr.close()
    assert read_node(node).gpus[0].used_mib == 0
    assert gpu_path(node, 0).exists()


def test_a_draft_model_takes_memory_and_blocks_and_a_method_without_figures_is_refused(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    blocks = []
    for added in ((), ("--speculative-config", f'{{"model": "{MODEL}", "num_speculative_tokens": 2}}')):
        with running(node, MODEL, *SMALL_SHARE, *added) as engine:
            blocks.append(re.search(r'num_gpu_blocks="(\d+)"', engine.get("/metrics").body.decode())[1])  # type: ignore[index]
            body = {"model": MODEL, "prompt": [1, 2], "max_tokens": 3, "ignore_eos": True}
            assert engine.post("/v1/completions", body).json["usage"]["completion_tokens"] == 3
    assert int(blocks[0]) == 2 * int(blocks[1]) + int(blocks[0]) % 2
    code, log = refused(node, MODEL, *SMALL_SHARE, "--speculative-config", '{"method": "mtp", "num_speculative_tokens": 1}')
    assert code != 0
    assert "argument --speculative-config: method: 'mtp' is not counted" in log
