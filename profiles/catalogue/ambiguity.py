"""Names under which several cards are sold: which one is meant must be said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from profiles.gpu_types import GpuType

# Cards that the catalogue does not have and that carry a name or alias which it does, by that name's key.
# NVIDIA data sheets, general knowledge, not re-checked here.
NOT_LISTED: Mapping[str, tuple[str, ...]] = {
    "a100-40gb": ("A100 PCIe 40 GB",),
    "a100-pcie": ("A100 PCIe 40 GB",),
    "a800": ("A800 40 GB Active",),
    "gh200": ("GH200 144 GB",),
    "h20": ("H20 141 GB",),
    "h200": ("H200 NVL 141 GB",),
    "h800": ("H800 PCIe 80 GB",),
    "h800-80gb": ("H800 PCIe 80 GB",),
}


def other_cards(key: str, taken: GpuType, gpus: Iterable[GpuType], spelled: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Other GPU types of the catalogue that an alias may mean as well: one of their spellings has all of its words.

    key is the alias as it is looked up, spelled has the keys of each GPU type's spellings. A GPU type's own name means that one only.
    """
    words = set(key.split("-"))
    return tuple(
        sorted(gpu.name for gpu in gpus if gpu is not taken and any(words <= set(spelling.split("-")) for spelling in spelled[gpu.name]))
    )
