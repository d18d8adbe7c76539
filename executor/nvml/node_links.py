"""How the GPUs of this machine are joined. Needs an open session (executor.nvml.driver)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Literal

import pynvml

from executor.nvml.driver import GpuDriverError, NvmlHandle, asking, text_of
from executor.nvml.gpu_readings import handle_of

# The words of profiles.gpu_types.LINKS.
NodeLink = Literal["nvswitch", "pairs", "pcie"]

# nvml.h; bindings of version 12 have no name for it
_INVALID_STATE = 29
# What NVML says of links that a GPU does not have, or not in MIG mode.
_NO_LINK = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    _INVALID_STATE,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NOT_FOUND,
}
# Stands for a switch among the peers of a GPU.
SWITCH = -1


def node_link(count: int) -> NodeLink | None:
    """How GPUs 0 .. count - 1 are joined; None for one GPU alone. Raises GpuDriverError."""
    if count < 2:
        return None
    addresses = {_address(index): index for index in range(count)}
    return link_of({index: _peers(index, addresses) for index in range(count)})


def link_of(peers: Mapping[int, Set[int]]) -> NodeLink:
    """The link by the peers of each GPU.

    Direct links between all are as good as a switch. Pairs are GPUs 0 and 1, 2 and 3, and so on, as tensor-parallel blocks are laid;
    what is neither can be reached by every GPU over PCIe at least.

    >>> link_of({0: {1}, 1: {0}, 2: {3}, 3: {2}})
    'pairs'
    >>> link_of({0: {2}, 1: {3}, 2: {0}, 3: {1}})
    'pcie'
    """
    if all(SWITCH in others for others in peers.values()):
        return "nvswitch"
    if len(peers) > 2 and all(others >= set(peers) - {index} for index, others in peers.items()):
        return "nvswitch"
    if len(peers) % 2 == 0 and all(index ^ 1 in others for index, others in peers.items()):
        return "pairs"
    return "pcie"


def _peers(index: int, addresses: Mapping[str, int]) -> set[int]:
    """GPUs at the other ends of its active NVLinks, SWITCH for a switch."""
    handle = handle_of(index)
    found: set[int] = set()
    for number in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            with asking("read its NVLinks", index):
                if pynvml.nvmlDeviceGetNvLinkState(handle, number):
                    found |= _other_end(handle, number, addresses)
        except GpuDriverError as error:
            if error.code not in _NO_LINK:
                raise
    return found


def _other_end(handle: NvmlHandle, number: int, addresses: Mapping[str, int]) -> set[int]:
    """One GPU of this machine, a switch, or nothing that is known here."""
    if pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, number) == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
        return {SWITCH}
    address = text_of(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number).busId)
    return {addresses[address]} if address in addresses else set()


def _address(index: int) -> str:
    with asking("read its PCI address", index):
        return text_of(pynvml.nvmlDeviceGetPciInfo(handle_of(index)).busId)
