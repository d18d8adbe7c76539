"""GPU types that the catalogue does not have: declared where the pool is, or in a file of the catalogue's form."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import profiles.catalogue
from planner.spec import Fleet
from profiles.catalogue import builtin
from tests.fleets import fleet_dict, workload
from tests.planner.spec.fleet_files import load, problems

OWN = {"name": "My-GPU", "memory_usable": "94GiB", "memory_bandwidth_gb_per_s": 4000, "bf16_tflops": 900.5}
SLICE = {"name": "1g.12gb", "compute_slices": 1, "memory_slices": 1, "memory_mib": 11008, "max_count": 7, "placement_starts": [0, 1, 2]}


def declaring(*gpus: object, price: str = "2 USD/h") -> str:
    pools = {f"pool{i}": {"gpu": gpu, "nodes": 1, "gpus_per_node": 2, "price": price} for i, gpu in enumerate(gpus)}
    return yaml.safe_dump(fleet_dict(pools=pools, workloads={"small": workload("small")}), sort_keys=False)


def own(**changes: object) -> dict[str, object]:
    """The type with some keys changed; None leaves one out."""
    return {key: value for key, value in {**OWN, **changes}.items() if value is not None}


def cut(**changes: object) -> dict[str, object]:
    """The type with one MIG profile, changed."""
    return own(mig={"compute_slices": 7, "memory_slices": 8, "profiles": [{**SLICE, **changes}]})


def test_only_the_keys_that_matter_are_needed() -> None:
    gpu = load(declaring(OWN)).pools[0].gpu
    assert gpu.name == "My-GPU"
    assert gpu.memory_usable_mib == 94 * 1024
    assert (gpu.memory_bandwidth_gb_per_s, gpu.bf16_tflops, gpu.fp8_tflops) == (4000.0, 900.5, None)
    assert (gpu.link, gpu.link_gb_per_s, gpu.pcie_gb_per_s) == ("pcie", None, 32.0)
    assert (gpu.sm_count, gpu.compute_capability, gpu.price_usd_per_h) == (None, "8.0", None)
    assert gpu.mig_profiles == ()


def in_file(text: str, *pools: str) -> Fleet:
    return load(declaring(*(pools or ("./my.yaml",))), {"my.yaml": text.encode()})


@pytest.mark.parametrize("name", ["h100-nvl-94gb", "l4"])
def test_a_copy_of_a_catalogue_file_gives_the_same_facts(name: str) -> None:
    written = (Path(profiles.catalogue.__file__).parent / "gpus" / f"{name}.yaml").read_text()
    known = builtin().gpu(name)
    fleet = in_file(written.replace(f"name: {known.name}\n", "name: Copy\n"))
    gpu = fleet.pools[0].gpu
    facts = {item: getattr(gpu, item) for item in type(gpu).__slots__ if item not in {"name", "aliases"}}
    assert facts == {item: getattr(known, item) for item in facts}
    assert gpu.name == "Copy"
    assert list(fleet.hashes) == ["./my.yaml", "fleet.yaml"]


def test_a_listed_price_is_the_pools_price() -> None:
    text = declaring(own(listed_prices_usd_per_h={"one": 2, "other": 3, "third": 10})).replace("    price: 2 USD/h\n", "")
    assert load(text).pools[0].price_usd_per_h == 3.0


def test_two_pools_may_have_one_type() -> None:
    fleet = in_file(yaml.safe_dump(OWN), "./my.yaml", "./my.yaml")
    assert [gpu.name for gpu in fleet.own_gpu_types] == ["My-GPU"]


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        (own(name="H100-SXM-80GB"), "pools.pool0.gpu: the catalogue has 'H100-SXM-80GB' already (H100-SXM-80GB); choose another name"),
        (own(name="h100"), "pools.pool0.gpu: the catalogue has 'h100' already (H100-SXM-80GB); choose another name"),
        (own(memory_usable=None), "pools.pool0.gpu: needs exactly one of memory_usable"),
        (own(memory_usable_mib=1000), "pools.pool0.gpu: needs exactly one of memory_usable"),
        (own(bf16_tflops=None), "pools.pool0.gpu.bf16_tflops: is required. Dense bfloat16 TFLOP/s. Example: 989"),
        (own(memory_usable="94"), "pools.pool0.gpu.memory_usable: '94' has no unit; write 94GiB if that is meant"),
        (own(bf16_tflops="fast"), "pools.pool0.gpu.bf16_tflops: 'fast' is not a number"),
        (own(memory_bandwidth_gb_per_s=0), "pools.pool0.gpu.memory_bandwidth_gb_per_s: '0' must be at least 0.01"),
        (own(memory_usable_mib=1 << 25, memory_usable=None), "pools.pool0.gpu.memory_usable_mib: '33554432' must be at most 16777216"),
        (own(memory_usable="1000TiB"), "pools.pool0.gpu.memory_usable: '1000TiB' is too large; at most 16TiB is allowed"),
        (own(bf16_tflop=1), "pools.pool0.gpu.bf16_tflop: unknown field; did you mean 'bf16_tflops'?"),
        (own(link="cable"), "pools.pool0.gpu.link: 'cable' is not allowed"),
        (own(compute_capability="new"), "pools.pool0.gpu.compute_capability: 'new' is not like"),
        (cut(memory_mib=200_000), "mig.profiles[0] (1g.12gb): memory_mib is 200000 MiB, the whole GPU gives 96256 MiB"),
        (cut(placement_starts=[7], memory_slices=2), "mig.profiles[0] (1g.12gb): 2 memory slices from 7 are beyond the 8 of the GPU"),
        (cut(compute_slices=8), "mig.profiles[0] (1g.12gb): 8 compute slices, the GPU has 7"),
        (cut(memory_mib="many"), "pools.pool0.gpu.mig.profiles[0].memory_mib: 'many' is not a whole number"),
        (
            own(mig={"compute_slices": 7, "memory_slices": 8, "profiles": [SLICE, SLICE]}),
            "mig.profiles[1] (1g.12gb): has the name or the slices of a profile above",
        ),
        ("My-GPU", "unknown GPU type 'My-GPU'"),
        ("./none.yaml", "pools.pool0.gpu: './none.yaml' cannot be read: No such file or directory"),
        (["H100"], "pools.pool0.gpu: a list is not text"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(gpu: object, says: str) -> None:
    found = problems(declaring(gpu))
    assert len(found) == 1, found
    assert says in found[0]
    assert found[0].startswith("fleet.yaml:")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "my.yaml:1:1: is empty"),
        ("- 1", "my.yaml:1:1: must be a mapping with name, memory_usable and so on"),
        ("name: [", "my.yaml:2:1: not YAML"),
        (yaml.safe_dump(own(bf16_tflops=None)), "my.yaml:1:1: bf16_tflops: is required"),
        ("name: A\nmemory_usable: 1GiB\nmemory_bandwidth_gb_per_s: 1\nbf16_tflops: x", "my.yaml:4:14: bf16_tflops: 'x' is not a number"),
        (yaml.safe_dump(own(name="L4")), "fleet.yaml:4:10: pools.pool0.gpu: ./my.yaml: the catalogue has 'L4' already (L4)"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place_there(text: str, says: str) -> None:
    found = problems(declaring("./my.yaml", "./my.yaml"), {"my.yaml": text.encode()})
    assert found[0].startswith(says) or says in "\n".join(found), found
    assert len([line for line in found if line.startswith("my.yaml")]) <= 1


def test_one_name_means_one_type() -> None:
    (found,) = problems(declaring(OWN, own(bf16_tflops=5)))
    assert "pools.pool1.gpu: My-GPU is declared in pool pool0 with other facts; choose another name" in found
