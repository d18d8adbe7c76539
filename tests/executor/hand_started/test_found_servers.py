"""Real processes that are called vllm: found, asked, and described with what is not known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from executor.hand_started.found_servers import FoundServer, find_servers, named_gpus
from executor.hand_started.serve_command import read_arguments
from executor.hand_started.server_answers import ObservedLengths, ask_all, read_metrics
from executor.hand_started.server_search import search
from executor.nvml.gpu_readings import NvmlGpu
from tests.executor.hand_started.conftest import Start, eventually
from tests.executor.nvml.fake_driver import H100, pretend
from tests.ports import free_ports
from tests.ullage.commands import ullage
from ullage.views.servers_text import servers_text


def one(port: int) -> FoundServer:
    [server] = find_servers({port}).servers
    return server


def test_a_server_is_found_and_asked(start: Start) -> None:
    [port] = free_ports(1)
    process = start(
        "org/M", "--served-model-name", "chat", "--max-model-len", "4096", port=port, CUDA_VISIBLE_DEVICES="1,3", STAND_IN_CORE="1"
    )
    assert eventually(lambda: one(port).engine.titles == ("VLLM::EngineCore",))
    server = one(port)
    assert (server.engine.pid, server.engine.own, server.engine.command.model) == (process.pid, True, "org/M")
    assert (server.gpus, server.answers.names, server.answers.max_model_len) == ((1,), ("chat",), 4096)
    assert (server.answers.kv_blocks, server.answers.block_size, server.answers.kv_bytes) == (4096, 16, None)
    traffic = server.answers.traffic
    assert traffic is not None
    assert traffic.age_s is not None
    assert (traffic.requests, traffic.prompts, traffic.answers) == (100, ObservedLengths(300.0, 1000.0), ObservedLengths(50.0, None))
    assert server.unknown == ()
    text = servers_text(find_servers({port}))
    assert [words for words in ("org/M", "100 requests in the ", "300 tokens per prompt") if words not in text] == []


def test_what_is_not_known_is_said(start: Start) -> None:
    [port] = free_ports(1)
    start("org/M", "--wholly-new", "7", port=port, STAND_IN_KEY="k")
    unknown = one(port).unknown
    assert any(line.startswith("GPUs: CUDA_VISIBLE_DEVICES is not set") for line in unknown)
    assert "answers: the engine demands an API key; set VLLM_API_KEY to the one it was started with" in unknown
    assert any(line.startswith("flag --wholly-new: not in the option table") for line in unknown)


def test_our_key_goes_to_our_own_servers_only(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    start("org/M", port=port, STAND_IN_KEY="k")
    monkeypatch.setenv("VLLM_API_KEY", "k")
    engine = one(port).engine
    assert one(port).answers.names == ("org/M",)
    foreign = dataclasses.replace(engine, own=False)
    assert ask_all((foreign,), {})[engine.pid].trouble is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "192.0.2.1"], "192.0.2.1 is not an address of this machine"),
        (["--host", "metadata.example"], "is a name, which is not looked up"),
        (["--uds", "socket"], "a UNIX socket"),
    ],
)
def test_only_addresses_of_this_machine_are_asked(words: list[str], said: str, start: Start) -> None:
    [port] = free_ports(1)
    start("org/M", port=port)
    engine = dataclasses.replace(one(port).engine, command=read_arguments(["M", *words, "--port", str(port)]))
    trouble = ask_all((engine,), {})[engine.pid].trouble
    assert trouble is not None
    assert said in trouble


def test_a_port_of_another_process_is_not_asked(start: Start) -> None:
    first, second = free_ports(2)
    start("org/M", port=first)
    start("org/N", port=second)
    mine = one(first).engine
    lying = dataclasses.replace(mine, command=one(second).engine.command)
    trouble = ask_all((lying,), {})[mine.pid].trouble
    assert trouble is not None
    assert "do not listen on port" in trouble


def test_a_foreign_process_whose_environment_cannot_be_read_is_marked(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    start("org/M", port=port)
    monkeypatch.setattr("executor.hand_started.server_search._environment", lambda _: None)
    monkeypatch.setattr("executor.hand_started.server_search._owner", lambda _: 1)
    server = one(port)
    assert not server.engine.own
    assert any(line.startswith("environment: it belongs to ") for line in server.unknown)
    assert any("its environment cannot be read" in line for line in server.unknown if line.startswith("GPUs"))


def test_gpus_from_the_driver(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    [port] = free_ports(1)
    process = start("org/M", port=port)
    pretend(monkeypatch, tmp_path).machine([H100, H100], f"process 1 -1 {process.pid} 100")
    assert one(port).gpus == (1,)


def test_names_of_gpus() -> None:
    gpus = tuple(NvmlGpu(index, uuid, "", "9.0", None, None, "off", (), (), ()) for index, uuid in enumerate(["GPU-ab1", "GPU-ab2"]))
    assert named_gpus("GPU-ab2,0", 2, gpus) == ((1, 0), "")
    assert named_gpus("GPU-ab", 1, gpus)[0] is None
    assert named_gpus("GPU-ab1", 1, ()) == (None, "CUDA_VISIBLE_DEVICES names 'GPU-ab1', and the NVIDIA driver does not answer")
    assert named_gpus("MIG-1", 1, gpus) == (None, "it runs in a MIG instance")


def test_an_engine_without_its_server_is_an_orphan(start: Start) -> None:
    [port] = free_ports(1)
    process = start("org/M", port=port, STAND_IN_CORE="1")
    assert eventually(lambda: len(one(port).engine.family) == 2)
    [core] = set(one(port).engine.family) - {process.pid}
    assert core not in search().orphans
    assert core in search(lambda _: None).orphans


def test_pages_that_are_no_metrics() -> None:
    answers = read_metrics("<html>", ("a",), None, 1.0)
    assert (answers.kv_blocks, answers.traffic) == (None, None)
    odd = 'vllm:cache_config_info{num_gpu_blocks="None"} 1.0\nvllm:request_success_total 0.0\nvllm:request_prompt_tokens_count 0\n'
    answers = read_metrics(odd, ("a",), None, None)
    assert answers.kv_blocks is None
    assert answers.traffic is not None
    assert answers.traffic.prompts is None


def test_the_command_prints_them(start: Start, tmp_path: Path) -> None:
    [port] = free_ports(1)
    process = start("org/M", "--api-key", "s3cret", port=port)
    result = ullage("discover", "--engines")
    assert result.code == 0
    assert f"process {process.pid}\n" in result.out
    assert "s3cret" not in result.out
    target = tmp_path / "servers.json"
    assert ullage("discover", "--engines", "--json", "-o", str(target)).code == 0
    rows = {row["pid"]: row for row in json.loads(target.read_text(encoding="utf-8"))["servers"]}
    row = rows[process.pid]
    assert (row["port"], row["kv_blocks"], row["own"], row["requests"]) == (port, 4096, True, 100)
