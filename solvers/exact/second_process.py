"""A search for plans in a process of its own, beside the search for a bound.

The process is a copy of this one at the moment it starts (fork), so it needs nothing but its answers to be sent: patterns as JSON, a line
each. Where a system cannot fork, the search runs when its answers are asked for.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable, Iterator
from typing import NoReturn

from planner.problem import Pattern

Plans = Callable[[], Iterator[tuple[Pattern, ...]]]

# how often the end of waiting is looked at
_TICK_S = 0.02


class SecondProcess:
    """One search beside; its plans are read in the order in which it found them."""

    def __init__(self, plans: Plans) -> None:
        """Start the search."""
        self._plans = plans
        self._buffer = b""
        self._pid, self._pipe = 0, -1
        if hasattr(os, "fork"):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                _search(plans, writing)
            os.close(writing)
            self._pid, self._pipe = pid, reading

    def plans(self, over: Callable[[], bool]) -> Iterator[tuple[Pattern, ...]]:
        """All plans, waiting for them until the search ends or over says so; then the process is ended."""
        if self._pipe < 0:
            yield from self._plans()
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

    def _read(self, received: bytes) -> Iterator[tuple[Pattern, ...]]:
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise RuntimeError(f"the search beside failed: {message['error']}")
            yield tuple(Pattern(pool, tuple(residents), count) for pool, residents, count in message["patterns"])

    def end(self) -> None:
        """End the process, if there still is one."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._pipe)
            self._pid = 0


def _search(plans: Plans, pipe: int) -> NoReturn:
    """What the other process does: Ctrl-C is for the first one, which ends this one."""
    code = 0
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for patterns in plans():
            _write(pipe, {"patterns": [[each.pool, each.residents, each.count] for each in patterns]})
    except BaseException as error:  # noqa: BLE001 -- whatever it is, the first process must hear of it
        _write(pipe, {"error": f"{type(error).__name__}: {error}"})
        code = 1
    finally:
        os._exit(code)


def _write(pipe: int, message: object) -> None:
    left = json.dumps(message).encode() + b"\n"
    while left:
        left = left[os.write(pipe, left) :]
