"""Is an address free to listen on, and which ports stay free?"""

from __future__ import annotations

import errno
import socket
from pathlib import Path

# Linux keeps here, as two numbers, which ports it gives to outgoing connections and to whoever asks for any port
_GIVEN_UNASKED = Path("/proc/sys/net/ipv4/ip_local_port_range")

# below are the ports of well-known services
_LOWEST = 10_000
_HIGHEST = 65_535


def obstacle(host: str, port: int) -> str | None:
    """Why a server could not listen there: taken, not an address of this machine, not permitted; None when it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # as servers do it: connections of an earlier owner that are still closing do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"{host}:{port} is taken by another program; end it or give the plan other ports (policy.ports)"
            if error.errno == errno.EADDRNOTAVAIL:
                return f"{host} is not an address of this machine; the local backend starts replicas on this machine only"
            return f"{host}:{port} cannot be listened on: {error.strerror or error}"
    return None


def lasting_rows(count: int) -> tuple[range, ...]:
    """Rows of so many neighbouring ports that no outgoing connection takes by chance; any rows where the system keeps none apart."""
    try:
        lowest, highest = map(int, _GIVEN_UNASKED.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        lowest, highest = 0, 0
    rows = [range(first, first + count) for first in range(_LOWEST, _HIGHEST + 2 - count, count)]
    return tuple(row for row in rows if row[-1] < lowest or row[0] > highest) or tuple(rows)
