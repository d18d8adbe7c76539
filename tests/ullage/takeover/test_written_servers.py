"""Units and compose files: read as text, never executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage.takeover.compose_file import read_compose
from ullage.takeover.unit_file import read_unit
from ullage.takeover.written_server import serve_arguments, with_variables

UNIT = """[Unit]
Description=chat
[Service]
# a comment
Environment="CUDA_VISIBLE_DEVICES=2,3" OTHER=1
Environment=PORT=8001
EnvironmentFile=-/etc/vllm.env
WorkingDirectory=/srv/models
ExecStart=
ExecStart=-/opt/venv/bin/vllm serve 'meta-llama/Meta-Llama-3.1-8B' \\
    --served-model-name chat --port ${PORT} -tp 2 \\
    --chat-template "./with space.jinja" --max-num-seqs $SEQS --seed %i
[Install]
WantedBy=multi-user.target
"""

COMPOSE = """
services:
  web: {image: nginx}
  llm:
    image: registry.example:5000/vllm/vllm-openai:v0.20.1
    command: --model Qwen/Qwen3-0.6B --port 8000 --served-model-name small
    ports: ["9000:8000", "127.0.0.1:9001:8001/tcp"]
    env_file: .env
    deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ["3"]}]}}}
  own:
    build: .
    entrypoint: ["python3", "-m", "vllm.entrypoints.openai.api_server"]
    command: [--model, "${MODEL:-Qwen/Qwen3-0.6B}", --port, "${PORT}"]
    environment: {CUDA_VISIBLE_DEVICES: "0,1"}
    gpus: [{driver: nvidia, device_ids: ["1"]}]
"""


def test_a_unit() -> None:
    server = read_unit("a.service", UNIT)
    command = server.command
    assert (command.model, command.port, command.number("tensor-parallel-size")) == ("meta-llama/Meta-Llama-3.1-8B", 8001, 2)
    assert command.value("chat-template") == "./with space.jinja"
    assert (server.names, server.gpus, server.folder) == (("chat",), (2, 3), Path("/srv/models"))
    assert server.unknown == (
        "variable $SEQS: its value does not stand in the unit",
        "specifier %i: systemd knows its value only when the unit starts",
        "environment: -/etc/vllm.env is not read",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a systemd service"),
        ("just words", "not a systemd service"),
        ("[Unit]\nDescription=a\n", "not a systemd service"),
        ("[Service]\nType=simple\n", "it has no ExecStart"),
        ("[Service]\nExecStart=vllm serve M\nExecStart=\n", "it has no ExecStart"),
        ("[Service]\nExecStart=/bin/sleep 5 hunter2\n", "ExecStart: does not run `vllm serve` or its API server directly: /bin/sleep ..."),
        ("[Service]\nExecStart=vllm serve 'M\n", "ExecStart: its quotes cannot be read"),
        ('[Service]\nEnvironment="A=1\nExecStart=vllm serve M\n', "Environment: its quotes cannot be read"),
    ],
)
def test_texts_that_are_no_unit_of_vllm(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"a\.service: ") as caught:
        read_unit("a.service", text)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_compose_file() -> None:
    llm, own = read_compose("c.yml", COMPOSE)
    assert (llm.origin, llm.command.model, llm.names, llm.gpus, llm.version) == (
        "service llm of c.yml",
        "Qwen/Qwen3-0.6B",
        ("small",),
        (3,),
        "0.20.1",
    )
    assert llm.notes == ("published on port 9000 of its host",)
    assert llm.unknown == ("environment: its env_file is not read",)
    assert (own.command.model, own.command.port, own.gpus) == ("Qwen/Qwen3-0.6B", 0, (1,))
    assert own.unknown == ("variable ${PORT}: its value does not stand in the file",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a compose file: it has no services"),
        ("[1, 2]", "not a compose file"),
        ("services: {}", "not a compose file"),
        ("services: {web: {image: nginx}, odd: 5}", "none of its services runs vLLM: web, odd"),
        ("a: [1\nb: }", "not YAML that can be read (line 2)"),
        ("!!python/object/apply:os.system ['true']", "not YAML that can be read"),
        ('services: {llm: {image: vllm/vllm-openai, command: "--model \'M"}}', "services.llm.command: its quotes cannot be read"),
    ],
)
def test_texts_that_are_no_compose_file_of_vllm(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"c\.yml: ") as caught:
        read_compose("c.yml", text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["/bin/bash", "-lc", "cd /x && exec vllm serve M --port 1 > log 2>&1"], ("M", "--port", "1")),
        (["sh", "-c", "vllm serve M --port 1; echo done"], ("M", "--port", "1")),
        (["sh", "-c", "vllm serve 'M"], None),
        (["sh", "-c"], None),
        (["sh"], None),
        (["env", "A=1", "python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "M"], ("--model", "M")),
    ],
)
def test_commands_inside_commands(words: list[str], found: tuple[str, ...] | None) -> None:
    assert serve_arguments(words) == found


def test_variables() -> None:
    known = {"A": "1", "EMPTY": ""}
    assert with_variables("$A ${A} ${B:-2} ${B-3} ${EMPTY-4} ${EMPTY:-5} $C ${D}", known) == "1 1 2 3  5 $C ${D}"
