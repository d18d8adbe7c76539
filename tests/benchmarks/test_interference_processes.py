"""Orders and answers of the benchmark's processes, played by threads with steps that are no kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import Pipe
from threading import Thread
from time import sleep
from types import ModuleType

import pytest

from benchmarks.interference_processes import Place, ResidentError, Residents, _reside, residents
from benchmarks.interference_shapes import Workload, pairs

PLACE = Place("cuda", "time_shared")


def kernels(step_of: Callable[[Workload, str], Callable[[], None]]) -> ModuleType:
    module = ModuleType("benchmarks.interference_kernels")
    module.__dict__.update(step_of=step_of, device_words=lambda device: f"no {device}")
    return module


@contextmanager
def played(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Residents]:
    monkeypatch.setitem(sys.modules, module.__name__, module)
    ends = [Pipe() for _ in range(2)]
    made_steps = [0, 0]
    threads = [Thread(target=_reside, args=(theirs, number, made_steps, PLACE), daemon=True) for number, (_, theirs) in enumerate(ends)]
    for thread in threads:
        thread.start()
    yield Residents([ours for ours, _ in ends])


def test_both_make_steps_at_the_same_time_and_each_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Workload] = []

    def step_of(work: Workload, device: str) -> Callable[[], None]:
        built.append(work)
        return lambda: sleep(0.001)

    one, other = pairs("cpu")[3]
    with played(kernels(step_of), monkeypatch) as both:
        assert both.device_words == "no cuda"
        # far too short for the least number of steps: they are made nevertheless
        for works in ([(0, one)], [(1, other)], [(0, one), (1, other)]):
            found = both.steps_s(works, 1e-6)
            assert len(found) == len(works)
            assert all(step_s >= 0.001 for step_s in found)
    assert sorted(work.model for work in built) == ["1B", "8B"]


def test_what_keeps_a_process_from_its_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def step_of(work: Workload, device: str) -> Callable[[], None]:
        raise RuntimeError("CUDA out of memory")

    with played(kernels(step_of), monkeypatch) as both, pytest.raises(ResidentError, match="CUDA out of memory"):
        both.steps_s([(0, pairs("cpu")[0][0])], 0.1)


def test_a_process_that_ends_is_noticed() -> None:
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(ResidentError, match="a process ended"):
        Residents([ours])


@pytest.mark.skipif(find_spec("torch") is not None, reason="this Python has torch")
def test_real_processes_without_torch_say_so() -> None:
    with pytest.raises(ResidentError, match="torch"), residents(Place("cpu", "time_shared")):
        pass
