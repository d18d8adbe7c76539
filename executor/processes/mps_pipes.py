"""Where the MPS daemon of a GPU and its clients meet: a folder of their own, short enough for sockets and open to nobody else."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
from os import geteuid
from pathlib import Path

from executor.errors import ExecutorError

PIPES_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
"""NVIDIA's name of the variable that leads clients to their daemon."""

# Records of daemons carry this prefix.
DAEMON_PREFIX = "mps-"

_FOLDER_PREFIX = "ullage-mps-"
# A UNIX socket's address has 108 bytes (unix(7)); the daemon's own file names in the folder take up to 40 of them.
_MOST_BYTES = 64


def is_daemon(record_name: str) -> bool:
    """Whether a process record of this name is that of an MPS daemon."""
    return record_name.startswith(DAEMON_PREFIX)


def pipe_folder(root: Path, node: str, gpu: int) -> Path:
    """The folder of one GPU of a state folder: always the same, and another one for every other GPU and state folder."""
    digest = hashlib.sha256(f"{root}\0{node}\0{gpu}".encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"{_FOLDER_PREFIX}{digest}"
    return folder if len(str(folder).encode()) <= _MOST_BYTES else Path("/tmp") / folder.name  # noqa: S108 - looked at by check_folder


def check_folder(folder: Path) -> None:
    """Raises ExecutorError where something is there that is not a folder of ours alone: others could answer our engines in it."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ExecutorError(f"{folder}: the folder of an MPS daemon cannot be looked at: {error.strerror or error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ExecutorError(
            f"{folder}: is to be the folder of an MPS daemon, and is no folder, another user's, or open to others: look who made it, "
            "remove it, and try again"
        )


def make_folder(folder: Path) -> None:
    """Make it anew, without what a daemon that died has left in it. Raises ExecutorError, also where check_folder does."""
    try:
        check_folder(folder)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        # the mask of this process may have taken rights away, never added any
        check_folder(folder)
    except OSError as error:
        raise ExecutorError(f"{folder}: the folder of an MPS daemon cannot be made: {error.strerror or error}") from error


def remove_folder(text: str) -> None:
    """Remove the folder that a daemon's record names; anything that is not such a folder of ours is left alone."""
    folder = Path(text)
    if folder.name.startswith(_FOLDER_PREFIX):
        try:
            check_folder(folder)
        except ExecutorError:
            return
        shutil.rmtree(folder, ignore_errors=True)


def takes_clients(folder: Path) -> bool:
    """Whether a daemon has opened its door there; it says nothing about whether that daemon still lives."""
    return (folder / "control").exists()
