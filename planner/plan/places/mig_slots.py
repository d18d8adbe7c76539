"""Where the start slots of a plan's MIG layouts must be given, because naming the profiles may not end in that many instances."""

from __future__ import annotations

from planner.plan.document import Desired, GpuPlan
from planner.plan.places.gpu_facts import gpu_look_up
from profiles.catalogue import builtin
from profiles.mig import counts_suffice


def slots_matter(desired: Desired, gpu: GpuPlan) -> bool:
    """Whether some way in which a driver may place the profiles of this GPU's layout leaves no room for the rest of them."""
    gpu_type = gpu_look_up(desired.gpu_types, builtin().gpu)(gpu.gpu_type)
    layout = tuple(sorted(((place.profile, place.start) for place in gpu.mig_layout), key=lambda place: place[1]))
    return not counts_suffice(gpu_type, layout)
