"""MIG layouts against the known counts of the 7-slice GPUs, a brute force, and their own invariants."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.gpu_types import GpuType
from profiles.mig import Layout, legal_layouts, maximal_layouts

CATALOGUE = builtin()
MIG_GPUS = tuple(name for name in CATALOGUE.gpu_names if CATALOGUE.gpu(name).mig_profiles)
SEVEN_SLICE_GPUS = tuple(name for name in MIG_GPUS if CATALOGUE.gpu(name).mig_compute_slices == 7)


def _profiles(layout: Layout) -> tuple[str, ...]:
    return tuple(sorted(name for name, _ in layout))


def _contained(small: tuple[str, ...], large: tuple[str, ...]) -> bool:
    return not Counter(small) - Counter(large)


def _is_legal(gpu: GpuType, layout: Layout) -> bool:
    """The placement rules written down a second time, slice by slice."""
    profiles = {profile.name: profile for profile in gpu.mig_profiles}
    slices = [start + offset for name, start in layout for offset in range(profiles[name].memory_slices)]
    counts = Counter(name for name, _ in layout)
    return (
        len(slices) == len(set(slices))
        and all(place < gpu.mig_memory_slices for place in slices)
        and all(start in profiles[name].placement_starts for name, start in layout)
        and sum(profiles[name].compute_slices for name, _ in layout) <= gpu.mig_compute_slices
        and all(count <= profiles[name].max_count for name, count in counts.items())
    )


def test_the_catalogue_has_seven_slice_gpus() -> None:
    assert {"A100-SXM-80GB", "H100-SXM-80GB", "H200-SXM-141GB", "B200-SXM-180GB"} <= set(SEVEN_SLICE_GPUS)


@pytest.mark.parametrize("name", SEVEN_SLICE_GPUS)
def test_seven_slice_gpus_have_723_layouts_of_78_multisets_28_of_them_maximal(name: str) -> None:
    gpu = CATALOGUE.gpu(name)
    older = {profile.name for profile in gpu.mig_profiles if profile.older_driver}
    layouts = [layout for layout in legal_layouts(gpu) if not older & {named for named, _ in layout}]
    multisets = {_profiles(layout) for layout in layouts}
    maximal = [one for one in multisets if not any(one != other and _contained(one, other) for other in multisets)]
    assert len(layouts) == len(set(layouts)) == 723
    assert () in layouts
    assert len(multisets) == 78
    assert len(maximal) == 28


@pytest.mark.parametrize("name", ["A30", "RTX-PRO-6000-Server"])
def test_four_slice_gpus_agree_with_brute_force(name: str) -> None:
    gpu = CATALOGUE.gpu(name)
    offered = [(profile.name, start) for profile in gpu.mig_profiles for start in profile.placement_starts]
    subsets = (subset for size in range(len(offered) + 1) for subset in combinations(offered, size))
    expected = {frozenset(subset) for subset in subsets if _is_legal(gpu, subset)}
    assert {frozenset(layout) for layout in legal_layouts(gpu)} == expected
    assert len(legal_layouts(gpu)) == len(expected)


@pytest.mark.parametrize("name", MIG_GPUS)
def test_every_layout_is_legal_sorted_by_start_and_part_of_a_maximal_one(name: str) -> None:
    gpu = CATALOGUE.gpu(name)
    maximal = [set(layout) for layout in maximal_layouts(gpu)]
    for layout in legal_layouts(gpu):
        assert _is_legal(gpu, layout)
        assert [start for _, start in layout] == sorted(start for _, start in layout)
        named = {name for name, _ in layout}
        if not any(profile.older_driver and profile.name in named for profile in gpu.mig_profiles):
            assert any(set(layout) <= full for full in maximal)


@pytest.mark.parametrize("name", MIG_GPUS)
def test_nothing_can_be_added_to_a_maximal_layout(name: str) -> None:
    gpu = CATALOGUE.gpu(name)
    legal = {frozenset(layout) for layout in legal_layouts(gpu)}
    offered = {(profile.name, start) for profile in gpu.mig_profiles for start in profile.placement_starts}
    for layout in maximal_layouts(gpu):
        assert frozenset(layout) in legal
        assert not any(frozenset(layout) | {instance} in legal for instance in offered - set(layout))


def test_profiles_of_older_drivers_are_never_mixed_with_those_that_took_their_place_and_make_no_layout() -> None:
    gpu = CATALOGUE.gpu("GB200")
    named = [{name for name, _ in layout} for layout in legal_layouts(gpu)]
    assert {"1g.24gb"} in named
    assert {"1g.24gb", "2g.47gb"} in named
    assert not any({"1g.24gb", "1g.23gb"} <= names for names in named)
    assert not any(name == "1g.24gb" for layout in maximal_layouts(gpu) for name, _ in layout)


@given(st.data())
def test_removing_instances_keeps_a_layout_legal(data: st.DataObject) -> None:
    gpu = CATALOGUE.gpu("H100")
    layout = data.draw(st.sampled_from(maximal_layouts(gpu)))
    kept = data.draw(st.lists(st.sampled_from(layout), unique=True))
    assert tuple(sorted(kept, key=lambda instance: instance[1])) in legal_layouts(gpu)


def test_a_gpu_without_mig_has_the_empty_layout_only() -> None:
    assert legal_layouts(CATALOGUE.gpu("L4")) == ((),)
    assert maximal_layouts(CATALOGUE.gpu("L4")) == ((),)


def test_maximal_layouts_are_few_and_cached() -> None:
    gpu = CATALOGUE.gpu("H100")
    layouts = maximal_layouts(gpu)
    assert len(layouts) < 100
    assert maximal_layouts(gpu) is layouts
