"""What is wrong with routes for any router, and how a router names the machines behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from planner.plan import Route
from renderers.manifest import RenderError

# RFC 1123, and an underscore, which resolvers take.
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")


def names_that_stand_twice(routes: Sequence[Route]) -> Iterator[str]:
    """A reason for each served name with more than one route."""
    names = [route.served_name for route in routes]
    for name in sorted(set(names)):
        if names.count(name) > 1:
            yield f"route {name!r}: stands twice; give each served name one route"


def sorted_routes(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The routes by their served names; raises RenderError where a name stands twice or a host is neither an address nor a name."""
    problems = list(names_that_stand_twice(routes))
    for route in routes:
        for backend in route.backends:
            if _form(backend.host) is None:
                where = f"route {route.served_name!r}, backend {backend.replica!r}"
                problems.append(f"{where}: host {backend.host!r} is neither an IP address nor a host name; correct the pool's hosts")
    if problems:
        raise RenderError("\n".join(problems))
    return tuple(sorted(routes, key=lambda route: route.served_name))


def socket_text(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets; raises RenderError for a host that is neither an address nor a name.

    >>> socket_text("::1", 8000)
    '[::1]:8000'
    """
    form = _form(host)
    if form is None:
        raise RenderError(f"host {host!r} is neither an IP address nor a host name; correct it and plan again")
    return f"{form}:{port}"


def _form(host: str) -> str | None:
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return host if _HOST_NAME.fullmatch(host) else None
    return f"[{address}]" if address.version == 6 else str(address)
