"""The one reader and the one writer of files that people name: regular files only, of a size that can be read, replaced as a whole.

A pipe would hang whoever reads it, a device has no end, and renaming a file over a device or a pipe destroys it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

# Larger traces do not fit beside everything else in memory.
MOST_BYTES = 512 * 1024 * 1024


def read_regular(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Bytes of a regular file, or of one that a link leads to. Raises OSError, also for pipes, devices and what is larger."""
    # a pipe without a writer would block in open
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise OSError(0, "is not a regular file but a pipe, a socket or a device", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(raw) > most_bytes:
        raise OSError(0, f"is larger than the {most_bytes // 1024**2} MiB that are read", str(path))
    return raw


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file so that after a crash either the old or the new content is there, never a part of one.

    A link stays, and the file that it leads to is replaced. Raises OSError with the file's name, also for what is no regular file.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    if target.exists() and not target.is_file():
        raise OSError(0, "is not a regular file; name another one", str(path))
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
