"""`python -m executor.emulator serve MODEL ...`: the command line of `vllm serve`."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> int:
    """Run one engine; returns the exit code."""
    if not arguments or arguments[0] != "serve":
        sys.stderr.write("usage: python -m executor.emulator serve MODEL [options of vllm serve]\n")
        return 2
    from executor.emulator.options import parse_serve  # noqa: PLC0415 - a wrong command line answers without loading the engine

    options = parse_serve(arguments[1:], os.environ)
    from executor.emulator.process import serve  # noqa: PLC0415 - as above

    return serve(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
