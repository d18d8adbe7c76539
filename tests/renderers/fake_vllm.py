"""Stands in for `vllm` on PATH: writes down how it was called and answers like a small server.

FAKE_DIR/events gets a line per event; FAKE_DIR/fail-NAME makes the server NAME end at once; FAKE_DIR/await-NAME holds the
name of another server that must have begun before NAME is ready.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FAKE_DIR"])
NAME = sys.argv[sys.argv.index("--served-model-name") + 1]
PORT = int(sys.argv[sys.argv.index("--port") + 1])


def event(what: str) -> None:
    with (FOLDER / "events").open("a", encoding="utf-8") as events:
        events.write(f"{what} {PORT}\n")


def begun(port: str) -> bool:
    return f"begin {port}\n" in (FOLDER / "events").read_text(encoding="utf-8")


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        awaited = FOLDER / f"await-{PORT}"
        if awaited.exists() and not begun(awaited.read_text(encoding="utf-8")):
            self.send(503, {})
        else:
            self.send(200, {"data": [{"id": NAME}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert (body["model"], body["max_tokens"]) == (NAME, 1)
        assert self.headers.get("authorization") == "Bearer secret"
        event("token")
        self.send(200, {})

    def send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


def main() -> None:
    event("begin")
    calls = {"argv": sys.argv[1:], "environment": dict(os.environ), "pid": os.getpid(), "session": os.getsid(0)}
    (FOLDER / f"call-{PORT}.json").write_text(json.dumps(calls), encoding="utf-8")
    if (FOLDER / f"fail-{PORT}").exists():
        sys.exit("ValueError: larger than the available KV cache memory")
    # A worker that outlives its parent when that one is killed, as vLLM's does.
    worker = subprocess.Popen(["sleep", "600"])
    (FOLDER / f"worker-{PORT}").write_text(str(worker.pid), encoding="utf-8")

    def stop(*_: Any) -> None:
        worker.kill()
        event("stop")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    ThreadingHTTPServer(("127.0.0.1", PORT), Answer).serve_forever()


if __name__ == "__main__":
    main()
