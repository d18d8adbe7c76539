"""Command lines of vLLM as people write them."""

from __future__ import annotations

import pytest

from executor.hand_started.serve_command import SECRET_WORD, arguments_of, arguments_within, read_arguments


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("vllm serve M --port 1", ("M", "--port", "1")),
        ("/venv/bin/python3.12 /venv/bin/vllm serve M", ("M",)),
        ("python -u -X dev -m vllm.entrypoints.openai.api_server --model M", ("--model", "M")),
        ("python -m vllm.entrypoints.cli.main serve M", ("M",)),
        ("python -m vllm.entrypoints.cli.main bench M", None),
        ("python -m http.server", None),
        ("python", None),
        ("vllm bench serve", None),
        ("vim vllm serve", None),
        ("grep vllm serve M", None),
        ("", None),
    ],
)
def test_which_processes_are_servers(line: str, found: tuple[str, ...] | None) -> None:
    assert arguments_of(line.split()) == found


def test_a_server_behind_other_words() -> None:
    assert arguments_within(["env", "A=1", "nice", "-n", "5", "uv", "run", "vllm", "serve", "M"]) == ("M",)
    assert arguments_within(["sleep", "5"]) is None


def test_flags_are_read_as_vllm_reads_them() -> None:
    line = "org/M -tp 2 --max_model_len=4K --served-model-name a b --no-enable-prefix-caching --enforce-eager --seed -1"
    command = read_arguments(line.split())
    assert (command.model, command.served_names()) == ("org/M", ("a", "b"))
    assert (command.number("tensor-parallel-size"), command.number("max-model-len"), command.value("seed")) == (2, 4096, "-1")
    assert (command.switched("enforce-eager"), command.switched("enable-prefix-caching"), command.switched("enable-lora")) == (
        True,
        False,
        False,
    )
    assert (command.host, command.port, command.not_understood) == ("0.0.0.0", 8000, ())
    assert [flag.words for flag in command.flags][3:5] == ["--no-enable-prefix-caching", "--enforce-eager"]


def test_the_model_may_be_a_flag_and_what_is_unknown_is_listed() -> None:
    command = read_arguments(["--model", "M", "--wholly-new", "7", "--port", "x"])
    assert (command.model, command.not_understood, command.port) == ("M", ("--wholly-new",), 0)
    assert read_arguments([]).model is None
    assert read_arguments(["M", "stray"]).not_understood == ("stray",)


@pytest.mark.parametrize("words", [["M", "--api-key", "s3cret", "s4cret"], ["M", "--hf-token=s3cret"], ["M", "--odd", "s3cret"]])
def test_secrets_are_not_kept(words: list[str]) -> None:
    assert "cret" not in str(read_arguments(words)).replace(SECRET_WORD, "")
    token = "hf_" + "a" * 34
    assert token not in str(read_arguments(["M", "--download-dir", token]))
