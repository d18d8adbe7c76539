"""Logs of the processes that we start: the former ones are kept, growth is bounded, and people and programs read their end.

NAME.log is written by the process itself, through a descriptor that it inherited with O_APPEND. So the file cannot be exchanged while
the process runs: it is copied to NAME.1.log and then emptied, and the process goes on at its new end. Formers move up: NAME.2.log ...
Each start writes a first line of its own. By that, lines of this process are told from those of the one before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from executor.errors import StateError
from profiles.regular_files import sync_folder

# a start-up log of vLLM is some hundred kB; more than this is request logging
_READ_LIMIT_BYTES = 1 << 20

# the lines people need: the exception and a few frames above it
_TAIL_LINES = 15

_CHUNK_BYTES = 1 << 20

# What a start writes first, before the time; and what a copy says that lacks its beginning. Nothing before them is of the same process.
_STARTED = b"--- ullage: process started at "
_LEFT_OUT = b"--- ullage: left out the beginning of this log, bytes: "

# A link is never followed, a pipe never waited for.
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LogLimits:
    """A log larger than limit_bytes is rotated; `kept` former ones stay.

    All of one name take about (1 + kept) * limit_bytes where passes are frequent, and 2 * kept * limit_bytes at most beside the log itself.
    """

    limit_bytes: int = 64 << 20
    kept: int = 3

    def __post_init__(self) -> None:
        """Raises ValueError for limits that keep nothing."""
        if self.limit_bytes < 1 or self.kept < 1:
            raise ValueError(f"limit_bytes and kept must be 1 or more, not {self.limit_bytes} and {self.kept}")


def former(path: Path, number: int) -> Path:
    """The former log with this number; 1 is the youngest."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def open_new(path: Path, kept: int) -> int:
    """A descriptor to append to a new, empty log, closed on exec; the log that was there becomes the first former. Raises OSError."""
    with suppress(FileNotFoundError):
        # a process that is not ours any more may still write into the old file: it keeps it under its new name
        if not stat.S_ISREG(path.lstat().st_mode) or path.lstat().st_size:
            _make_room(path, kept)
            _move_up(path, kept)
            path.rename(former(path, 1))
        else:
            path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, _STARTED + datetime.now(UTC).isoformat(timespec="seconds").encode() + b" ---\n")
        sync_folder(path.parent)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def rotate(path: Path, limit_bytes: int, keep: int) -> bool:
    """Bound a log while its process writes: above the limit it becomes the first former and is emptied. True when that was done.

    What the process writes between our last read and the emptying, some microseconds, is lost. Of a log larger than twice the limit only
    the end is kept, after a line that says so. Killed half-way, nothing is lost, and some lines may stand in two files. A log that is
    absent, or that another process rotates just now, is left alone. Raises StateError, with the log as it was, when the disk is full or
    the log is a link or no regular file. Only for logs that are written with O_APPEND.
    """
    try:
        with _locked(path) as log:
            if log is None or os.fstat(log).st_size <= limit_bytes:
                return False
            # first, so that a full disk has room again; the oldest would go in any case
            _make_room(path, keep)
            _copy_and_empty(log, path, limit_bytes, keep)
            return True
    except OSError as error:
        why = "it is a link, which is not followed" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise StateError(f"{path}: the log cannot be rotated and goes on growing: {why}; make room, or move it away") from error


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The log, open and locked against a second rotation, which would empty what it has not copied; None where that is not possible."""
    try:
        log = os.open(path, os.O_RDWR | _OPEN)
    except FileNotFoundError:
        yield None
        return
    try:
        if not stat.S_ISREG(os.fstat(log).st_mode):
            raise OSError(0, "it is not a regular file")
        yield log if _lock(log, path) else None
    finally:
        os.close(log)


def _lock(log: int, path: Path) -> bool:
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a start may have exchanged the file since it was opened
        return os.path.samestat(path.lstat(), os.fstat(log))
    except (BlockingIOError, FileNotFoundError):
        return False


def _copy_and_empty(log: int, path: Path, limit_bytes: int, keep: int) -> None:
    """The slow part first; then only what was written meanwhile is read before the log is emptied. Raises OSError."""
    temporary = path.with_name(f".{path.name}.rotating")
    temporary.unlink(missing_ok=True)
    copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        size_bytes = os.fstat(log).st_size
        begin = max(size_bytes - 2 * limit_bytes, 0)
        if begin:
            _write(copy, _LEFT_OUT + f"{begin} ---\n".encode())
        place = _copy(log, copy, begin, size_bytes)
        os.fsync(copy)
        _move_up(path, keep)
        temporary.rename(former(path, 1))
        sync_folder(path.parent)
        # a process that writes faster than we read cannot hold us here for ever
        _copy(log, copy, place, size_bytes + max(limit_bytes, _CHUNK_BYTES))
        os.ftruncate(log, 0)
    finally:
        os.close(copy)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _copy(source: int, target: int, place: int, end: int) -> int:
    """Copy from a place to the end of the source, or to this one; the place reached."""
    while place < end and (chunk := os.pread(source, min(_CHUNK_BYTES, end - place), place)):
        _write(target, chunk)
        place += len(chunk)
    return place


def _write(target: int, data: bytes) -> None:
    """All of it: a disk that fills takes a part first and refuses the rest."""
    while data:
        data = data[os.write(target, data) :]


def _make_room(path: Path, keep: int) -> None:
    """Remove the oldest former when none of the numbers is free, and those above, which an earlier limit kept."""
    if all(_present(former(path, number)) for number in range(1, keep + 1)):
        former(path, keep).unlink()
    above = keep + 1
    while _present(former(path, above)):
        former(path, above).unlink()
        above += 1


def _move_up(path: Path, keep: int) -> None:
    """Free number 1. Only up to the first gap: one killed half-way leaves a gap, and going on must not push out the oldest."""
    free = next(number for number in range(1, keep + 1) if not _present(former(path, number)))
    for number in range(free - 1, 0, -1):
        former(path, number).rename(former(path, number + 1))


def _present(path: Path) -> bool:
    """Also a link that leads nowhere."""
    return path.is_symlink() or path.exists()


def read_end(path: Path) -> str:
    """The last MiB, at most, of what the process wrote since its start, also when its log was rotated meanwhile; empty without a log."""
    parts: list[bytes] = []
    left_bytes, number, gaps = _READ_LIMIT_BYTES, 0, 0
    # a rotation that was killed leaves one number free
    while left_bytes > 0 and gaps < 2:
        found = _end_of(former(path, number) if number else path, left_bytes)
        number += 1
        if found is None:
            gaps += 1
            continue
        gaps = 0
        data, first = found
        parts.append(data)
        left_bytes -= len(data)
        if first:
            break
    return b"".join(reversed(parts)).decode(errors="replace")


def _end_of(path: Path, most_bytes: int) -> tuple[bytes, bool] | None:
    """The end of one file without our own first line, and whether there is nothing of this process before; None when it cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | _OPEN), "rb") as stream:
            begin = max(os.fstat(stream.fileno()).st_size - most_bytes, 0)
            stream.seek(begin)
            data = stream.read(most_bytes)
    except OSError:
        return None
    if begin == 0 and data.startswith((_STARTED, _LEFT_OUT)):
        return data.partition(b"\n")[2], True
    return data, begin > 0


def tail(text: str) -> str:
    """The last lines, indented for an error message."""
    lines = [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines) or "    (the log is empty)"
