"""What renderers know about flags is what the real parser takes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from renderers.templates import package_text
from renderers.vllm import command, refresh_options
from renderers.vllm.option_table import table_for
from tests.e2e.engines import ENVIRONMENT
from tests.plans import replica

pytestmark = pytest.mark.vllm

READ_OPTIONS = Path(__file__).with_name("read_options.py")
EVERYTHING: dict[str, Any] = {
    "host": "127.0.0.1",
    "revision": "main",
    "quantization": "fp8",
    "tensor_parallel_size": 2,
    "kv_cache_dtype": "fp8",
    "stream_interval": 4,
    "enforce_eager": True,
    "enable_sleep_mode": True,
    "lora_modules": ({"name": "tuned", "path": "/adapters/tuned"},),
    "max_loras": 1,
    "max_lora_rank": 32,
    "runner": "pooling",
    "hf_overrides": '{"architectures": ["Qwen3ForSequenceClassification"], "is_original_qwen3_reranker": true}',
    "extra_args": ({"flag": "enable-auto-tool-choice", "value": "true"}, {"flag": "tool-call-parser", "value": "hermes"}),
}


def test_every_flag_of_a_rendered_command_is_taken_with_its_value(vllm: Path) -> None:
    one = replica("a", "served", "some/model", gpus=(0, 1), args=EVERYTHING)
    words = command(one)[2:]
    done = subprocess.run(
        [vllm.with_name("python"), READ_OPTIONS],
        input=json.dumps([words]),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, **ENVIRONMENT},
    )
    found = json.loads(done.stdout)
    (parsed,) = found["parsed"]
    arguments = one.args.model_dump()
    assert {"served_model_name": str([arguments.pop("served_model_name")])}.items() <= parsed.items()
    assert parsed["model_tag"] == arguments.pop("model")
    adapters = arguments.pop("lora_modules")
    assert parsed["enable_lora"] is True
    assert all(f"name='{adapter['name']}', path='{adapter['path']}'" in parsed["lora_modules"] for adapter in adapters)
    del arguments["extra_args"]
    assert (parsed["enable_auto_tool_choice"], parsed["tool_call_parser"]) == (True, "hermes")
    assert ast.literal_eval(parsed["hf_overrides"]) == json.loads(arguments.pop("hf_overrides"))
    assert {name: parsed[name] for name in arguments} == arguments
    shipped = table_for("0.32.0").table.options
    assert {flag: option.nargs for flag, option in shipped.items()} == found["options"]


def test_the_shipped_table_is_what_the_engine_s_own_parser_says(vllm: Path) -> None:
    done = subprocess.run(
        [vllm.with_name("python"), refresh_options.__file__],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, **ENVIRONMENT},
    )
    version = json.loads(done.stdout)["version"]
    assert done.stdout == package_text(f"vllm/options/{version}.json")
