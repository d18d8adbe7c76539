"""Names and ports that stay."""

from __future__ import annotations

import pytest

from planner.assembly.naming import PortsExhaustedError, Seat, name_seats, seat_of
from planner.plan import State
from tests.plans import replica

PORTS = range(8100, 8110)


def seat(served_name: str = "llama-8b", gpu: int = 0) -> Seat:
    return Seat(served_name, "h100-0", "127.0.0.1", (gpu,), None)


def test_new_seats_get_the_lowest_numbers_and_ports() -> None:
    assert name_seats([seat(), seat(gpu=1), seat("other")], State(), PORTS, (8101,)) == [
        ("llama-8b-0", 8100),
        ("llama-8b-1", 8102),
        ("other-0", 8103),
    ]


def test_a_replica_that_stays_keeps_name_and_port_and_others_avoid_them() -> None:
    running = replica("llama-8b-0")
    taken = seat_of(running)
    elsewhere = Seat(taken.served_name, taken.node, taken.host, (7,), None)
    assert name_seats([elsewhere, taken], State(replicas=(running,)), PORTS, ()) == [("llama-8b-1", 8101), ("llama-8b-0", 8100)]


def test_hosts_have_their_own_ports() -> None:
    other = Seat("llama-8b", "h100-1", "127.0.0.2", (0,), None)
    assert [port for _, port in name_seats([seat(), other], State(), PORTS, ())] == [8100, 8100]


@pytest.mark.parametrize("name", ["localhost", "::1", "0:0:0:0:0:0:0:1"])
def test_names_of_loopback_are_one_host(name: str) -> None:
    other = Seat("llama-8b", "h100-1", name, (0,), None)
    assert [port for _, port in name_seats([seat(), other], State(), PORTS, ())] == [8100, 8101]
    # as an earlier version gave them
    one, two = replica("llama-8b-0"), replica("llama-8b-1", gpus=(1,)).model_copy(update={"host": name})
    assert one.args.port == two.args.port
    again = name_seats([seat_of(one), seat_of(two)], State(replicas=(one, two)), range(one.args.port, one.args.port + 9), ())
    assert len({port for _, port in again}) == 2


def test_too_few_ports_say_so() -> None:
    with pytest.raises(PortsExhaustedError, match=r"policy\.ports: host 127\.0\.0\.1 needs more than the 1 ports 8100-8100"):
        name_seats([seat(), seat(gpu=1)], State(), range(8100, 8101), ())
