from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from executor.emulator.options import human_readable_int, parse_serve

TABLE = json.loads((Path(__file__).parents[2] / "renderers/vllm/options/0.32.0.json").read_text())["options"]
# Options that would make the emulator something else are named in its error instead.
REFUSED = {"--config", "--uds", "--grpc", "--headless", "--root-path", "--device-ids", "--num-gpu-blocks-override"} | {
    *("--ssl-keyfile", "--ssl-certfile", "--pipeline-parallel-size", "--data-parallel-size", "--api-server-count"),
    "--kv-transfer-config",
}
SAMPLES = {"int": "2", "float": "0.5", "loads": "[]", "human_readable_int": "4K", "human_readable_int_or_auto": "auto"}
NUMBERS = {"max_num_queued_reqs", "max_num_queued_tokens", "kv_cache_memory_bytes"}


def arguments(option: dict[str, Any], flag: str) -> list[str]:
    if option["nargs"] == 0:
        return [flag]
    if option["choices"]:
        return [flag, option["choices"][0]]
    if option["dest"] in NUMBERS:
        return [flag, "4096"]
    return [flag, SAMPLES.get(option["type"] or "", "x")]


@pytest.mark.parametrize(
    "option", [option for option in TABLE if option["flags"] and option["dest"] != "help"], ids=lambda option: option["dest"]
)
def test_every_option_of_the_table_is_read(option: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    for flag in option["flags"]:
        given = ["model", *arguments(option, flag)]
        if REFUSED & set(option["flags"]) and not flag.startswith("--no-"):
            with pytest.raises(SystemExit):
                parse_serve(given, {})
            assert "does not imitate" in capsys.readouterr().err
        else:
            assert parse_serve(given, {}).model in {"model", "x"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["m", "--max-num-seq", "4"], "unrecognized arguments: --max-num-seq 4"),
        (["m", "--swap-space", "4"], "unrecognized arguments"),
        (["m", "--dtype", "int3"], "invalid choice: 'int3'"),
        (["m", "--port", "many"], "argument --port: invalid int value: 'many'"),
        (["m", "--max-model-len", "8Ki"], "--max-model-len"),
        (["m", "--kv-cache-memory-bytes", "2Gi"], "--kv-cache-memory-bytes"),
        (["m", "--gpu-memory-utilization", "1.5"], "--gpu-memory-utilization"),
        (["m", "--max-num-queued-reqs", "0"], "--max-num-queued-reqs"),
        (["m", "--stream-interval", "0"], "--stream-interval"),
        (["m", "n"], "unrecognized arguments: n"),
        (["m", "--scheduling-policy", "lifo"], "invalid choice"),
        (["m", "--served-model-name"], "expected at least one argument"),
    ],
)
def test_what_vllm_would_not_take_is_refused(given: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_serve(given, {})
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_what_is_acted_on() -> None:
    found = parse_serve(
        ["m", "--served-model-name", "a", "b", "--max_model_len=8k", "--kv-cache-memory-bytes", "1G", "--enable-sleep-mode", "-tp", "2"],
        {"VLLM_API_KEY": "secret"},
    )
    assert (found.served_names, found.max_model_len, found.kv_cache_memory_bytes) == (("a", "b"), 8000, 1 << 30)
    assert (found.enable_sleep_mode, found.tensor_parallel_size, found.api_keys) == (True, 2, ("secret",))
    assert parse_serve(["m", "--api-key", "flag"], {"VLLM_API_KEY": "secret"}).api_keys == ("flag",)
    plain = parse_serve(["--model", "m"], {})
    assert (plain.model, plain.served_names, plain.host, plain.port, plain.max_model_len) == ("m", ("m",), "127.0.0.1", 8000, None)
    assert (plain.gpu_memory_utilization, plain.block_size, plain.stream_interval) == (0.92, None, 1)
    assert parse_serve(["m", "--max-model-len", "auto"], {}).max_model_len is None


def test_human_readable_int() -> None:
    assert [human_readable_int(text) for text in ("7", "2k", "2K", "1.5m", "128M")] == [7, 2000, 2048, 1_500_000, 134217728]
    with pytest.raises(ValueError, match="128Mi"):
        human_readable_int("128Mi")


def test_adapters_are_served_under_their_names() -> None:
    given = ["model", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "64", "--lora-modules", "legal=/a/b", "support=c/d"]
    options = parse_serve(given, {})
    assert options.served_names == ("model", "legal", "support")
    assert (options.max_loras, options.max_lora_rank) == (2, 64)
    assert parse_serve(["model"], {}).max_loras == 0
