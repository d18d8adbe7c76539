"""Counts of MIG profiles against every way in which a driver may place them."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest

from profiles.catalogue import builtin
from profiles.gpu_types import GpuType
from profiles.mig import Layout, counts_suffice, legal_layouts

LAYOUTS = {name: legal_layouts(builtin().gpu(name)) for name in ("A30", "A100-SXM-80GB")}


def _legal_subsets(gpu: GpuType) -> set[frozenset[tuple[str, int]]]:
    return {frozenset(layout) for layout in legal_layouts(gpu)}


def _reaches(order: tuple[str, ...], placed: frozenset[tuple[str, int]], legal: set[frozenset[tuple[str, int]]]) -> bool:
    """Whether every way to place these profiles in this order succeeds, told from the list of legal layouts alone."""
    if not order:
        return True
    grown = [
        layout
        for layout in legal
        if len(layout) == len(placed) + 1 and placed < layout and {name for name, _ in layout - placed} == {order[0]}
    ]
    return bool(grown) and all(_reaches(order[1:], layout, legal) for layout in grown)


def _by_hand(gpu: GpuType, layout: Layout) -> bool:
    legal = _legal_subsets(gpu)
    return any(_reaches(order, frozenset(), legal) for order in set(permutations(name for name, _ in layout)))


def test_counts_suffice_where_no_placement_leads_astray() -> None:
    gpu = builtin().gpu("A30")
    for layout in LAYOUTS["A30"]:
        assert counts_suffice(gpu, layout) == _by_hand(gpu, layout)


@pytest.mark.parametrize(
    ("profiles", "suffices"),
    [
        (("3g.40gb", "3g.40gb"), True),
        (("4g.40gb", "3g.40gb"), True),
        (("3g.40gb", "2g.20gb", "2g.20gb"), False),
        (("1g.10gb",) * 7, True),
        (("3g.40gb", *("1g.10gb",) * 4), False),
    ],
)
def test_known_layouts_of_an_a100(profiles: tuple[str, ...], suffices: bool) -> None:
    gpu = builtin().gpu("A100-SXM-80GB")
    found = {counts_suffice(gpu, layout) for layout in LAYOUTS["A100-SXM-80GB"] if Counter(name for name, _ in layout) == Counter(profiles)}
    assert found == {suffices}
