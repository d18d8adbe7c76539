"""The store: a folder of small YAML files that people review in git, one point per line.

One file per model, GPU type, engine and engine version (`MODEL/GPU--ENGINE-VERSION.yaml`), and one for pairs per GPU type, engine and
version (`pairs/GPU--ENGINE-VERSION.yaml`). Equal measurements give equal bytes. Conflicting ones stay side by side;
profiles.store.measurements.preferred picks one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from profiles.fields import FieldError
from profiles.regular_files import read_regular
from profiles.store.measurements import Measurements
from profiles.store.point_text import decoded, encoded
from profiles.yaml_text import YamlTextError, plain_yaml

# A file holds the points of one model on one GPU type: thousands of lines of 200 bytes.
_MOST_BYTES = 64 * 1024 * 1024

Read = Callable[[Path], bytes]


class StoreError(FieldError):
    """A store that cannot be read or written; the message names file and key."""


def store_files(folder: Path) -> tuple[Path, ...]:
    """The files of a store, sorted; StoreError when there is no such folder. Other files in it are not looked at."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder of measurements")
    return tuple(sorted(path for path in folder.rglob("*.yaml") if path.is_file() and not _hidden(path.relative_to(folder))))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read(path: Path) -> bytes:
    return read_regular(path, _MOST_BYTES)


def read_store(folder: Path, read: Read = _read) -> Measurements:
    """Everything in a store; StoreError naming file and key of what is wrong."""
    found = Measurements()
    for path in store_files(folder):
        try:
            raw = read(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
        found += parse_file(str(path), raw)
    return found


def parse_file(name: str, raw: bytes) -> Measurements:
    """The points of one file of a store; StoreError as above."""
    try:
        content = plain_yaml(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise StoreError(f"{name}: not UTF-8 text (byte {error.start})") from None
    except YamlTextError as error:
        raise StoreError(f"{name}: {error}") from None
    if not isinstance(content, dict):
        raise StoreError(f"{name}: must be a mapping")
    try:
        return decoded(name, content)
    except FieldError as error:
        raise StoreError(str(error)) from None


def write(folder: Path, measurements: Measurements) -> tuple[str, ...]:
    """Make the folder hold exactly these points; the names of files that changed, sorted. StoreError when it cannot be written.

    Everything is written beside its place before anything is renamed into it, and a renaming that fails is taken back: a folder
    that cannot be written stays as it was. A folder with YAML files of another kind is refused.
    """
    texts = encoded(measurements)
    before = _present(folder)
    changed = tuple(sorted(name for name in before.keys() | texts.keys() if before.get(name) != texts.get(name)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = _staged(folder, {name: texts[name] for name in changed if name in texts})
        _switch(folder, changed, staged, before)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror or error}; nothing was changed") from None
    return changed


def _present(folder: Path) -> dict[str, str]:
    """Texts of the files of a store by name; none when there is no folder yet."""
    if not folder.exists():
        return {}
    texts: dict[str, str] = {}
    for path in store_files(folder):
        try:
            raw = _read(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
        parse_file(str(path), raw)
        texts[path.relative_to(folder).as_posix()] = raw.decode("utf-8")
    return texts


def _staged(folder: Path, texts: Mapping[str, str]) -> dict[str, Path]:
    """Temporary files with the new texts, by name; none of them stays when one cannot be written."""
    staged: dict[str, Path] = {}
    try:
        for name, text in texts.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            staged[name] = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            staged[name].write_text(text, encoding="utf-8")
            # what took an hour to measure must be there after a crash of the machine
            with staged[name].open("rb") as file:
                os.fsync(file.fileno())
    except OSError:
        _remove(staged.values())
        raise
    return staged


def _switch(folder: Path, changed: Iterable[str], staged: Mapping[str, Path], before: Mapping[str, str]) -> None:
    done: list[str] = []
    try:
        for name in changed:
            if name in staged:
                staged[name].replace(folder / name)
            else:
                (folder / name).unlink()
            done.append(name)
    except OSError:
        for name in done:
            if name in before:
                (folder / name).write_text(before[name], encoding="utf-8")
            else:
                (folder / name).unlink()
        raise
    finally:
        _remove(staged.values())


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        # on a full or read-only disk the first error is the one to tell
        with suppress(OSError):
            path.unlink(missing_ok=True)


def hashes(folder: Path, read: Read = _read) -> dict[str, str]:
    """SHA-256 of each file of a store by its path in it."""
    return {path.relative_to(folder).as_posix(): sha256(read(path)).hexdigest() for path in store_files(folder)}
