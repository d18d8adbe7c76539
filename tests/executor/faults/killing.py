"""The tool killed between any two of its durable effects.

Durable are the calls that change what is on disk, and what the remembered engines and their router do. Nothing outlives the tool but
these, so a death before an effect and one after the effect before it are the same, and a death after each of 0, 1, 2 ... is every death.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.executor.memory_backend import Engine, MemoryBackend, MemoryRouter

# What the standard library changes files with; all of ours goes through these.
CALLS = ("replace", "rename", "unlink", "mkdir", "rmdir", "ftruncate", "pwrite")


class Killed(BaseException):
    """As SIGKILL: nobody may catch it, and nothing has an effect any more."""


class Effects:
    """Counts effects and ends everything after so many; None: never."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.seen: list[str] = []

    def one(self, name: str, act: Callable[[], Any]) -> Any:
        if self.left == 0:
            raise Killed
        if self.left is not None:
            self.left -= 1
        self.seen.append(name)
        return act()


@contextmanager
def counted(effects: Effects, left: int | None) -> Iterator[None]:
    """Durable effects count meanwhile; after `left` of them the tool is dead."""
    effects.left, effects.seen = left, []
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _counting(effects, name, getattr(os, name)))
        # SIGKILL loses nothing that the kernel has
        patch.setattr(os, "fsync", lambda _: None)
        try:
            yield
        finally:
            effects.left = None


def _counting(effects: Effects, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*args: Any, **words: Any) -> Any:
        subject = args[0] if isinstance(args[0], (str, os.PathLike)) else "an open file"
        return effects.one(f"{name} {Path(os.fspath(subject)).name}", lambda: call(*args, **words))

    return counting


class RecordedEngines(dict[str, Engine]):
    """Engines by name: a start puts one on record and lets it go in one effect, a stop takes one away."""

    def __init__(self, effects: Effects) -> None:
        super().__init__()
        self._effects = effects

    def __setitem__(self, name: str, engine: Engine) -> None:
        self._effects.one(f"start {name}", lambda: super(RecordedEngines, self).__setitem__(name, engine))

    def pop(self, name: str, *default: Any) -> Any:
        return self._effects.one(f"forget {name}", lambda: super(RecordedEngines, self).pop(name, *default))


class KillableRouter(MemoryRouter):
    """Settings and routes are set one after the other."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        super().__init__()

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._effects.one(f"router {name}", lambda: super(KillableRouter, self).__setattr__(name, value))


def killable() -> tuple[MemoryBackend, Effects]:
    """A backend whose engines and router outlive the tool."""
    effects = Effects()
    backend = MemoryBackend()
    backend.engines = RecordedEngines(effects)
    backend.router = KillableRouter(effects)
    return backend, effects
