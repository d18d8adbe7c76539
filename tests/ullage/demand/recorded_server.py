"""A Prometheus server that answers from recorded bodies: 14 days of one served model by the hour, in the form of the real API.

The days repeat themselves, so that a question about any time has an answer. Every served name but the ones of `UNKNOWN` has these.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.ports import free_port

BODIES = Path(__file__).with_name("recorded")
UNKNOWN = "stranger"
TOKEN = "let-me-in"


@dataclass
class RecordedServer:
    """Where it is and what it was asked; reply answers in place of the recorded bodies, token is what a question must carry."""

    url: str = ""
    questions: list[dict[str, str]] = field(default_factory=list)
    reply: tuple[int, bytes] | None = None
    token: str | None = None

    def answer(self, target: str, authorization: str | None) -> tuple[int, bytes]:
        parts = urlsplit(target)
        if parts.path != "/api/v1/query_range":
            return 404, b"404 page not found\n"
        if self.token is not None and authorization != f"Bearer {self.token}":
            return 401, b"Unauthorized\n"
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.questions.append(asked)
        return self.reply or (200, json.dumps(recorded(asked)).encode())


def recorded(asked: dict[str, str]) -> dict[str, Any]:
    """The body of the series that a question names, at the times that it asks for."""
    if "by (model_name)" in asked["query"]:
        return read("models")
    name = next(path.stem for path in BODIES.glob("*.json") if f"vllm:{path.stem}" in asked["query"])
    body = read(name)
    if UNKNOWN in asked["query"]:
        body["data"]["result"] = []
        return body
    values = body["data"]["result"][0]["values"]
    step_s, span_s = values[1][0] - values[0][0], len(values) * 3600
    times = range(int(asked["start"]), int(asked["end"]) + 1, int(asked["step"]))
    body["data"]["result"][0]["values"] = [[time_s, values[(time_s - values[0][0]) % span_s // step_s][1]] for time_s in times]
    return body


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BODIES / f"{name}.json").read_text(encoding="utf-8"))
    return found


@contextmanager
def recorded_server() -> Iterator[RecordedServer]:
    """The server on a port of its own, until the end of the context."""
    known = RecordedServer()

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            pass

        def do_GET(self) -> None:
            status, body = known.answer(self.path, self.headers.get("authorization"))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Answers)
    known.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
