"""What an order of stops and starts must respect, in whole numbers: who waits for whom, room on GPUs, and who must be served."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from planner.ordering.disturbance import in_ms
from planner.plan import ALL_THREADS, Replica, may_be_neighbours
from planner.sleep_costs import asleep_mib, sleep_s, wake_s
from planner.transitions.outages import DRAIN_LIMIT_S, STOP_LIMIT_S
from planner.transitions.transition import RELATIVE, Transition, address_of, seats_of

_Gpu = tuple[str, int]

# Our choice: with so many going and coming replicas all orders are looked through.
MOST_MOVERS = 14
# Our choice: of changes with more of them no groups are looked for, which would take seconds.
MOST_GROUPED = 600


@dataclass(frozen=True, slots=True)
class OrderSpare:
    """What a puzzle has beyond what there is: MiB more on GPUs, free ports, coming replicas that start on free GPUs instead."""

    extra_mib: Mapping[_Gpu, int] = field(default_factory=dict)
    ports: bool = False
    moved: frozenset[str] = frozenset()


NO_SPARE = OrderSpare()


@dataclass(frozen=True, slots=True)
class _SeatRoom:
    """A GPU that something starts on: MiB that are left beside what stays, and what its going and coming replicas take (bit, MiB).

    Threads are per cent of the GPU's, of replicas that share it by MPS: those left beside what stays, and by bit those of the others.
    """

    free_mib: int
    going: tuple[tuple[int, int], ...]
    coming: tuple[tuple[int, int], ...]
    free_threads: int
    going_threads: tuple[tuple[int, int], ...]
    coming_threads: tuple[tuple[int, int], ...]

    def left_mib(self, gone: int, come: int) -> int:
        """What is left when those are gone and come."""
        return self.free_mib - _taken(self.going, self.coming, gone, come)

    def left_threads(self, gone: int, come: int) -> int:
        """Per cent of its threads that are left when those are gone and come."""
        return self.free_threads - _taken(self.going_threads, self.coming_threads, gone, come)


def _taken(going: Sequence[tuple[int, int]], coming: Sequence[tuple[int, int]], gone: int, come: int) -> int:
    return sum(own for bit, own in going if not gone & bit) + sum(own for bit, own in coming if come & bit)


@dataclass(frozen=True, slots=True)
class _NameNeed:
    """A served name: so many ready replicas, of which so many stay; bits of those that go and come."""

    name: str
    least: int
    staying: int
    going: int
    coming: int


@dataclass(frozen=True, slots=True)
class _CapacityNeed:
    """A model: requests/s it must be able to serve beyond what stays; those that go and come (bit, requests/s)."""

    capacity_rps: float
    going: tuple[tuple[int, float], ...]
    coming: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class OrderPuzzle:
    """Going and coming replicas by bit; starts come in the order in which coming has them, and after them those that wake.

    waits are, for each coming replica, the bits of those that must be gone before; rooms and seats are by number. needs_mib is what each
    coming one must find free, start_ms how long it takes. sleep_ms is by going replica, None for those that stop.
    """

    going: tuple[Replica, ...]
    coming: tuple[Replica, ...]
    waits: tuple[int, ...]
    rooms: tuple[_SeatRoom, ...]
    seats: tuple[tuple[int, ...], ...]
    needs: tuple[_NameNeed, ...]
    capacities: tuple[_CapacityNeed, ...]
    most_leaving: int
    needs_mib: tuple[int, ...]
    start_ms: tuple[int, ...]
    wakes: tuple[bool, ...]
    sleep_ms: tuple[int | None, ...]

    def fits(self, number: int, gone: int, come: int) -> bool:
        """Whether a coming replica may start when those are gone and come."""
        if self.waits[number] & ~gone:
            return False
        needs_mib, threads = self.needs_mib[number], self.coming[number].threads
        rooms = [self.rooms[seat] for seat in self.seats[number]]
        return all(needs_mib <= room.left_mib(gone, come) and (not threads or threads <= room.left_threads(gone, come)) for room in rooms)

    def starts_ms(self, starting: Iterable[int]) -> int:
        """From the first start of a batch to the last that is ready: one after the other on a GPU; then wakes, one by one."""
        ready_ms: dict[int, int] = {}
        wakes_ms = 0
        for number in starting:
            if self.wakes[number]:
                wakes_ms += self.start_ms[number]
                continue
            seats = self.seats[number]
            done_ms = max(ready_ms.get(seat, 0) for seat in seats) + self.start_ms[number]
            ready_ms.update(dict.fromkeys(seats, done_ms))
        return max(ready_ms.values(), default=0) + wakes_ms

    def leaving_ms(self, leaving: int) -> int:
        """Until those have drained and stopped, at once, and fallen asleep, one by one."""
        leavers = [own_ms for number, own_ms in enumerate(self.sleep_ms) if leaving >> number & 1]
        if not leavers:
            return 0
        return in_ms(DRAIN_LIMIT_S) + (in_ms(STOP_LIMIT_S) if None in leavers else 0) + sum(own_ms or 0 for own_ms in leavers)


def puzzle_of(world: Transition, least: Mapping[str, int], movers: frozenset[str], spare: OrderSpare = NO_SPARE) -> OrderPuzzle:
    """The puzzle of the movers of these names in a world where everything else stays as it is; least are ready replicas by name."""
    going = tuple(replica for replica in world.going if replica.name in movers)
    # what needs most to start goes first on its GPU: later it finds less
    coming = tuple(
        sorted(
            (item for item in world.coming if item.name in movers),
            key=lambda item: (world.wakes(item), -item.ledger.start_extra_mib, item.name),
        )
    )
    names = {replica.name for replica in going}
    held = [replica for replica in world.running() if replica.name not in names]
    places = [[(f"spare of {item.name}", gpu) for gpu in item.gpus] if item.name in spare.moved else seats_of(item) for item in coming]
    numbers = {seat: number for number, seat in enumerate(sorted({seat for seats in places for seat in seats}))}
    return OrderPuzzle(
        going=going,
        coming=coming,
        waits=tuple(_waits(world, item, going, held, spare) for item in coming),
        rooms=tuple(_room(world, seat, going, (coming, places), held, spare) for seat in numbers),
        seats=tuple(tuple(numbers[seat] for seat in seats) for seats in places),
        needs=tuple(_name_needs(world, going, coming, held, least)),
        capacities=tuple(_capacity_needs(world, going, coming, held)),
        most_leaving=world.most_leaving or len(going),
        needs_mib=tuple(_comes_mib(world, item) + (0 if world.wakes(item) else item.ledger.start_extra_mib) for item in coming),
        start_ms=tuple(in_ms(wake_s(item, world.asleep[item.name]) if world.wakes(item) else item.start_s) for item in coming),
        wakes=tuple(world.wakes(item) for item in coming),
        sleep_ms=tuple(None if (level := world.level_of(item)) is None else in_ms(sleep_s(item, level)) for item in going),
    )


def _comes_mib(world: Transition, replica: Replica) -> int:
    """MiB of each GPU that a coming replica takes more than it holds already."""
    return replica.ledger.total_mib - (asleep_mib(replica) if world.wakes(replica) else 0)


def _waits(world: Transition, replica: Replica, going: Sequence[Replica], held: Sequence[Replica], spare: OrderSpare) -> int:
    """Bits of those that must be gone; one beyond all of them where something that stays is in the way."""
    if replica.name in spare.moved:
        return 0
    waits = sum(1 << number for number, other in enumerate(going) if _in_the_way(world, replica, other, spare))
    # who goes to sleep stays where it is
    stays = [*held, *(other for other in going if world.level_of(other) is not None)]
    return waits | (1 << len(going) if any(_in_the_way(world, replica, other, spare) for other in stays) else 0)


def _in_the_way(world: Transition, replica: Replica, other: Replica, spare: OrderSpare) -> bool:
    if replica.name == other.name and world.wakes(replica):
        return False
    if replica.name == other.name or (address_of(replica) == address_of(other) and not spare.ports):
        return True
    shared = set(seats_of(replica)) & set(seats_of(other))
    if not shared:
        return False
    layouts = [item.layout for item in world.repartitions if (item.node, item.gpu) in shared]
    if any(other.mig not in layout for layout in layouts):
        return True
    if replica.mig is not None:
        return other.mig in (None, replica.mig)
    return not may_be_neighbours([replica.mode, other.mode])


def _room(
    world: Transition,
    seat: _Gpu,
    going: Sequence[Replica],
    coming: tuple[Sequence[Replica], Sequence[Sequence[_Gpu]]],
    held: Sequence[Replica],
    spare: OrderSpare,
) -> _SeatRoom:
    """MIG slots are free or not, whatever memory is left: there nothing is counted."""

    def stays_mib(replica: Replica) -> int:
        return asleep_mib(replica) if replica.mig is None and world.level_of(replica) is not None else 0

    def held_mib(replica: Replica) -> int:
        return 0 if replica.mig is not None else world.held_mib(replica)

    here = [(1 << bit, item) for bit, (item, seats) in enumerate(zip(*coming, strict=True)) if seat in seats]
    known_mib = world.room_mib.get(seat)
    unlimited = any(item.mig is not None or item.name in spare.moved for _, item in here)
    room_mib = 1 << 62 if unlimited else (known_mib or 0) + spare.extra_mib.get(seat, 0)
    stays = [item for item in held if seat in seats_of(item)]
    goes = [(1 << bit, item) for bit, item in enumerate(going) if seat in seats_of(item)]
    return _SeatRoom(
        free_mib=room_mib - sum(held_mib(item) for item in stays) - sum(stays_mib(item) for _, item in goes),
        going=tuple((bit, held_mib(item) - stays_mib(item)) for bit, item in goes),
        coming=tuple((bit, 0 if item.mig is not None else _comes_mib(world, item)) for bit, item in here),
        free_threads=ALL_THREADS - sum(item.threads for item in stays if item.name not in world.asleep),
        going_threads=tuple((bit, item.threads) for bit, item in goes if item.threads and item.name not in world.asleep),
        coming_threads=tuple((bit, item.threads) for bit, item in here if item.threads),
    )


def _name_needs(
    world: Transition, going: Sequence[Replica], coming: Sequence[Replica], held: Sequence[Replica], least: Mapping[str, int]
) -> Iterable[_NameNeed]:
    for name, count in sorted(least.items()):
        out = sum(1 << bit for bit, item in enumerate(going) if name in item.args.names and item.name not in world.asleep)
        back = sum(1 << bit for bit, item in enumerate(coming) if name in item.args.names)
        if out:
            staying = sum(name in item.args.names and item.name not in world.asleep for item in held)
            yield _NameNeed(name, count, staying, out, back)


def _capacity_needs(
    world: Transition, going: Sequence[Replica], coming: Sequence[Replica], held: Sequence[Replica]
) -> Iterable[_CapacityNeed]:
    staying_rps: defaultdict[str, float] = defaultdict(float)
    for item in held:
        staying_rps[item.served_name] += 0.0 if item.name in world.asleep else item.capacity_rps
    for name, (_, capacity_rps) in sorted(world.needs.items()):
        leavers = [(1 << bit, item) for bit, item in enumerate(going) if item.name not in world.asleep]
        out = tuple((bit, item.capacity_rps) for bit, item in leavers if item.served_name == name)
        back = tuple((1 << bit, item.capacity_rps) for bit, item in enumerate(coming) if item.served_name == name)
        if out:
            yield _CapacityNeed(capacity_rps * (1 - RELATIVE) - staying_rps[name], out, back)


def connected(world: Transition) -> list[frozenset[str]]:
    """The movers in groups that have nothing to do with each other: no GPU, no name, no address, no served name; none of too many."""
    if len(world.going) + len(world.coming) > MOST_GROUPED:
        return []
    groups: list[tuple[set[str], set[object]]] = []
    for replica in (*world.going, *world.coming):
        names: set[str] = {replica.name}
        marks: set[object] = {
            replica.name,
            ("at", address_of(replica)),
            *seats_of(replica),
            *(("for", name) for name in replica.args.names),
        }
        apart = []
        for other in groups:
            if marks & other[1]:
                names |= other[0]
                marks |= other[1]
            else:
                apart.append(other)
        groups = [*apart, (names, marks)]
    return sorted((frozenset(names) for names, _ in groups), key=min)
