"""A search in a process of its own, beside another one: for plans beside a bound, or beside other plans.

The process is a copy of this one at the moment it starts (fork), so nothing but what it finds needs to be sent: a line of JSON each. Where
a system cannot fork, the search runs when its findings are asked for.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable, Iterator
from typing import NoReturn

from planner.problem import Pattern

# A plan that was found.
Found = tuple[Pattern, ...]
Findings = Callable[[], Iterator[Found]]

# how often the end of waiting is looked at
_TICK_S = 0.02


class SecondProcess:
    """One search beside; what it finds is read in the same order. forked tells whether it has a process of its own."""

    def __init__(self, search: Findings) -> None:
        """Start the search."""
        self._find = search
        self._buffer = b""
        # 0 where there is no process (any more)
        self.pid, self._pipe = 0, -1
        self.forked = hasattr(os, "fork")
        if self.forked:
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                _search(search, writing)
            os.close(writing)
            self.pid, self._pipe = pid, reading

    def found(self, over: Callable[[], bool]) -> Iterator[Found]:
        """All findings, waiting for them until the search ends or over says so; then the process is ended."""
        if self._pipe < 0:
            yield from self._find()
            return
        try:
            while True:
                ready, _, _ = select.select([self._pipe], [], [], _TICK_S)
                received = os.read(self._pipe, 1 << 16) if ready else b""
                if received:
                    yield from self._read(received)
                elif ready or over():
                    break
        finally:
            self.end()

    def ready(self) -> Iterator[Found]:
        """What has been found since the last time, without waiting; nothing where there is no process (any more)."""
        while self.pid:
            ready, _, _ = select.select([self._pipe], [], [], 0.0)
            received = os.read(self._pipe, 1 << 16) if ready else b""
            if not received:
                if ready:
                    self.end()
                return
            yield from self._read(received)

    def _read(self, received: bytes) -> Iterator[Found]:
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise RuntimeError(f"the search beside failed: {message['error']}")
            yield tuple(Pattern(pool, tuple(residents), count) for pool, residents, count in message["patterns"])

    def end(self) -> None:
        """End the process, if there still is one."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._pipe)
            self.pid = 0


def _search(search: Findings, pipe: int) -> NoReturn:
    """What the other process does: Ctrl-C is for the first one, which ends this one."""
    code = 0
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for found in search():
            _write(pipe, {"patterns": [[each.pool, each.residents, each.count] for each in found]})
    except BaseException as error:  # noqa: BLE001 -- whatever it is, the first process must hear of it
        _write(pipe, {"error": f"{type(error).__name__}: {error}"})
        code = 1
    finally:
        os._exit(code)


def _write(pipe: int, message: object) -> None:
    left = json.dumps(message).encode() + b"\n"
    while left:
        left = left[os.write(pipe, left) :]
