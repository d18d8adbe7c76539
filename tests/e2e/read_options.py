"""Prints the options of `vllm serve`, and what it makes of command lines: read_options.py, with a JSON list of them on standard input.

Runs with the Python of the engine's environment. Each command line is the list of words behind `vllm serve`.
"""

from __future__ import annotations

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def main() -> int:
    """JSON on standard output: options by spelling with the number of their values, and of each command line the values it set."""
    command_lines: list[list[str]] = json.load(sys.stdin)
    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    options = {flag: action.nargs for action in parser._actions for flag in action.option_strings}
    parsed = [
        {name: value if isinstance(value, (int, float, str)) else str(value) for name, value in vars(parser.parse_args(words)).items()}
        for words in command_lines
    ]
    json.dump({"options": options, "parsed": parsed}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
