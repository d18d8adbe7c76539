"""The state file of one emulated GPU: fixed binary layout, shared by mmap, written under a file lock.

A file holds a header and eight units: unit 0 is the undivided GPU, units 1 to 7 are MIG instances. Each unit has its
own memory, its own residents and its own clock, so instances do not disturb each other. The clock counts GPU seconds:
with n active residents it advances one second in n seconds of wall time, which is what n equal round-robin slices give
each of them. Every change of n is written with a sequence number on both sides, so readers need no lock.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"ULLGPU01"
# No GPU has more than 7 MIG instances (NVIDIA MIG user guide); unit 0 is the whole GPU.
UNITS = 8
# Processes per unit; MPS allows 48 clients, the planner places at most a handful.
SLOTS = 16

# magic, GPU type name
_HEADER = struct.Struct("<8s64s")
# MIG profile name, start slot (-1: not in use), memory in MiB
_UNIT = struct.Struct("<32siQ")
# sequence, GPU seconds, wall time of the last change, active residents, sequence again
_CLOCK = struct.Struct("<QddQQ")
_SEQUENCE = struct.Struct("<Q")
_CLOCK_MIDDLE = struct.Struct("<ddQ")
# busy wall seconds, over-commits, peak of memory asked for in MiB
_TOTALS = struct.Struct("<dQQ")
# pid, start time of the process in clock ticks, memory in MiB, active
_SLOT = struct.Struct("<QQQQ")
_SLOT_BUSY = struct.Struct("<d")
_SLOT_NAME = struct.Struct("<64s")

_CLOCK_AT = _UNIT.size
_TOTALS_AT = _CLOCK_AT + _CLOCK.size
_SLOTS_AT = _TOTALS_AT + _TOTALS.size
_SLOT_SIZE = _SLOT.size + _SLOT_BUSY.size + _SLOT_NAME.size
_UNIT_SIZE = _SLOTS_AT + SLOTS * _SLOT_SIZE
FILE_BYTES = _HEADER.size + UNITS * _UNIT_SIZE
# Reads of a clock that never settle mean that its writer died between the two sequence numbers.
_READ_TRIES = 100


class DeviceError(ValueError):
    """An emulated device cannot be made, found or used as asked; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A resident of a unit: its process, memory in MiB, whether it is working and its GPU seconds of work."""

    pid: int
    start_ticks: int
    memory_mib: int
    active: bool
    busy_s: float
    name: str


def process_start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat), None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    # A zombie has released its memory: it only waits for its parent.
    return None if fields[0] == b"Z" else int(fields[19])


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _fixed(text: str, size: int) -> bytes:
    return text.encode(errors="replace")[:size]


class GpuFile:
    """An open state file. Everything that writes must hold `lock()`."""

    def __init__(self, path: Path) -> None:
        """Open the file; DeviceError when it is missing or not a state file."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceError(f"{path}: cannot open the emulated GPU: {error.strerror}; create the node first") from error
        if os.fstat(self._descriptor).st_size != FILE_BYTES:
            os.close(self._descriptor)
            raise DeviceError(f"{path}: not an emulated GPU of this version (expected {FILE_BYTES} bytes)")
        self._map = mmap.mmap(self._descriptor, FILE_BYTES)
        magic, name = _HEADER.unpack_from(self._map, 0)
        if magic != MAGIC:
            self.close()
            raise DeviceError(f"{path}: not an emulated GPU: it begins with {magic!r}")
        self.gpu_type = _text(name)

    def close(self) -> None:
        """Unmap and close."""
        self._map.close()
        os.close(self._descriptor)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclusive among processes; the kernel frees it when the holder dies."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def layout(self, unit: int) -> tuple[str, int, int]:
        """Profile name, start slot (-1: unit not in use) and memory in MiB of a unit."""
        profile, start, total_mib = _UNIT.unpack_from(self._map, self._at(unit))
        return _text(profile), start, total_mib

    def set_layout(self, unit: int, profile: str, start: int, total_mib: int) -> None:
        """Define a unit; start -1 takes it out of use."""
        _UNIT.pack_into(self._map, self._at(unit), _fixed(profile, 32), start, total_mib)

    def units(self) -> tuple[int, ...]:
        """Units in use: the MIG instances, or the whole GPU when there are none."""
        instances = tuple(unit for unit in range(1, UNITS) if self.layout(unit)[1] >= 0)
        return instances or (0,)

    def totals(self, unit: int) -> tuple[float, int, int]:
        """Busy wall seconds up to the last change, over-commits, and the peak of memory asked for in MiB."""
        busy_s, over_commits, peak_mib = _TOTALS.unpack_from(self._map, self._at(unit) + _TOTALS_AT)
        return busy_s, over_commits, peak_mib

    def record_demand(self, unit: int, demand_mib: int) -> None:
        """Remember that this much memory was asked for at once; beyond the unit's total it counts as an over-commit."""
        busy_s, over_commits, peak_mib = self.totals(unit)
        over_commits += demand_mib > self.layout(unit)[2]
        _TOTALS.pack_into(self._map, self._at(unit) + _TOTALS_AT, busy_s, over_commits, max(peak_mib, demand_mib))

    def slot(self, unit: int, index: int) -> Slot | None:
        """A resident, None for a free slot."""
        at = self._slot_at(unit, index)
        pid, ticks, memory_mib, active = _SLOT.unpack_from(self._map, at)
        if not pid:
            return None
        (busy_s,) = _SLOT_BUSY.unpack_from(self._map, at + _SLOT.size)
        (name,) = _SLOT_NAME.unpack_from(self._map, at + _SLOT.size + _SLOT_BUSY.size)
        return Slot(pid, ticks, memory_mib, bool(active), busy_s, _text(name))

    def slots(self, unit: int) -> tuple[tuple[int, Slot], ...]:
        """Every resident with its slot number, dead ones included."""
        found = ((index, self.slot(unit, index)) for index in range(SLOTS))
        return tuple((index, slot) for index, slot in found if slot is not None)

    def write_slot(self, unit: int, index: int, slot: Slot | None) -> None:
        """Fill or free a slot."""
        at = self._slot_at(unit, index)
        if slot is None:
            self._map[at : at + _SLOT_SIZE] = bytes(_SLOT_SIZE)
            return
        _SLOT_NAME.pack_into(self._map, at + _SLOT.size + _SLOT_BUSY.size, _fixed(slot.name, 64))
        _SLOT_BUSY.pack_into(self._map, at + _SLOT.size, slot.busy_s)
        _SLOT.pack_into(self._map, at, slot.pid, slot.start_ticks, slot.memory_mib, slot.active)

    def write_busy(self, unit: int, index: int, busy_s: float) -> None:
        """A resident's own GPU seconds of work; only the resident writes them, without the lock."""
        _SLOT_BUSY.pack_into(self._map, self._slot_at(unit, index) + _SLOT.size, busy_s)

    def sweep(self, unit: int, now_s: float) -> None:
        """Free the slots of processes that are gone (dead, or the pid belongs to another process now)."""
        for index, slot in self.slots(unit):
            if process_start_ticks(slot.pid) != slot.start_ticks:
                self.write_slot(unit, index, None)
        self.recount(unit, now_s)

    def recount(self, unit: int, now_s: float) -> None:
        """Bring the clock up to now, then let it go on at the pace of the residents active from now on."""
        at = self._at(unit) + _CLOCK_AT
        sequence, gpu_s, changed_s, active, _ = _CLOCK.unpack_from(self._map, at)
        elapsed_s = max(0.0, now_s - changed_s)
        if active:
            gpu_s += elapsed_s / active
            busy_s, over_commits, peak_mib = self.totals(unit)
            _TOTALS.pack_into(self._map, self._at(unit) + _TOTALS_AT, busy_s + elapsed_s, over_commits, peak_mib)
        count = sum(slot.active for _, slot in self.slots(unit))
        # Readers go from front to back, so writing goes from back to front: equal numbers mean an untouched middle.
        _SEQUENCE.pack_into(self._map, at + _CLOCK.size - _SEQUENCE.size, sequence + 1)
        _CLOCK_MIDDLE.pack_into(self._map, at + _SEQUENCE.size, gpu_s, now_s, count)
        _SEQUENCE.pack_into(self._map, at, sequence + 1)

    def clock(self, unit: int, now_s: float) -> tuple[float, int]:
        """GPU seconds now and the residents active; without the lock."""
        at = self._at(unit) + _CLOCK_AT
        for _ in range(_READ_TRIES):
            before, gpu_s, changed_s, active, after = _CLOCK.unpack_from(self._map, at)
            if before == after:
                break
        else:
            with self.lock():
                _, gpu_s, changed_s, active, _ = _CLOCK.unpack_from(self._map, at)
        if active:
            gpu_s += max(0.0, now_s - changed_s) / active
        return gpu_s, active

    @staticmethod
    def _at(unit: int) -> int:
        return _HEADER.size + unit * _UNIT_SIZE

    @staticmethod
    def _slot_at(unit: int, index: int) -> int:
        return _HEADER.size + unit * _UNIT_SIZE + _SLOTS_AT + index * _SLOT_SIZE


def create_gpu_file(path: Path, gpu_type: str, total_mib: int) -> None:
    """Write a new state file, atomically: an undivided GPU with no residents."""
    content = bytearray(FILE_BYTES)
    _HEADER.pack_into(content, 0, MAGIC, _fixed(gpu_type, 64))
    _UNIT.pack_into(content, _HEADER.size, b"", 0, total_mib)
    for unit in range(1, UNITS):
        _UNIT.pack_into(content, _HEADER.size + unit * _UNIT_SIZE, b"", -1, 0)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
