"""Is an address free to listen on?"""

from __future__ import annotations

import errno
import socket


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
