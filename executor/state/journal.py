"""The journal: what apply began and what came of it, one JSON record per line, each synced before the next step.

    {"seq": 1, "at": "...", "event": "begin", "plan": "<sha256>", "serial": 4}
    {"seq": 2, "at": "...", "event": "intent", "action": 0, "kind": "start", "subject": "llama-8b-0"}
    {"seq": 3, "at": "...", "event": "result", "action": 0, "ok": true, "detail": ""}
    {"seq": 4, "at": "...", "event": "end", "ok": true, "detail": ""}

A last line that a crash cut off is dropped; any other damage is an error, because it means lost history.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from executor.errors import JournalError
from profiles.regular_files import sync_folder

JournalLine = dict[str, object]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An apply that did not end well: its plan's hash, the actions it completed, those it only began, and what ended it ("": a crash).

    repair: it was a pass of the reconcile loop, which makes its plan anew each time.
    """

    plan: str
    done: frozenset[int]
    begun: frozenset[int]
    reason: str
    repair: bool = False


def utc_today() -> datetime:
    """Date and time."""
    return datetime.now(UTC)


def utc_now() -> str:
    """Wall clock for people who read the journal; nothing is decided by it."""
    return utc_today().isoformat(timespec="milliseconds")


class Journal:
    """Append-only; one writer at a time (the state folder's lock sees to that)."""

    def __init__(self, path: Path, now: Callable[[], str] = utc_now) -> None:
        """Read what is there; raises JournalError when it is damaged before its last line."""
        self._path = path
        self._now = now
        self.records, self._length_bytes, self.torn = _read(path)

    def begin(self, plan: str, serial: int, goal: str | None = None) -> None:
        """A plan (by hash) starts, or starts again, on the state with this serial.

        goal is the plan that it leads to, "" where it does not get there yet; None: the plan itself.
        """
        self._append({"event": "begin", "plan": plan, "serial": serial, **({} if goal is None else {"goal": goal})})

    def intent(self, action: int, kind: str, subject: str) -> None:
        """Action number `action` of the plan is about to be done."""
        self._append({"event": "intent", "action": action, "kind": kind, "subject": subject})

    def result(self, action: int, ok: bool, detail: str = "") -> None:
        """It was done, or it failed."""
        self._append({"event": "result", "action": action, "ok": ok, "detail": detail})

    def end(self, ok: bool, detail: str = "") -> None:
        """The apply ended."""
        self._append({"event": "end", "ok": ok, "detail": detail})

    def note(self, subject: str, detail: str) -> None:
        """Something that belongs to no action; only people read it."""
        self._append({"event": "note", "subject": subject, "detail": detail})

    def destroyed(self) -> None:
        """Everything was stopped: nothing begun before is of interest to a later apply."""
        self._append({"event": "destroyed"})

    def unfinished(self) -> Unfinished | None:
        """The last plan begun, unless it ended well or everything was destroyed; repeated attempts at one plan are put together."""
        plan: str | None = None
        done: set[int] = set()
        begun: set[int] = set()
        reason, repair = "", False
        for record in self.records:
            match record:
                case {"event": "begin", "plan": str(digest)}:
                    reason, repair = "", "goal" in record
                    if digest != plan:
                        plan, done, begun = digest, set(), set()
                case {"event": "intent", "action": int(action)}:
                    begun.add(action)
                    done.discard(action)
                case {"event": "result", "action": int(action), "ok": bool(ok)}:
                    begun.discard(action)
                    if ok:
                        done.add(action)
                case {"event": "end", "ok": True} | {"event": "destroyed"}:
                    plan, done, begun = None, set(), set()
                case {"event": "end", "detail": str(detail)}:
                    reason = detail
                case _:
                    pass
        return None if plan is None else Unfinished(plan, frozenset(done), frozenset(begun), reason, repair)

    def ended(self) -> dict[str, str]:
        """When each plan, by its hash, was last applied to its end."""
        found: dict[str, str] = {}
        plan = ""
        for record in self.records:
            match record:
                case {"event": "begin", "plan": str(digest)}:
                    plan = str(record.get("goal", digest))
                case {"event": "end", "ok": True, "at": str(at)}:
                    found[plan] = at
                case _:
                    pass
        return found

    def reached(self) -> str | None:
        """The plan, by its hash, that was last done to its end; None when there is none since everything was destroyed."""
        reached: str | None = None
        begun = ""
        for record in self.records:
            match record:
                case {"event": "begin", "plan": str(digest)}:
                    begun = str(record.get("goal", digest))
                case {"event": "end", "ok": True} if begun:
                    reached = begun
                case {"event": "destroyed"}:
                    reached = None
                case _:
                    pass
        return reached

    def _append(self, record: JournalLine) -> None:
        record = {"seq": len(self.records) + 1, "at": self._now(), **record}
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        new = not self._path.exists()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.ftruncate(descriptor, self._length_bytes)
                os.pwrite(descriptor, line, self._length_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if new:
                sync_folder(self._path.parent)
        except OSError as error:
            raise JournalError(f"{self._path}: cannot be written: {error.strerror or error}; nothing more was done") from error
        self._length_bytes += len(line)
        self.records.append(record)


def _read(path: Path) -> tuple[list[JournalLine], int, bool]:
    """Records, the length of the good part in bytes, and whether a torn last line was dropped."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return [], 0, False
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {error.strerror or error}") from error
    lines = raw.split(b"\n")
    whole, rest = lines[:-1], lines[-1]
    records: list[JournalLine] = []
    for number, line in enumerate(whole, start=1):
        record = _parse(line)
        if record is None or record.get("seq") != number:
            if number == len(whole) and not rest and record is None:
                # a crash can leave the newline on disk without the bytes before it
                return records, sum(len(kept) + 1 for kept in whole[:-1]), True
            raise JournalError(f"{path}:{number}: not a journal record with seq {number}; move the file away once you know what runs")
        records.append(record)
    return records, len(raw) - len(rest), bool(rest)


def _parse(line: bytes) -> JournalLine | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
