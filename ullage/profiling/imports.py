"""Importing measurements: from files of many kinds to one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profiles.catalogue import builtin
from profiles.sources.reading import json_records, opened
from profiles.sources.source import Context, Source, SourceError
from profiles.store.canonical import canonical
from profiles.store.checks import Finding, check
from profiles.store.measurements import LatencyPoint, Measurements, PairPoint, StartPoint
from profiles.store.store_folder import read_store, write
from ullage.inputs import read_bytes
from ullage.plugins import SOURCES, load, names

GROUP = "sources"


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What one file held: the kind of source, and its points under the catalogue's names."""

    name: str
    kind: str
    found: Measurements


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: each file, the points that were new, the store's files that changed, and what to look at among the new points."""

    files: tuple[ReadFile, ...]
    new: Measurements
    changed: tuple[str, ...]
    findings: tuple[Finding, ...]


def import_files(paths: Sequence[Path], store: Path, context: Context, kind: str | None = None) -> Imported:
    """Add the measurements of files to a store, all or none.

    kind names a source for all of them; None lets each source look. Raises SourceError with one line for every file that is wrong and every
    point that physics forbids, and
    profiles.store.store_folder.StoreError when the store cannot be read or written: then it is as it was before.
    """
    known = read_store(store) if store.exists() else Measurements()
    files = read_files(paths, context, kind)
    found = Measurements()
    for file in files:
        found += file.found
    new = without(found, known)
    findings = check(new, builtin())
    impossible = [f"{finding.subject}: {finding.message}" for finding in findings if finding.level == "error"]
    if impossible:
        raise SourceError("\n".join([*impossible, "nothing was imported: correct these measurements, or leave them out"]))
    changed = write(store, known + new) if new else ()
    return Imported(files, new, changed, findings)


def read_files(paths: Sequence[Path], context: Context, kind: str | None) -> tuple[ReadFile, ...]:
    """The measurements of files; SourceError with one line for every file that is wrong."""
    read: list[ReadFile] = []
    problems: list[str] = []
    for path in paths:
        try:
            read.append(_read(path, context, kind))
        except SourceError as error:
            problems.append(str(error))
    if problems:
        raise SourceError("\n".join(problems))
    return tuple(read)


def _read(path: Path, context: Context, kind: str | None) -> ReadFile:
    raw = read_bytes(path, "give files that a benchmark, an engine or a tool wrote")
    chosen = kind if kind is not None else kind_of(str(path), raw)
    source: Source = load(GROUP, SOURCES, chosen)
    found = source.parse(str(path), raw, context)
    return ReadFile(str(path), chosen, canonical(found, builtin()))


def kind_of(name: str, raw: bytes) -> str:
    """The first source that recognises a file; SourceError when none does."""
    file = opened(name, raw)
    known = names(GROUP, SOURCES)
    for kind in known:
        source: Source = load(GROUP, SOURCES, kind)
        if source.recognises(file):
            return kind
    if file.json is None and file.text.lstrip().startswith(("{", "[")):
        json_records(name, raw)  # says where it stops being JSON
    raise SourceError(f"{name}: no source recognises this file; is it complete? Name its kind with --kind ({', '.join(known)})")


def stored(store: Path | None) -> Measurements:
    """What a folder of measurements holds, under the catalogue's names; nothing without a folder."""
    return Measurements() if store is None else canonical(read_store(store), builtin())


def without(found: Measurements, known: Measurements) -> Measurements:
    """What is not known yet."""
    latency, starts, pairs = set(known.latency), set(known.starts), set(known.pairs)
    return replace(
        found,
        latency=tuple(point for point in found.latency if point not in latency),
        starts=tuple(point for point in found.starts if point not in starts),
        pairs=tuple(point for point in found.pairs if point not in pairs),
    )


def of_model(measurements: Measurements, model: str | None, gpu: str | None) -> Measurements:
    """The points of a model and a GPU type by name or alias; None for all."""
    wanted_model = _name(model, gpu=False) if model is not None else None
    wanted_gpu = _name(gpu, gpu=True) if gpu is not None else None

    def engine(point: LatencyPoint | StartPoint) -> bool:
        return wanted_model in {None, point.model} and wanted_gpu in {None, point.gpu}

    def pair(point: PairPoint) -> bool:
        return wanted_model in {None, point.first.model, point.second.model} and wanted_gpu in {None, point.gpu}

    return Measurements(
        latency=tuple(point for point in measurements.latency if engine(point)),
        starts=tuple(point for point in measurements.starts if engine(point)),
        pairs=tuple(point for point in measurements.pairs if pair(point)),
    )


def _name(name: str, *, gpu: bool) -> str:
    """The catalogue's name, or the name itself: a store may hold what the catalogue does not."""
    try:
        return builtin().gpu(name).name if gpu else builtin().model(name).name
    except ValueError:
        return name
