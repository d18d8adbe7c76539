"""Hosts that are one machine under several names."""

from __future__ import annotations

from ipaddress import ip_address

# RFC 6761, section 6.3: localhost means the loopback address of IPv4 or of IPv6
_LOCALHOST = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """localhost, 127.x.x.x or ::1."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_everywhere(host: str) -> bool:
    """0.0.0.0 or ::, where a server listens on every interface and to which no client can connect."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def address_of(host: str) -> str:
    """One word for hosts whose servers compete for the same ports: localhost and what it stands for, others in one spelling."""
    try:
        address = str(ip_address(host))
    except ValueError:
        address = host
    return "127.0.0.1" if address in _LOCALHOST else address
