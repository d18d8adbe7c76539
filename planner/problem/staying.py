"""Which engines stay when a GPU that is in use gets other residents, and what has to be loaded there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.problem.model import Problem

MIB_PER_GIB = 1024


def weights_mib(problem: Problem, residents: Iterable[int]) -> int:
    """Weights of replicas in MiB over all their GPUs."""
    return sum(problem.shapes[index].weights_mib * problem.shapes[index].gpus for index in residents)


def stays_as(problem: Problem, running: int, wanted: int) -> bool:
    """Whether an engine that runs as one shape may count as another: of one model and kind, with all the memory that is asked for."""
    one, other = problem.shapes[running], problem.shapes[wanted]
    alike = (one.demand, one.pool, one.mode, one.gpus, one.mig_profile, one.weights_mib)
    return alike == (other.demand, other.pool, other.mode, other.gpus, other.mig_profile, other.weights_mib) and (
        one.memory_mib >= other.memory_mib
    )


def staying(problem: Problem, residents: Sequence[int], running: Sequence[int]) -> dict[int, int]:
    """Which of the residents of one GPU (by place in the list) are engines that run there (by place in theirs).

    Those that are just the same stay first. One that has more memory than is asked for keeps it, as long as everybody then has room to
    start again; of these the heaviest stay first.
    """
    shapes = problem.shapes
    found: dict[int, int] = {}
    free = list(range(len(running)))
    by_weight = sorted(range(len(residents)), key=lambda place: (-shapes[residents[place]].weights_mib, place))
    for same in (True, False):
        for place in by_weight:
            twins = (
                now for now in free if (running[now] == residents[place] if same else stays_as(problem, running[now], residents[place]))
            )
            twin = next(twins, None) if place not in found else None
            if twin is not None and (same or _has_room(problem, residents, running, found | {place: twin})):
                found[place] = twin
                free.remove(twin)
    return found


def _has_room(problem: Problem, residents: Sequence[int], running: Sequence[int], stays: dict[int, int]) -> bool:
    """Whether a GPU holds its residents, some with the memory that they have, and any one may start again."""
    own = [problem.shapes[running[stays[place]] if place in stays else index] for place, index in enumerate(residents)]
    if own[0].mode == "mig":
        return True
    return sum(shape.memory_mib for shape in own) + max(shape.start_extra_mib for shape in own) <= problem.pools[own[0].pool].memory_mib


def load_mib(problem: Problem, residents: Sequence[int], running: Sequence[int]) -> int:
    """Weights in MiB that start when a GPU on which others run gets these residents."""
    stays = staying(problem, residents, running)
    return weights_mib(problem, (index for place, index in enumerate(residents) if place not in stays))
