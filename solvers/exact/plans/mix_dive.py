"""From the relaxation over GPU patterns to a plan: mixes join the program, and are fixed step by step.

Patterns that are fixed one by one buy replicas that only half a mix needs. So whole mixes become columns: where the relaxation is nearly
decided its mix is fixed, the rest follows the prices. What all mixes together then ask of a pool is a cutting stock problem of that pool.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from planner.problem import Pattern
from solvers.exact.plans.mix_finder import MixFinder
from solvers.exact.plans.packed import pack, too_many
from solvers.exact.relaxation.cover_root import CoverRoot, Look
from solvers.exact.relaxation.node_numbers import NodeNumbers
from solvers.highs import LinearAnswer
from solvers.model.arrays import Floats
from solvers.model.columns import GpuColumn, MixColumn, PatternColumn, ReplicaColumn

# a mix that the relaxation takes at least so much of is fixed; if there is none, the largest part of those left
_SURE, _NEARLY, _PART = 0.98, 0.5, 0.25
# a group of fixed mixes may raise the value by this part, or by this part of a GPU; so often one may be taken back
_LOSS_FRACTION, _LOSS_GPUS, _MOST_TAKEN_BACK = 3e-4, 0.1, 20
# how often demands are decided again whose GPUs a pool has no room for
_MOST_REPAIRS = 3
# so few open demands are decided one by one, each by so many of its mixes, fewer where one costs hardly more than none
_FEW_OPEN, _MOST_ASKED, _AS_GOOD = 12, 4, 1e-4
# a choice of nodes that seems so many times as dear as the cheapest has so many rounds of columns more
_FAR, _FAR_ROUNDS = 1.05, 5
# rounds of columns after each group
_LATER_ROUNDS = 2
# part of the duals before in those at which columns are sought: the relaxation with mixes swings less
_CENTRE = 0.3


class MixDive:
    """Dives in the program of a root; leaves columns and rows behind, but no bounds."""

    def __init__(self, root: CoverRoot, over: Callable[[], bool]) -> None:
        """Over tells that time is up."""
        self.root, self.over = root, over
        self.program = root.program
        self.nodes = NodeNumbers(root.program)
        self.finder = MixFinder(root.offers, root.pricing, root.ways)
        self._mixes: defaultdict[int, list[tuple[int, MixColumn]]] = defaultdict(list)

    def ways(self, rounds: int, enough: Callable[[], bool]) -> list[tuple[float, dict[int, int]]]:
        """Whole numbers of nodes per pool around the relaxed ones with their relaxed values, the cheapest first.

        Each may have so many rounds of columns of its own: with those that other numbers ask for, it would seem dearer than it is. More of
        them where it seems so far too dear that mixes must be missing. The nearest numbers come first, and after them as many as there is
        time for.
        """
        answer = self.program.solver.solve() or self.root.answer
        assert answer is not None
        others = self._elsewhere(answer, {pool for pool, numbers in self.nodes.around(answer).items() if len(numbers) > 1})
        tried: list[tuple[float, dict[int, int]]] = []
        for way in self.nodes.ways(answer):
            if tried and enough():
                break
            self.nodes.fix(way)
            found = self._refine(others, rounds)
            if found is not None and found.value > _FAR * answer.value:
                found = self._refine(others, _FAR_ROUNDS)
            if found is not None:
                tried.append((found.value, way))
        self.nodes.free()
        return sorted(tried, key=lambda item: (item[0], sorted(item[1].items())))

    def _elsewhere(self, answer: LinearAnswer, pools: AbstractSet[int]) -> set[int]:
        """Demands that an answer serves without some pools: other numbers of their nodes hardly matter to these."""
        usage, offers = self.program.usage(answer.columns), self.root.offers
        here = set(offers.demand[(usage > 1e-6) & np.isin(offers.pool, sorted(pools))].tolist())
        return set(range(len(self.root.problem.demands))) - here

    def relax(self, rounds: int) -> LinearAnswer | None:
        """The relaxation with mixes, before any is fixed."""
        return self._refine({}, rounds)

    def run(self, numbers: Mapping[int, int]) -> Generator[tuple[Pattern, ...]]:
        """Plans with these numbers of nodes, each better than the last or with less overflow.

        Demands whose GPUs a pool has no room for are decided again, with less room there.
        """
        way = dict(numbers)
        self.nodes.fix(way)
        fixed: dict[int, MixColumn] = {}
        lacking: Counter[int] = Counter()
        try:
            for _ in range(_MOST_REPAIRS):
                self._decide(fixed)
                patterns = pack(self.root, fixed)
                yield patterns
                left_out = too_many(self.root.problem, patterns, way)
                if not left_out or self.over():
                    break
                for pattern in left_out:
                    lacking[pattern.pool] += pattern.count
                    self._lower(pattern.pool, lacking[pattern.pool])
                    for demand in {self.root.problem.shapes[index].demand for index in pattern.residents} & set(fixed):
                        del fixed[demand]
                        self._bound(demand, None)
        finally:
            # also where nobody wants another plan
            for pool in lacking:
                self._lower(pool, 0)
            for demand in self._mixes:
                self._bound(demand, None)
            self.nodes.free()

    def _lower(self, pool: int, gpus: int) -> None:
        """So many GPUs of a pool are out of reach from now on."""
        master = self.root.master
        room = 0.0 if master.problem.pools[pool].billing == "node" else float(master.row_room(pool, 1) * master.problem.pools[pool].nodes)
        self.program.solver.bound_row(self.program.capacity_row(pool, 1), -math.inf, room - gpus)

    def _one_by_one(self, fixed: dict[int, MixColumn], answer: LinearAnswer) -> LinearAnswer | None:
        """Decide the open demands that cost a GPU or more, the dearest first: of the mixes used most, the one that costs the whole least.

        Whoever comes last may find its pool a block of GPUs short, so what a mix costs all others is asked, and not how much of it is used.
        """
        worth = {demand: self._worth(demand, answer) for demand in self._mixes if demand not in fixed}
        now: LinearAnswer | None = answer
        for demand in sorted((each for each in worth if worth[each] >= self._dearest), key=lambda each: (-worth[each], each)):
            if now is None or self.over():
                break
            enough = now.value * (1.0 + _AS_GOOD)
            asked: list[tuple[float, int, MixColumn]] = []
            for at, mix in self._used_most(demand, now):
                self._bound(demand, at)
                found = self.program.solver.solve()
                asked.append((found.value if found is not None else math.inf, at, mix))
                if asked[-1][0] <= enough or self.over():
                    break
            _, at, mix = min(asked, key=lambda item: item[0])
            fixed[demand] = mix
            self._bound(demand, at)
            now = self._refine(fixed, 1)
        return now

    def _used_most(self, demand: int, answer: LinearAnswer) -> list[tuple[int, MixColumn]]:
        """The mixes of a demand of which an answer uses most, and then those that lack least."""
        listed = self._mixes[demand]
        return sorted(listed, key=lambda item: (-round(float(answer.columns[item[0]]), 3), float(answer.reduced[item[0]]), item[0]))[
            :_MOST_ASKED
        ]

    def _worth(self, demand: int, answer: LinearAnswer) -> float:
        """What serving a demand costs at the duals of an answer, scaled."""
        program = self.program
        paid = sum(float(answer.duals[row]) * cut.least for cut, row in program.cuts_of(demand))
        return paid + float(answer.duals[program.mix_row[demand]])

    def _decide(self, fixed: dict[int, MixColumn]) -> None:
        """A mix for every demand that is open, fixed one group after the other; a group that costs too much is taken back by half."""
        answer = self._refine(fixed, _LATER_ROUNDS)
        chosen_last = False
        before, batch, given_up, taken_back = math.inf, list[tuple[int, MixColumn]](), set[int](), 0
        while answer is not None:
            if (
                batch
                and answer.value > before + self._allowed(before)
                and taken_back < _MOST_TAKEN_BACK
                and not chosen_last
                and not self.over()
            ):
                taken_back += 1
                back, batch = batch[len(batch) // 2 :], batch[: len(batch) // 2]
                given_up.update(at for at, _ in back if not batch)
                for _, mix in back:
                    del fixed[mix.demand]
                    self._bound(mix.demand, None, given_up)
                answer = self._refine(fixed, 0)
                continue
            before = answer.value
            rates = self._rates(answer, fixed)
            if not rates:
                break
            if len(rates) <= _FEW_OPEN and not chosen_last and not self.over():
                chosen_last, batch = True, []
                answer = self._refine(fixed, _LATER_ROUNDS)
                if answer is not None:
                    answer = self._one_by_one(fixed, answer)
                continue
            sure = [item for item in rates if item[0] >= _SURE or self.over()]
            chosen = sure or [item for item in rates[: max(1, int(_PART * len(rates)))] if item[0] >= min(_NEARLY, rates[0][0])]
            batch = [] if sure else [(at, mix) for _, at, mix in chosen]
            for _, at, mix in chosen:
                fixed[mix.demand] = mix
                self._bound(mix.demand, at)
            if len(chosen) == len(rates) and self.over():
                break
            # where the relaxation was decided already, nothing changes
            answer = self._refine(fixed, 0 if sure else _LATER_ROUNDS)

    def _allowed(self, value: float) -> float:
        """By how much a group of fixed mixes may raise the value."""
        return max(_LOSS_FRACTION * value, _LOSS_GPUS * self._dearest) if math.isfinite(value) else math.inf

    @property
    def _dearest(self) -> float:
        """Price of the dearest GPU, scaled."""
        master, pools = self.root.master, self.root.problem.pools
        each = [master.step_price(i) / (pool.gpus_per_node if pool.billing == "node" else 1) for i, pool in enumerate(pools)]
        return max(each, default=0.0) / master.unit

    def _rates(self, answer: LinearAnswer, fixed: Mapping[int, MixColumn]) -> list[tuple[float, int, MixColumn]]:
        """For every demand that is open the mix it uses most, most decided first."""
        best = []
        for demand, listed in sorted(self._mixes.items()):
            if demand not in fixed:
                value, at, mix = max(((float(answer.columns[at]), -at, mix) for at, mix in listed), key=lambda item: item[:2])
                best.append((value, -at, mix))
        return sorted(best, key=lambda item: (-item[0], item[1]))

    def _bound(self, demand: int, chosen: int | None, given_up: AbstractSet[int] = frozenset()) -> None:
        """Take one mix of a demand and none of the others; or any but those given up."""
        at = [column for column, _ in self._mixes[demand]]
        lower = [1.0 if column == chosen else 0.0 for column in at]
        upper = [math.inf if (chosen is None and column not in given_up) or column == chosen else 0.0 for column in at]
        self.program.solver.bound_columns(at, lower, upper)

    def _refine(self, fixed: Container[int], rounds: int) -> LinearAnswer | None:
        """Solve, and look for columns and mixes of the demands that are open, at duals smoothed towards those before."""
        answer = self.program.solver.solve()
        centre: Floats | None = None
        for _ in range(rounds):
            if answer is None or self.over():
                return answer
            duals = answer.duals
            if centre is not None:
                # rows that are new have had no duals before
                duals = _CENTRE * np.append(centre, duals[len(centre) :]) + (1.0 - _CENTRE) * duals
            fresh = self._columns_at(replace(answer, duals=duals), fixed)
            if not fresh and centre is not None:
                duals, fresh = answer.duals, self._columns_at(answer, fixed)
            if not fresh:
                return answer
            centre = duals
            answer = self.program.solver.solve()
        return answer

    def _columns_at(self, answer: LinearAnswer, fixed: Container[int]) -> int:
        """Columns and mixes that pay at the duals of an answer; returns how many are new."""
        look = self.root.look(answer.duals, full=False)
        return self.program.add(look.columns) + self._more(answer, look, fixed)

    def _more(self, answer: LinearAnswer, look: Look, fixed: Container[int]) -> int:
        """Mixes of the demands that are open: around what the program buys at first, then those that lower its value."""
        market, usage = self.root.market(look, 1.0), self.program.usage(answer.columns)
        supply = self.program.supply_row
        prices = market.copy()
        for option, row in supply.items():
            if row < len(answer.duals):
                prices[option] = max(0.0, answer.duals[row])
        found: list[MixColumn] = []
        for demand in range(len(self.root.problem.demands)):
            own = self.root.offers.of(demand)
            if demand in fixed or own.start == own.stop:
                continue
            weight = look.at.unserved_prices[demand]
            if demand not in self.program.mix_row:
                found.extend(self.finder.several(demand, usage[own], prices[own], weight))
            else:
                near = [
                    self.finder.cheapest(demand, prices[own], weight),
                    self.finder.around(demand, usage[own], prices[own] * (1.0 - 0.05 * np.minimum(1.0, usage[own])), weight),
                ]
                found.extend(mix for mix in near if mix is not None)
        return self.add_mixes(found)

    def find_mixes(self, demands: Sequence[int], answer: LinearAnswer, look: Look) -> None:
        """Mixes of some demands around what the program buys."""
        market, usage = self.root.market(look, 1.0), self.program.usage(answer.columns)
        for demand in demands:
            own = self.root.offers.of(demand)
            if own.start < own.stop:
                self.add_mixes(self.finder.several(demand, usage[own], market[own], look.at.unserved_prices[demand]))

    def add_mixes(self, mixes: Sequence[MixColumn]) -> int:
        """Append mixes that are new, with replicas and patterns that hold them; returns how many were."""
        fresh = [mix for mix in dict.fromkeys(mixes) if self.root.master.allows(mix) and self.program.place(mix) is None]
        self.program.add([*self._homes(fresh), *self._replicas(fresh)])
        self.program.add_mixes(fresh)
        for mix in fresh:
            at = self.program.place(mix)
            assert at is not None
            self._mixes[mix.demand].append((at, mix))
        return len(fresh)

    def _homes(self, mixes: Sequence[MixColumn]) -> list[GpuColumn | PatternColumn]:
        """Patterns for the slots that mixes ask for: without them an option that is new would seem to be nowhere."""
        master = self.root.master
        wanted = {
            master.slots.of_shape[shape]
            for mix in mixes
            for shape, _ in mix.shapes
            if shape in master.slots.of_shape and self.root.offers.number[shape] not in self.program.supply_row
        }
        homes: list[GpuColumn | PatternColumn] = []
        for group, seller in zip(master.slots.groups, self.root.pricing.every_seller, strict=True):
            inside = wanted.intersection(group.classes)
            for pattern in seller.around(sorted(inside)) if inside else ():
                homes.append(PatternColumn(group.pool, pattern) if group.layouts else self.root.gpu(group.pool, pattern))
        return homes

    def _replicas(self, mixes: Sequence[MixColumn]) -> list[ReplicaColumn]:
        offers = self.root.offers
        options = [(mix.demand, offers.number[shape]) for mix in mixes for shape, _ in mix.shapes]
        return [ReplicaColumn(demand, int(offers.shape[option])) for demand, option in options if not offers.shared[option]]
