"""One GPU as a bar to scale: the parts of its residents, what others hold, what is free, and MIG slots in their places.

Every part grows by its MiB (CSS flex), so that all parts of a bar together are the GPU's memory to the MiB. In a GPU cut by MIG, slots
grow by their memory slices, and the parts in a slot by their MiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.plan import Desired, GpuPlan, MigPlace, Replica, gpu_look_up
from profiles.catalogue import builtin
from profiles.gpu_types import MigProfile
from ullage.views.html.markup import Markup, element
from ullage.views.html.number_words import gib_words

# class of a part's colour and pattern, and what it is
PARTS = (
    ("w", "weights"),
    ("k", "KV cache needed"),
    ("g", "KV cache grown into spare memory"),
    ("o", "overhead"),
    ("f", "free"),
    ("t", "held by others"),
)
# NVIDIA's GPUs have eight memory slices.
_USUAL_SLICES = 8


class BarMaker:
    """Makes the bars of one plan: it knows the plan's GPU types and which replicas sleep."""

    def __init__(self, desired: Desired) -> None:
        """Bars for the GPUs of this plan."""
        self._look_up = gpu_look_up(desired.gpu_types, builtin().gpu)
        self._asleep = {item.name for item in desired.asleep}

    def bar(self, gpu: GpuPlan, residents: Sequence[Replica]) -> Markup:
        """The bar, with all that it shows in words for those who do not see it."""
        awake = [(place, item) for place, item in enumerate(residents, start=1) if item.name not in self._asleep]
        parts = self._slots(gpu, awake) if gpu.mig_layout else _undivided(gpu, awake)
        words = [_described(item) for _, item in awake]
        if gpu.taken_mib:
            words.append(f"held by others {gib_words(gpu.taken_mib)}")
        label = f"Memory of {gib_words(gpu.memory_mib)}: {'; '.join([*words, f'free {gib_words(gpu.free_mib)}'])}"
        return element("span", *parts, class_="bar", role="img", aria_label=label)

    def _slots(self, gpu: GpuPlan, awake: Sequence[tuple[int, Replica]]) -> Iterator[Markup]:
        """Slots in order of their starts, and what no slot covers."""
        slices, profiles = self._geometry(gpu.gpu_type)
        at = 0
        for place in sorted(gpu.mig_layout, key=lambda item: item.start):
            profile = profiles.get(place.profile)
            width = profile.memory_slices if profile else 1
            if place.start > at:
                yield _part("f", place.start - at)
            yield _slot(place, width, _memory_mib(gpu, profile, slices), [pair for pair in awake if pair[1].mig == place])
            at = max(at, place.start) + width
        if at < slices:
            yield _part("f", slices - at)

    def _geometry(self, gpu_type: str) -> tuple[int, dict[str, MigProfile]]:
        """Memory slices of a GPU type and its MIG profiles; the usual ones of a type that nobody knows."""
        try:
            found = self._look_up(gpu_type)
        except (KeyError, ValueError):
            return _USUAL_SLICES, {}
        return found.mig_memory_slices or _USUAL_SLICES, {profile.name: profile for profile in found.mig_profiles}


def _memory_mib(gpu: GpuPlan, profile: MigProfile | None, slices: int) -> int:
    return profile.memory_mib if profile else gpu.memory_mib // slices


def _slot(place: MigPlace, width: int, memory_mib: int, inside: Sequence[tuple[int, Replica]]) -> Markup:
    residents = [_resident(number, item) for number, item in inside]
    left_mib = memory_mib - sum(item.ledger.total_mib for _, item in inside)
    rest = [_part("f", left_mib)] if left_mib > 0 else []
    title = f"{place.profile} at slot {place.start}{'' if inside else ', empty'}"
    return element("span", *residents, *rest, class_="slot", style=f"flex:{width}", title=None if inside else title)


def _undivided(gpu: GpuPlan, awake: Sequence[tuple[int, Replica]]) -> Iterator[Markup]:
    yield from (_resident(number, item) for number, item in awake)
    if gpu.taken_mib:
        yield _part("t", gpu.taken_mib)
    left_mib = gpu.memory_mib - gpu.taken_mib - sum(item.ledger.total_mib for _, item in awake)
    if left_mib > 0:
        yield _part("f", left_mib)


def _resident(number: int, replica: Replica) -> Markup:
    """The parts of one resident in an outline, with its number on its weights."""
    parts = [
        _part(sign, mib, str(number) if sign == "w" else "") for sign, mib in zip("wkgo", memory_parts(replica), strict=True) if mib > 0
    ]
    return element("span", *parts, class_="r", style=f"flex:{replica.ledger.total_mib}", title=_described(replica))


def memory_parts(replica: Replica) -> tuple[int, int, int, int]:
    """MiB of weights, KV cache that the plan needs, KV cache that has grown beyond it, and overhead."""
    ledger, grown_mib = replica.ledger, replica.kv_grown_mib
    return (ledger.weights_mib, ledger.kv_mib - grown_mib, grown_mib, ledger.total_mib - ledger.weights_mib - ledger.kv_mib)


def _described(replica: Replica) -> str:
    weights_mib, needed_mib, grown_mib, overhead_mib = memory_parts(replica)
    kv = f"{gib_words(needed_mib)} and {gib_words(grown_mib)} grown" if grown_mib else gib_words(needed_mib)
    return f"{replica.name}: weights {gib_words(weights_mib)}, KV {kv}, overhead {gib_words(overhead_mib)}"


def _part(sign: str, amount: int, text: str = "") -> Markup:
    return element("i", text, class_=sign, style=f"flex:{amount}")
