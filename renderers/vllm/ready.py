#!/usr/bin/env python3
"""Waits until a vLLM server is ready: its process lives, /health is 200, /v1/models names the model, and it answers: with one
token, or where it generates nothing with what it makes of a word.

Needs nothing but Python's standard library: it ships with the rendered scripts. Reads VLLM_API_KEY from the environment, so that
the key is on no command line.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

# Our choice: soon enough beside starts that take a minute.
PAUSE_S = 0.25
# Our choice: a question that is answered from memory. A stranger that holds the port may never answer; ask again, and look at the process.
QUICK_LIMIT_S = 5.0
# Our choice: the first completion after a start may compile kernels.
ANSWER_LIMIT_S = 120.0


def main() -> int:
    """Exit status: 0 ready, 1 not ready within the limit or the process ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit-s", default=0.0, type=float, help="ask again for so long; 0 asks once")
    parser.add_argument("--pid", default=0, type=int, help="give up when this process ends")
    parser.add_argument("--names-only", action="store_true", help="do not ask for an answer: a busy engine would have it wait")
    arguments = parser.parse_args()
    begin = time.monotonic()
    caller = os.getppid()
    waiting = "nothing was asked yet"
    while True:
        if arguments.pid and not alive(arguments.pid):
            sys.stderr.write(f"process {arguments.pid} ended before it was ready (last: {waiting})\n")
            return 1
        waiting = missing(arguments.url, arguments.model, names_only=arguments.names_only)
        if not waiting:
            return 0
        if os.getppid() != caller:
            return 1
        if time.monotonic() - begin >= arguments.limit_s:
            sys.stderr.write(f"not ready within {arguments.limit_s:g} s (last: {waiting})\n")
            return 1
        time.sleep(PAUSE_S)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not, unless threads of it are still on their way out."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    fields = status.rpartition(") ")[2].split()
    # field numbers of proc_pid_stat(5): state 3, num_threads 20
    return fields[0] not in {"Z", "X"} or int(fields[17]) > 1


def missing(url: str, model: str, *, names_only: bool = False) -> str:
    """What the server still lacks, empty when it is ready; with names_only it need not answer."""
    step = f"GET {url}/health"
    try:
        ask(f"{url}/health")
        step = f"GET {url}/v1/models"
        served = [entry["id"] for entry in json.loads(ask(f"{url}/v1/models"))["data"]]
        if model not in served:
            return f"{step} names {served}, not {model!r}: another program may hold the port"
        if names_only:
            return ""
        step = f"POST {url}/v1/completions"
        try:
            ask(f"{url}/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": 1})
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.NOT_FOUND:
                raise
            # a server that generates nothing (task: embed) has no such path
            step = f"POST {url}/pooling"
            ask(f"{url}/pooling", {"model": model, "input": "Hello"})
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"{step}: {error}"
    return ""


def ask(url: str, body: dict[str, Any] | None = None) -> bytes:
    """Body of a 200 answer; any other status raises HTTPError, which is an OSError."""
    headers = {"content-type": "application/json"}
    if key := os.environ.get("VLLM_API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    # Never through a proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data, headers), timeout=QUICK_LIMIT_S if body is None else ANSWER_LIMIT_S) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


if __name__ == "__main__":
    sys.exit(main())
