"""Processes that are none of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LISTENS = (
    "import socket, sys, threading\n"
    "server = socket.socket()\n"
    "server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
    "server.bind(('127.0.0.1', int(sys.argv[1])))\n"
    "server.listen()\n"
    "print('up', flush=True)\n"
    "threading.Event().wait()\n"
)


@contextmanager
def stranger(port: int) -> Iterator[subprocess.Popen[str]]:
    """A program that listens there and dies of any signal."""
    argv = [sys.executable, "-c", _LISTENS, str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()
