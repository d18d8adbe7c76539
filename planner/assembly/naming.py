"""Stable names and ports: a replica that stays where it is keeps both, so that an unchanged fleet has an empty diff."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import count

from planner.hosts import address_of
from planner.plan import MigPlace, Replica, State


class PortsExhaustedError(ValueError):
    """policy.ports is too small for the replicas of one host."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A replica without a name yet: what it serves and where."""

    served_name: str
    node: str
    host: str
    gpus: tuple[int, ...]
    mig: MigPlace | None


def seat_of(replica: Replica) -> Seat:
    """The seat a named replica occupies."""
    return Seat(replica.served_name, replica.node, replica.host, replica.gpus, replica.mig)


def name_seats(
    seats: Sequence[Seat], state: State, ports: range, reserved_ports: Iterable[int], anew: Set[Seat] = frozenset()
) -> list[tuple[str, int]]:
    """Name and port of each seat: those of the replica that runs there now, else the lowest free number and port.

    Names of replicas that are about to go are not given to others, nor are their ports while there are others: both may live during
    the transition. A port that the policy no longer offers is not kept. Seats in anew get a new name and port, as the
    replica that runs there is followed by one that starts beside it.
    """
    running = {seat_of(replica): replica for replica in state.replicas if seat_of(replica) not in anew}
    reserved = frozenset(reserved_ports)
    used_names = {replica.name for replica in state.replicas}
    used_ports: defaultdict[str, set[int]] = defaultdict(lambda: set(reserved))
    leaving: defaultdict[str, set[int]] = defaultdict(set)
    staying = frozenset(seats) - anew
    for replica in state.replicas:
        used_ports[address_of(replica.host)].add(replica.args.port)
        if seat_of(replica) not in staying and replica.args.port not in reserved:
            leaving[address_of(replica.host)].add(replica.args.port)
    named: list[tuple[str, int]] = []
    given: set[tuple[str, int]] = set()
    for seat in seats:
        now, here = running.get(seat), address_of(seat.host)
        name = now.name if now else _take_name(seat.served_name, used_names)
        kept = now is not None and now.args.port in ports and now.args.port not in reserved and (here, now.args.port) not in given
        port = now.args.port if now and kept else _take_port(seat.host, used_ports[here], leaving[here], ports)
        given.add((here, port))
        named.append((name, port))
    return named


def _take_name(served_name: str, used: set[str]) -> str:
    name = next(candidate for candidate in _numbered(served_name) if candidate not in used)
    used.add(name)
    return name


def _numbered(served_name: str) -> Iterator[str]:
    return (f"{served_name}-{number}" for number in count())


def _take_port(host: str, used: set[int], leaving: set[int], ports: range) -> int:
    """The lowest port nobody has; when there is none, the lowest of those that become free (its replica must stop first)."""
    port = next((candidate for candidate in ports if candidate not in used), None)
    if port is None:
        port = min((candidate for candidate in leaving if candidate in ports), default=None)
    if port is None:
        raise PortsExhaustedError(
            f"policy.ports: host {host} needs more than the {len(ports)} ports {ports.start}-{ports.stop - 1}; give a wider range"
        )
    used.add(port)
    leaving.discard(port)
    return port
