"""The program that writes an option table, on packages called vllm that have nothing but a parser, where releases keep it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from renderers.vllm import refresh_options

PROGRAM = Path(refresh_options.__file__)
LAYOUTS = {
    "0.9.0": ("vllm.entrypoints.openai.cli_args", "vllm.utils"),
    "0.16.0": ("vllm.entrypoints.openai.cli_args", "vllm.utils.argparse_utils"),
    "0.32.0": ("vllm.entrypoints.launchers.cli_args", "vllm.utils.argparse_utils"),
    "0.33.0": ("vllm.entrypoints.common.cli_args", "vllm.utils.argparse_utils"),
}
CLASS = """
import argparse

class FlexibleArgumentParser(argparse.ArgumentParser):
    pass
"""
PARSER = """
import argparse, enum, os

print("vLLM greets whoever imports it")
os.write(1, b"and so does what it is compiled from\\n")

class Level(enum.IntEnum):
    O2 = 2

def make_arg_parser(parser):
    parser.add_argument("model_tag", type=str, nargs="?")
    parser.add_argument("--port", "-p", type=int, default=8000)
    parser.add_argument("--level", type=str, default=Level.O2)
    parser.add_argument("--size", choices=[1, 8, None], default=float("inf"))
    parser.add_argument("--dev", action="store_true", default=bool(os.environ.get("VLLM_SERVER_DEV_MODE")))
    parser.add_argument("--names", nargs="+", type=lambda text: text, default=("a", {"b": object()}))
    action = parser.add_argument("--enable-x", action=argparse.BooleanOptionalAction)
    action.option_strings = ["--enable-x"]
    return parser
"""
ROWS: list[dict[str, Any]] = [
    {"flags": ["-h", "--help"], "dest": "help", "type": None, "nargs": 0, "choices": None, "default": "==SUPPRESS=="},
    {"flags": [], "dest": "model_tag", "type": "str", "nargs": "?", "choices": None, "default": None},
    {"flags": ["--port", "-p"], "dest": "port", "type": "int", "nargs": None, "choices": None, "default": 8000},
    {"flags": ["--level"], "dest": "level", "type": "str", "nargs": None, "choices": None, "default": None},
    {"flags": ["--size"], "dest": "size", "type": None, "nargs": None, "choices": ["1", "8", "None"], "default": None},
    {"flags": ["--dev"], "dest": "dev", "type": None, "nargs": 0, "choices": None, "default": False},
    {"flags": ["--names"], "dest": "names", "type": "<lambda>", "nargs": "+", "choices": None, "default": ["a", {"b": None}]},
    {"flags": ["--enable-x", "--no-enable-x"], "dest": "enable_x", "type": None, "nargs": 0, "choices": None, "default": None},
]


def installed(folder: Path, version: str, modules: dict[str, str]) -> Path:
    """A package vllm of that version with these modules."""
    (folder / "vllm").mkdir(parents=True)
    (folder / "vllm" / "__init__.py").write_text(f'__version__ = "{version}+cpu"\n')
    platforms = "class current_platform:\n    device_type = 'cpu'\n"
    for name, text in {"vllm.platforms": platforms, **modules}.items():
        path = folder.joinpath(*name.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        for parent in path.relative_to(folder).parents:
            if parent.name:
                (folder / parent / "__init__.py").touch()
        path.with_suffix(".py").write_text(text)
    return folder


def refreshed(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "VLLM_SERVER_DEV_MODE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False, timeout=60, env=environment)


@pytest.mark.parametrize("version", LAYOUTS)
def test_the_parser_is_found_where_releases_keep_it_and_nothing_else_is_printed(version: str, tmp_path: Path) -> None:
    parser, parser_class = LAYOUTS[version]
    done = refreshed(installed(tmp_path, version, {parser: PARSER, parser_class: CLASS}))
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["options"] == ROWS
    assert table["version"] == version
    assert table["source"] == (
        f"argparse parser of `vllm serve` ({parser}.make_arg_parser) read out of vLLM {version}, CPU build; vLLM is Apache-2.0"
    )
    assert done.stdout.count("\n") == len(ROWS) + 8
    assert "vLLM greets" in done.stderr
    assert "so does what it is compiled from" in done.stderr


def test_a_parser_that_is_kept_elsewhere_is_asked_for(tmp_path: Path) -> None:
    done = refreshed(installed(tmp_path, "9.9.0", {"vllm.elsewhere": PARSER, "vllm.utils.argparse_utils": CLASS}))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no make_arg_parser in vllm.entrypoints.common.cli_args or " in done.stderr


def test_a_module_that_vllm_misses_is_named(tmp_path: Path) -> None:
    parser, parser_class = LAYOUTS["0.33.0"]
    done = refreshed(installed(tmp_path, "0.33.0", {parser: "import gguf_is_not_here\n", parser_class: CLASS}))
    assert done.returncode == 1
    assert "No module named 'gguf_is_not_here'" in done.stderr
