"""One apply at a time: an exclusive lock on the state folder that the kernel releases when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from executor.errors import LockedError, StateError
from executor.processes import proc
from executor.state.journal import utc_now


@contextmanager
def locked(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock; raises LockedError at once, naming the holder, when somebody else has it."""
    try:
        # a link is not followed: what it leads to would be emptied
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        why = "is a link" if error.errno == errno.ELOOP else error.strerror or error
        raise StateError(f"{path}: cannot be opened: {why}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"{path.parent} is in use: {_holder(descriptor)}; wait until it ends, or end that process") from error
        os.ftruncate(descriptor, 0)
        mine = {"purpose": purpose, "pid": os.getpid(), "start_ticks": _start_ticks(os.getpid()), "owner": _owner(), "since": utc_now()}
        # the name is for people: on a full disk the lock holds without it, so that destroy still works
        with suppress(OSError):
            os.pwrite(descriptor, json.dumps(mine).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """Who holds the lock, for people; None when nobody does. Never takes the lock itself, which could make an apply fail."""
    try:
        value = json.loads(path.read_bytes())
        # a holder that was killed leaves its name behind, and its pid may be somebody else's by now
        started = _start_ticks(value["pid"])
        return _words(value) if started is not None and started == value["start_ticks"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _words(value: dict[str, object]) -> str:
    return f"ullage {value['purpose']} of {value['owner']}, process {value['pid']}, since {value['since']}"


def _start_ticks(pid: int) -> int | None:
    found = proc.facts(pid)
    return None if found is None else found.start_ticks


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _holder(descriptor: int) -> str:
    try:
        return _words(json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, KeyError, TypeError):
        return "its holder has not written its name yet"
