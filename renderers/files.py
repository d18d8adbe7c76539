"""Writes a manifest into a folder without ever touching a file that is not ours.

`.ullage-manifest.json` in the folder records the SHA-256 of what was written. Before files change, the record names old and
new contents alike, afterwards only the new: a run that dies in between leaves files the next run knows as ours and repairs.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from renderers.manifest import File, Manifest, RenderError
from renderers.record import RECORD_NAME, FileDigests, digest, read_record, record_text

_TEMPORARY = ".ullage-new"


@dataclass(frozen=True, slots=True)
class WriteReport:
    """Paths by what happened to them, or would under check; `edited` (check only) names what a write would refuse to touch."""

    created: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    edited: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the folder is not exactly what the manifest says."""
        return bool(self.created or self.updated or self.removed or self.edited)

    def __str__(self) -> str:
        """One line per file that differs, with what happened to it, then the number of those left as they were."""
        marks = (("+", self.created), ("~", self.updated), ("-", self.removed))
        lines = [f"{mark} {path}" for mark, paths in marks for path in paths]
        lines += [f"! {path} (not written by ullage, or edited since)" for path in self.edited]
        return "\n".join([*lines, f"{len(self.unchanged)} unchanged"])


def write(manifest: Manifest, folder: Path, check: bool = False, target: str | None = None) -> WriteReport:
    """Make the folder hold the manifest's files; with check only say what would change. A folder belongs to one target.

    Files are replaced one by one in the manifest's order, each by an atomic rename; then files of an earlier manifest that
    are no longer in this one are removed. Foreign files stay. RenderError: a path that leaves the folder or stands twice, a
    file to be replaced or removed that was not written by us or was edited since, a folder that is a link or cannot be written.
    """
    if folder.is_symlink():
        # What stands behind a link may change while we write, and belongs to somebody else.
        raise RenderError(f"{folder}: is a symbolic link to {folder.readlink()}; nothing was written; give the folder itself")
    try:
        wanted = _wanted(manifest)
        record, owner = read_record(folder)
        if None not in {target, owner} and target != owner:
            raise RenderError(f"{folder}: holds what was rendered for {owner}; nothing was written; give {target} a folder of its own")
        problems = [problem for path in (*wanted, *record) if (problem := _path_problem(path))]
        if problems:
            raise RenderError("\n".join(problems))
        report = _compare(wanted, record, folder)
        if report.edited and not check:
            raise RenderError(_refusal(report.edited, folder))
        if not check:
            _refuse_closed_folders(report, folder)
            _carry_out(report, wanted, record, folder, target or owner)
    except OSError as error:
        raise RenderError(f"{error.filename or folder}: {error.strerror or error}; check the folder and its permissions") from error
    return report


def _wanted(manifest: Manifest) -> dict[str, File]:
    wanted: dict[str, File] = {}
    for file in manifest:
        if file.path in wanted:
            raise RenderError(f"{file.path}: stands twice in the manifest; this is a fault of the renderer")
        wanted[file.path] = file
    for path in wanted:
        blocking = [str(parent) for parent in PurePosixPath(path).parents[:-1] if str(parent) in wanted]
        if blocking:
            raise RenderError(f"{path}: its folder {blocking[0]} is a file of the same manifest; this is a fault of the renderer")
    return wanted


def _path_problem(path: str) -> str | None:
    parts = path.split("/")
    if not path or path.startswith("/") or "\\" in path or "\0" in path or any(part in {"", ".", ".."} for part in parts):
        return f"{path!r}: not a plain relative path inside the folder; nothing was written"
    if path == RECORD_NAME or path.endswith(_TEMPORARY):
        return f"{path!r}: this name is kept for ullage's own record; nothing was written"
    return None


def _compare(wanted: dict[str, File], record: FileDigests, folder: Path) -> WriteReport:
    created: list[str] = []
    updated: list[str] = []
    unchanged: list[str] = []
    removed: list[str] = []
    edited: list[str] = []
    for path, file in wanted.items():
        state = _state_on_disk(folder, path)
        if state is None:
            created.append(path)
        elif state == (digest(file.text), file.executable):
            unchanged.append(path)
        elif state[0] in record.get(path, ()):
            updated.append(path)
        else:
            edited.append(path)
    for path in sorted(set(record) - set(wanted)):
        state = _state_on_disk(folder, path)
        if state is not None:
            (removed if state[0] in record[path] else edited).append(path)
    return WriteReport(*(tuple(sorted(paths)) for paths in (created, updated, unchanged, removed, edited)))


def _state_on_disk(folder: Path, path: str) -> tuple[str, bool] | None:
    """Digest and executable bit of what stands at a path; None when nothing does; an empty digest for what is no plain file."""
    place = folder
    for part in path.split("/")[:-1]:
        place = place / part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return "", False
    place = folder / path
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return "", False
    return digest(place.read_bytes()), bool(found.st_mode & stat.S_IXUSR)


def _refusal(edited: tuple[str, ...], folder: Path) -> str:
    lines = [f"{folder / path}: not written by ullage, or edited since" for path in edited]
    return "\n".join([*lines, "nothing was changed; move these away (or delete them) and render again, or render into another folder"])


def _refuse_closed_folders(report: WriteReport, folder: Path) -> None:
    """RenderError for folders that files would be written to or removed from, and that do not let us: before anything is written."""
    changing = [folder / path for path in (*report.created, *report.updated, *report.removed)]
    closed = [place for place in sorted({_standing(place.parent) for place in changing}) if not os.access(place, os.W_OK | os.X_OK)]
    if closed:
        lines = [f"{place}: this user may not write into it" for place in closed]
        raise RenderError("\n".join([*lines, "nothing was written; change its permissions, or render into another folder"]))


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _carry_out(report: WriteReport, wanted: dict[str, File], record: FileDigests, folder: Path, owner: str | None) -> None:
    final: FileDigests = {path: (digest(file.text),) for path, file in wanted.items()}
    if final == record and not report.differs:
        return
    folder.mkdir(parents=True, exist_ok=True)
    either = {path: tuple(sorted({*record.get(path, ()), *final.get(path, ())})) for path in {*record, *final}}
    _replace(folder / RECORD_NAME, record_text(either, owner), executable=False)
    changing = {*report.created, *report.updated}
    for path, file in wanted.items():
        if path in changing:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _replace(folder / path, file.text, file.executable)
    for path in sorted(set(record) - set(wanted)):
        _remove(folder, path)
    _replace(folder / RECORD_NAME, record_text(final, owner), executable=False)


def _replace(place: Path, text: str, executable: bool) -> None:
    temporary = place.with_name(place.name + _TEMPORARY)
    temporary.unlink(missing_ok=True)
    # Ordinary permissions: the umask takes away what this machine does not give.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if executable else 0o666)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(text.encode("utf-8"))
    temporary.replace(place)


def _remove(folder: Path, path: str) -> None:
    place = folder / path
    place.unlink(missing_ok=True)
    place.with_name(place.name + _TEMPORARY).unlink(missing_ok=True)
    for parent in place.relative_to(folder).parents[:-1]:
        try:
            (folder / parent).rmdir()
        except OSError:
            # Not empty, or already gone: what others put there stays.
            return
