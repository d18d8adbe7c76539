"""A machine with GPUs for a test: our own libnvidia-ml.so.1 (fake_nvml.c), and the file it answers from (fake_state.h)."""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pynvml
import pytest

from tests import tools

SOURCE = Path(__file__).with_name("fake_nvml.c")
LIBRARY = "libnvidia-ml.so.1"

# NVML's constants of profiles: 1, 2, 3, 4, 7 slices, 1 slice with media engines, 1 slice with twice the memory.
_ENUM = {"1g": 0, "2g": 1, "3g": 2, "4g": 3, "7g": 4, "+me": 7, "double": 9}


@dataclass(frozen=True)
class Card:
    """A GPU as the fake plays it; profiles are lines of fake_state.h after the GPU's index."""

    name: str
    total_mib: int
    reserved_mib: int
    capability: str
    slices: int = 0
    profiles: tuple[str, ...] = ()


# Sizes and places as the catalogue has them, with its sources; the driver's ids are general knowledge, not re-checked here.
A100 = Card(
    *("NVIDIA A100-SXM4-80GB", 81920, 871, "8 0", 7),
    (
        f"{_ENUM['1g']} 19 1 7 9728 14 1 0,1,2,3,4,5,6 1g.10gb",
        f"{_ENUM['+me']} 20 1 1 9728 14 1 0,1,2,3,4,5,6 1g.10gb+me",
        f"{_ENUM['double']} 15 1 4 19968 14 2 0,2,4,6 1g.20gb",
        f"{_ENUM['2g']} 14 2 3 19968 28 2 0,2,4 2g.20gb",
        f"{_ENUM['3g']} 9 3 2 40192 42 4 0,4 3g.40gb",
        f"{_ENUM['4g']} 5 4 1 40192 56 4 0 4g.40gb",
        f"{_ENUM['7g']} 0 7 1 80384 98 8 0 7g.80gb",
    ),
)
H100 = Card(
    *("NVIDIA H100 80GB HBM3", 81559, 469, "9 0", 7),
    (
        f"{_ENUM['1g']} 19 1 7 9984 16 1 0,1,2,3,4,5,6 1g.10gb",
        f"{_ENUM['+me']} 20 1 1 9984 16 1 0,1,2,3,4,5,6 1g.10gb+me",
        f"{_ENUM['double']} 15 1 4 20096 26 2 0,2,4,6 1g.20gb",
        f"{_ENUM['2g']} 14 2 3 20096 32 2 0,2,4 2g.20gb",
        f"{_ENUM['3g']} 9 3 2 40448 60 4 0,4 3g.40gb",
        f"{_ENUM['4g']} 5 4 1 40448 64 4 0 4g.40gb",
        f"{_ENUM['7g']} 0 7 1 81090 132 8 0 7g.80gb",
    ),
)
L4 = Card("NVIDIA L4", 23034, 400, "8 9")


@cache
def built() -> Path:
    """The library, compiled once per process; a test without gcc is skipped."""
    gcc = tools.program("gcc", "gcc")
    folder = Path(mkdtemp(prefix="fake-nvml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # no soname: loaded by its path it is not what others find under the driver's name
    subprocess.run([gcc, "-shared", "-fPIC", "-O1", "-o", folder / LIBRARY, SOURCE], check=True)
    return folder / LIBRARY


class FakeDriver:
    """The state file of a machine, written anew by each `machine`, and changed by the library as a driver would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine([])

    def machine(self, cards: Iterable[Card], *more: str, mig: bool = False, needs_reset: bool = False) -> None:
        """GPUs, and further lines of fake_state.h."""
        lines = []
        for index, card in enumerate(cards):
            mode = int(mig and card.slices > 0)
            facts = f"{card.total_mib} {card.reserved_mib} {card.capability} {card.slices} {mode} {mode} {int(needs_reset)}"
            lines.append(f"gpu {index} GPU-fake-{index} {facts} {card.name}")
            lines += [f"profile {index} {profile}" for profile in card.profiles]
        self.path.write_text("\n".join((*lines, *more, "next 1")) + "\n", encoding="utf-8")

    def add(self, *lines: str) -> None:
        """Further lines."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def forget(self, kind: str) -> None:
        """Drop all lines of a kind."""
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if not line.startswith(f"{kind} ")]
        self.path.write_text("\n".join(kept) + "\n", encoding="utf-8")

    def lines(self, kind: str) -> list[str]:
        """The lines of a kind, without it."""
        text = self.path.read_text(encoding="utf-8")
        return sorted(line.partition(" ")[2] for line in text.splitlines() if line.startswith(f"{kind} "))

    def modes(self) -> list[str]:
        """`current pending` MIG mode of each GPU."""
        return [" ".join(line.split()[7:9]) for line in self.lines("gpu")]


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path) -> FakeDriver:
    """For the running test, this process sees the fake driver."""
    state = folder / "nvml-state"
    monkeypatch.setenv("FAKE_NVML_STATE", str(state))
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(built())))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return FakeDriver(state)
