"""Ports for what tests start: nobody else takes them between their choice and their use.

Neither another worker nor a second checkout: each process claims a block, by a UDP socket on its first number, which the kernel gives up
when the process ends. Nor an outgoing connection: the blocks lie outside the range from which the system gives ports unasked.
"""

from __future__ import annotations

import socket
from functools import cache

from executor.ports import lasting_rows, obstacle

# more than all tests use at any moment: the numbers of a block are given again from its beginning
_BLOCK = 500


class PortBlock:
    """Numbers of one block, one after the other and round again."""

    def __init__(self) -> None:
        """Claims the first block that nobody has. Raises AssertionError without one."""
        for block in lasting_rows(_BLOCK):
            claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                claim.bind(("127.0.0.1", block[0]))
            except OSError:
                claim.close()
                continue
            # open as long as the process lives, whatever becomes of this object
            self.claim_descriptor = claim.detach()
            self._block, self._next = block, 1
            return
        raise AssertionError("every block of ports is claimed by another test run")

    def row(self, count: int) -> range:
        """So many neighbouring ports that nobody listens on."""
        for _ in range(_BLOCK):
            if self._next + count > _BLOCK:
                self._next = 1
            ports = self._block[self._next : self._next + count]
            self._next += count
            if all(obstacle("127.0.0.1", port) is None for port in ports):
                return ports
        raise AssertionError(f"no {count} free ports among {self._block}")


@cache
def _block() -> PortBlock:
    return PortBlock()


def free_ports(count: int) -> list[int]:
    """Neighbouring ports that nobody listens on, and nobody else will."""
    return list(_block().row(count))


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
