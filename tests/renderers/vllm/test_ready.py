from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from renderers.vllm import ready
from tests.ports import free_port


@contextmanager
def _server(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            status, body = answers[self.path]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


GOOD = {"/health": (200, b""), "/v1/models": (200, b'{"data": [{"id": "m"}]}'), "/v1/completions": (200, b"{}")}


@pytest.mark.parametrize(
    ("changes", "lack"),
    [
        ({}, ""),
        ({"/health": (503, b"")}, "/health: HTTP Error 503"),
        ({"/v1/models": (200, b'{"data": [{"id": "other"}]}')}, "another program may hold the port"),
        ({"/v1/models": (200, b"<html>")}, "/v1/models: "),
        ({"/v1/models": (200, b"[]")}, "/v1/models: "),
        ({"/v1/completions": (500, b"")}, "/v1/completions: HTTP Error 500"),
        # a server that generates nothing has no completions
        ({"/v1/completions": (404, b""), "/pooling": (200, b"{}")}, ""),
        ({"/v1/completions": (404, b""), "/pooling": (500, b"")}, "/pooling: HTTP Error 500"),
    ],
)
def test_says_what_a_server_lacks(changes: dict[str, tuple[int, bytes]], lack: str) -> None:
    with _server({**GOOD, **changes}) as url:
        found = ready.missing(url, "m")
    assert lack in found
    assert bool(found) == bool(lack)


def _run(url: str, pid: int) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, str(Path(ready.__file__)), "--url", url, "--model", "m", "--limit-s", "0.1", "--pid", str(pid)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


def test_ends_with_the_limit_or_the_process() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    late = _run(url, os.getpid())
    assert (late.returncode, "not ready within 0.1 s" in late.stderr, "Connection refused" in late.stderr) == (1, True, True)
    with subprocess.Popen(["true"]) as ended:
        # Ended, but not yet taken note of by its parent: still not alive.
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        gone = _run(url, ended.pid)
    assert (gone.returncode, "ended before it was ready" in gone.stderr) == (1, True)
