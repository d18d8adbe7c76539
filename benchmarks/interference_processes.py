"""The two processes of benchmarks.interference: each makes its steps when it is told to, alone or at the same time as the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic, sleep

from benchmarks.interference_shapes import StepEnds, Workload, mean_steps_s
from profiles.store.measurements import PairSharing

# Importing torch and making weights took 3 s here; a busy machine may take many times that.
_ANSWER_LIMIT_S = 300.0
# From the order to begin until the first step: time for the order to reach both.
_BEGIN_IN_S = 0.02
# Steps that every one of those who work at the same time makes at least, however short the time.
_LEAST_STEPS = 6
# Threads of the GPU that each of two engines gets under MPS, also when it is alone.
_MPS_THREADS_PERCENT = 50


class ResidentError(RuntimeError):
    """A process that cannot do its work; the message is for people."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where both processes run: `cpu` on one core that they share, or `cuda` on one GPU, time-sliced or under MPS."""

    device: str
    sharing: PairSharing


@dataclass(frozen=True, slots=True)
class _Run:
    """An order: steps from a moment of the monotonic clock on, for so many seconds, at the same time as these processes."""

    begin_s: float
    seconds: float
    places: tuple[int, ...]


class Residents:
    """Two processes that wait for orders."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        """The parent's ends of their pipes; each says first what it runs on."""
        self._pipes = tuple(pipes)
        words = [str(self._answer(pipe)) for pipe in self._pipes]
        self.device_words = words[0]

    def steps_s(self, works: Sequence[tuple[int, Workload]], seconds: float) -> tuple[float, ...]:
        """Mean step time of each of these (process, workload) while all of them work at the same time for so many seconds.

        Longer where one of them is so slow that it has made few steps. Raises ResidentError for a process that ended or failed.
        """
        pipes = [self._pipes[place] for place, _ in works]
        for pipe, (_, work) in zip(pipes, works, strict=True):
            pipe.send(work)
        for pipe in pipes:
            self._answer(pipe)
        begin_s = monotonic() + _BEGIN_IN_S
        for pipe in pipes:
            pipe.send(_Run(begin_s, seconds, tuple(place for place, _ in works)))
        answers = [self._answer(pipe) for pipe in pipes]
        return mean_steps_s([answer for answer in answers if isinstance(answer, StepEnds)])

    def _answer(self, pipe: Connection) -> object:
        try:
            if not pipe.poll(_ANSWER_LIMIT_S):
                raise ResidentError(f"a process gave no answer within {_ANSWER_LIMIT_S:g} s")
            answer: object = pipe.recv()
        except (EOFError, ConnectionResetError):
            raise ResidentError("a process ended; above may stand why") from None
        if isinstance(answer, ResidentError):
            raise answer
        return answer


@contextmanager
def residents(place: Place) -> Iterator[Residents]:
    """Two processes, gone in the end; ResidentError where they cannot run."""
    context = get_context("spawn")
    ends = [context.Pipe() for _ in range(2)]
    made_steps = context.Array("q", len(ends), lock=False)
    processes = [
        context.Process(target=_reside, args=(theirs, number, made_steps, place), daemon=True) for number, (_, theirs) in enumerate(ends)
    ]
    try:
        for process, (_, theirs) in zip(processes, ends, strict=True):
            process.start()
            # with our copy of its end open, a process that dies would never read as an end of file
            theirs.close()
        yield Residents([ours for ours, _ in ends])
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


def _reside(pipe: Connection, number: int, made_steps: MutableSequence[int], place: Place) -> None:
    """A process's life: build what it is told to, say so, make steps from a moment on, tell when they ended.

    made_steps holds how many steps each process has made in this run; ours is at our number.
    """
    _settle(place)
    try:
        # only now: torch reads the environment and the cores of its process when it is imported
        from benchmarks.interference_kernels import device_words, step_of  # noqa: PLC0415

        pipe.send(device_words(place.device))
        built: dict[Workload, Callable[[], None]] = {}
        while True:
            work = pipe.recv()
            if work not in built:
                built[work] = step_of(work, place.device)
            built[work]()
            # before the order to begin, which waits for both: nobody reads the number of a run before
            made_steps[number] = 0
            pipe.send("warm")
            pipe.send(_steps(built[work], pipe.recv(), number, made_steps))
    except (EOFError, BrokenPipeError):
        # who gives the orders is gone
        return
    except (ImportError, RuntimeError) as error:
        # torch's own errors are RuntimeErrors: no device, no memory left
        pipe.send(ResidentError(str(error)))


def _settle(place: Place) -> None:
    """What holds for the whole process, before torch is loaded."""
    if place.device == "cpu":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.environ["OMP_NUM_THREADS"] = "1"
    elif place.sharing == "mps":
        os.environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(_MPS_THREADS_PERCENT)


def _steps(step: Callable[[], None], run: _Run, number: int, made_steps: MutableSequence[int]) -> StepEnds:
    sleep(max(run.begin_s - monotonic(), 0.0))
    begun_s = monotonic()
    ends_s: list[float] = []
    while not ends_s or ends_s[-1] < run.begin_s + run.seconds or min(made_steps[place] for place in run.places) < _LEAST_STEPS:
        step()
        ends_s.append(monotonic())
        made_steps[number] += 1
    return StepEnds(begun_s, tuple(ends_s))
