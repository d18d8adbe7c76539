"""Ports for fleets of tests."""

from __future__ import annotations

import socket


def neighbouring_ports(count: int) -> int:
    """The first of so many consecutive ports that nobody listens on now."""
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            first = int(probe.getsockname()[1])
        ports = range(first, first + count)
        if ports[-1] < 65536 and all(_is_free(port) for port in ports):
            return first
    raise AssertionError(f"no {count} consecutive free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
