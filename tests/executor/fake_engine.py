"""A tiny engine for tests, started as a process: fake_engine.py HOST PORT SERVED_NAME MODE.

MODE: ok | silent (listens on nothing) | other (serves another name) | oom (dies with vLLM's text) | forking (has a child in its
group) | stubborn (ignores SIGTERM) | dumb (never makes a token) | slow (says so, and listens once the file FAKE_GATE exists) |
held (stops in the middle of a stream until that file exists) | worker (has a child without which it makes no token, and does not notice).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST, PORT, NAME, MODE = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
TOKEN_S = float(os.environ.get("FAKE_TOKEN_S", "0.002"))
running = 0
worker = 0
lock = threading.Lock()


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.answer(200, {"data": [{"id": "stranger" if MODE == "other" else NAME}]})
        elif self.path == "/metrics":
            text = f'vllm:num_requests_running{{model_name="{NAME}"}} {running}.0\nvllm:num_requests_waiting{{model_name="{NAME}"}} 0.0\n'
            self.answer(200, text)
        else:
            self.answer(200, "")

    def do_POST(self) -> None:
        global running  # noqa: PLW0603 - one engine per process
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if MODE == "dumb":
            self.answer(500, {"error": {"message": "no token today"}})
            return
        if worker and not worker_lives():
            threading.Event().wait()
        with lock:
            running += 1
        try:
            self.stream(body) if body.get("stream") else self.answer(200, {"usage": {"completion_tokens": body["max_tokens"]}})
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with lock:
                running -= 1

    def stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        count = min(body["max_tokens"], int(os.environ.get("FAKE_MOST_TOKENS", "1000000")))
        for number in range(count):
            if MODE == "held" and number == count // 2:
                await_gate()
            time.sleep(TOKEN_S)
            self.chunk(f"data: {json.dumps({'choices': [{'text': ' tok'}]})}\n\n")
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": count}
        self.chunk(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())

    def answer(self, status: int, body: object) -> None:
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def worker_lives() -> bool:
    try:
        return os.waitpid(worker, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def await_gate() -> None:
    while not os.path.exists(os.environ["FAKE_GATE"]):  # noqa: PTH110 - no import for one look
        time.sleep(0.01)


def main() -> None:
    global worker  # noqa: PLW0603 - one engine per process
    if MODE == "oom":
        sys.exit("ValueError: Free memory on device (1.2/79.19 GiB) on startup is less than desired\nEngine core initialization failed")
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "forking" and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Event().wait()
    if MODE == "worker":
        worker = os.fork()
        if not worker:
            threading.Event().wait()
    if MODE == "slow":
        sys.stdout.write("waits\n")
        sys.stdout.flush()
        await_gate()
    if MODE == "silent":
        threading.Event().wait()
    server = ThreadingHTTPServer((HOST, PORT), Engine)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
