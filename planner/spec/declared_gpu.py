"""GPU types that the catalogue does not have, as people declare them: in the catalogue's own form, most keys optional."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from planner.spec.field_types import Count, DeclaredSpeed, DeviceMemory, DeviceMib, GpuName, MigSlices, MigStart, Name, Text
from planner.spec.fleet import Link
from planner.spec.part import Declared

# PCIe 4.0 x16 moves 32 GB/s one way (PCI-SIG); newer cards have twice that.
DEFAULT_PCIE_GB_PER_S = 32.0


class DeclaredMigProfile(Declared):
    """One MIG profile, in NVML's terms."""

    name: Text = Field(description="Name, as nvidia-smi lists it.", examples=["1g.12gb"])
    compute_slices: MigSlices = Field(description="Compute slices of an instance.")
    memory_slices: MigSlices = Field(description="Memory slices of an instance.")
    memory_mib: DeviceMib = Field(description="Memory of an instance in MiB.")
    sm_count: Count | None = Field(None, description="Streaming multiprocessors of an instance. Default: not known.")
    max_count: MigSlices = Field(description="Largest number of instances of this profile on one GPU.")
    placement_starts: Annotated[tuple[MigStart, ...], Field(min_length=1, max_length=8)] = Field(
        description="Indexes of the memory slices at which an instance may start (nvidia-smi mig -lgipp).", examples=[[0, 2, 4]]
    )


class DeclaredMig(Declared):
    """How a GPU type can be cut."""

    compute_slices: MigSlices = Field(description="Compute slices of the GPU.")
    memory_slices: MigSlices = Field(description="Memory slices of the GPU.")
    profiles: Annotated[tuple[DeclaredMigProfile, ...], Field(min_length=1, max_length=16)] = Field(description="MIG profiles.")


class DeclaredGpuType(Declared):
    """A GPU type that the catalogue does not have."""

    name: Name = Field(description="Name of the GPU type, one that the catalogue does not know.", examples=["H100-CUSTOM"])
    memory_mib: DeviceMemory | None = Field(
        None,
        alias="memory_usable",
        description="Memory that a process gets, a little less than the card has. Give either this or memory_usable_mib. Default: none.",
        examples=["94GiB"],
    )
    memory_usable_mib: DeviceMib | None = Field(None, description="The same in MiB. Default: none.")
    memory_bandwidth_gb_per_s: DeclaredSpeed = Field(description="Memory bandwidth in GB/s.", examples=[3350])
    bf16_tflops: DeclaredSpeed = Field(description="Dense bfloat16 TFLOP/s.", examples=[989])
    fp8_tflops: DeclaredSpeed | None = Field(
        None, description="Dense fp8 TFLOP/s, used from compute_capability 8.9. Default: not known, fp8 is as fast as bf16."
    )
    link: Link = Field("pcie", description="How the GPUs of a node are connected.")
    link_gb_per_s: DeclaredSpeed | None = Field(
        None, description="Speed of the link, one way, in GB/s. Default: the value of pcie_gb_per_s."
    )
    pcie_gb_per_s: DeclaredSpeed = Field(DEFAULT_PCIE_GB_PER_S, description="Speed of PCIe, one way, in GB/s.")
    sm_count: Count | None = Field(None, description="Streaming multiprocessors. Default: not known.")
    compute_capability: Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]$")] = Field(
        "8.0",
        description="CUDA compute capability. It decides which formats run, and how wide the band of step times is.",
        examples=["9.0"],
    )
    listed_prices_usd_per_h: dict[Text, DeclaredSpeed] = Field(
        {}, description="Prices by seller. A pool without price uses their median. Default: none."
    )
    mig: DeclaredMig | None = Field(None, description="MIG slices and profiles. Default: no MIG.")
    aliases: tuple[Text, ...] = Field((), description="Not used: only the name is looked up. Default: none.")
    sources: dict[Text, Text] = Field({}, description="Where the facts come from, for people. Default: none.")

    @model_validator(mode="after")
    def _one_memory(self) -> Self:
        if (self.memory_mib is None) == (self.memory_usable_mib is None):
            raise ValueError("needs exactly one of memory_usable (for example 94GiB) and memory_usable_mib (in MiB)")
        return self


def _form(value: Any) -> str:  # noqa: ANN401 - whatever stands in the file
    return "<gpu type>" if isinstance(value, dict | DeclaredGpuType) else "<gpu name>"


DeclaredGpu = Annotated[
    Annotated[GpuName, Tag("<gpu name>")] | Annotated[DeclaredGpuType, Tag("<gpu type>")],
    Discriminator(_form),
]
