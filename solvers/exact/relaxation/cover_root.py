"""The linear relaxation of a stage over GPU patterns: columns and cuts arrive until neither moves the bound.

Prices come from the duals of the cuts, smoothed towards the best known ones. Quick rounds look at classes that were near and give columns;
full rounds look at all, which gives a bound. When the columns are there, cuts are sought: at market prices (what an option may cost before
a GPU with it pays) the cheapest way to serve a demand is a cut, because it is a minimum over all legal ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from solvers.exact.relaxation.counts import Counts
from solvers.exact.relaxation.cover_cuts import CutRounds, first_cuts, precise, separate
from solvers.exact.relaxation.cover_program import CoverProgram, Cut
from solvers.exact.relaxation.demand_ways import DemandWays
from solvers.exact.relaxation.first_columns import first_columns, first_duals
from solvers.exact.relaxation.offers import Offers, first_prices, offers
from solvers.exact.relaxation.pricing import Priced, Prices, Pricing, prices
from solvers.highs import LinearAnswer
from solvers.model.arrays import Floats
from solvers.model.columns import Column, GpuColumn, LossColumn, PatternColumn, ReplicaColumn
from solvers.model.master import Master
from solvers.model.shape_catalogue import ShapeCatalogue
from solvers.searches.least import cheapest
from solvers.searches.slices import Slices

# part of the best known duals in the smoothed ones, and in those of a last look after cuts
_CENTRE, _STEADY = 0.6, 0.9
# columns are generated until the program is within this part of the bound
_TAIL_FRACTION = 3e-4
_MOST_CUT_ROUNDS, _MOST_QUICK = 14, 12
_QUICK_CUTS = CutRounds()
# quick cuts that are violated by less than this part of the value in all are left out
_LEAST_FRACTION = 4e-4
# where between its worth and the most that it may cost the market price of a shared option lies: at the end, pairs of such options beside
# each other would cost more than their GPU, and each round of cuts would bring a flood of columns
_MARKET = 0.6
# replicas of one demand that are added in one round
_MOST_DIRECT = 3


@dataclass(frozen=True, slots=True)
class Look:
    """Prices and worth of options at some duals: what group patterns are worth at most, and per demand the worth of its cuts."""

    duals: Floats
    at: Prices
    worth: Floats
    cost: Floats
    group_values: list[float]
    columns: list[Column]


@dataclass(slots=True)
class _Generation:
    """Where the generation of columns and cuts stands: smoothed duals, those looked at last, the bound since the last cuts."""

    centre: Floats
    duals: Floats
    best: float = -math.inf
    quick: int = 0
    stale: bool = False
    near_enough: bool = False
    cut_rounds: int = 0
    precise_rounds: int = 0


class CoverRoot:
    """Program, prices and the best bound of one stage."""

    def __init__(self, master: Master, stock: ShapeCatalogue) -> None:
        """Rows of the first cuts, columns of nodes and losses."""
        self.master, self.stock = master, stock
        self.problem = master.problem
        self.pricing = Pricing(master, stock)
        self.counts = Counts(master)
        self.offers: Offers = offers(master.problem, stock, master.slots.of_shape)
        self.ways = DemandWays(self.offers, self.pricing)
        self.guess = first_prices(master, self.offers)
        self._shape_of = {slot: index for index, slot in sorted(master.slots.of_shape.items(), key=lambda item: self._capacity(item[0]))}
        rates = np.full(len(self.offers.shape), math.inf)
        np.divide(self.guess, self.offers.part, out=rates, where=self.offers.part > 0)
        worth = [float(rates[self.offers.of(i)].min(initial=math.inf)) for i in range(len(self.problem.demands))]
        self.first_worth = [value if math.isfinite(value) else 0.0 for value in worth]
        self.program = CoverProgram(master, self.offers, 20.0 * max(1.0, *self.first_worth, 1.0))
        losses = [LossColumn(i) for i in range(len(self.problem.demands)) if math.isfinite(master.unserved_price(i))]
        self.program.add([*master.node_columns(), *losses])
        self.program.add_cuts(first_cuts(self.problem, self.offers))
        self.bound = -math.inf
        self.best: Priced | None = None
        self._steady: Floats = np.zeros(0)
        self.answer: LinearAnswer | None = None
        self._state: _Generation | None = None

    def _capacity(self, shape: int) -> int:
        return self.problem.shapes[shape].capacity_microrps

    def worths(self, duals: Floats) -> Floats:
        """What one replica of each option is worth at some duals."""
        out = np.zeros(len(self.offers.shape))
        for cut, row in zip(self.program.cuts, self.program.cut_rows, strict=True):
            if row < len(duals) and duals[row] > 0:
                out[self.offers.of(cut.demand)] += duals[row] * cut.weights
        for option, row in self.program.supply_row.items():
            if row < len(duals) and duals[row] > 0:
                out[option] += duals[row]
        return out

    def look(self, duals: Floats, *, full: bool) -> Look:
        """Price all groups at some duals; without full only near classes, and group values are no bounds."""
        worth = self.worths(duals)
        start = len(self.problem.demands)
        padded = self.program.master_duals(duals)
        shared, these = self.offers.shared, self.offers
        np.maximum.at(padded, start + these.slot[shared], worth[shared])
        for slot, row in self.program.class_row.items():
            padded[start + slot] = max(0.0, duals[row])
        at = prices(self.master, padded)
        columns: list[Column] = []
        values: list[float] = []
        for group, seller in zip(self.master.slots.groups, self.pricing.every_seller, strict=True):
            price = at.gpu_prices[group.pool, 1]
            if isinstance(seller, Slices):
                seller.price(at.slot_values)
                valued = seller.best(price * (1 + 1e-9) + 1e-9)
                columns.extend(PatternColumn(group.pool, pattern) for pattern in valued.patterns)
            else:
                seller.price(at.slot_values, price=price, near=not full)
                valued = seller.best(price * (1 + 1e-9) + 1e-9, quick=not full)
                columns.extend(self.gpu(group.pool, pattern) for pattern in valued.patterns)
                if full:
                    seller.watch()
            values.append(valued.upper_value)
        cost = self.costs(at)
        return Look(duals, at, worth, cost, values, [*columns, *self._direct(worth, cost)])

    def gpu(self, pool: int, classes: Sequence[int]) -> GpuColumn:
        """A GPU that offers these slot classes, as shapes."""
        return GpuColumn(pool, tuple(sorted(self._shape_of[slot] for slot in classes)))

    def costs(self, at: Prices) -> Floats:
        """What one replica of each option costs at some prices of GPUs and slots."""
        these = self.offers
        cost = np.where(these.slot >= 0, at.slot_values[these.slot] if len(at.slot_values) else 0.0, 0.0)
        for (pool, size), price in at.gpu_prices.items():
            cost[these.whole & (these.pool == pool) & (these.gpus == size)] = price * size
        return np.asarray(cost)

    def _direct(self, worth: Floats, cost: Floats) -> list[Column]:
        """Replicas on whole GPUs or in MIG instances that are worth more than they cost, a few per demand."""
        these = self.offers
        reduced = np.where(these.whole | these.mig, cost - worth, math.inf)
        bad = np.flatnonzero(reduced < -1e-9)
        order = bad[np.lexsort((reduced[bad], these.demand[bad]))]
        demand = these.demand[order]
        keep = order[np.arange(len(order)) - np.searchsorted(demand, demand) < _MOST_DIRECT]
        return [ReplicaColumn(int(these.demand[o]), int(these.shape[o])) for o in keep]

    def bound_at(self, look: Look) -> float:
        """The bound that a full look gives; remembers it."""
        feasible = self.pricing.balanced(look.at, look.group_values)
        feasible = replace(feasible, slot_values=self.pricing.lifted(feasible))
        cost = self.costs(feasible)
        values = self.least(cost, feasible.unserved_prices)
        priced = Priced(feasible, feasible.fixed + float(np.sum(values)), values.tolist())
        if math.isnan(priced.bound):
            return self.bound
        if self.best is None or priced.bound > self.best.bound:
            self.best, self._steady = priced, look.duals
        self.bound = max(self.bound, priced.bound)
        if self.master.goal.priority is None:
            self.counts.cut(priced)
        return priced.bound

    def least(self, cost: Floats, unserved_prices: Sequence[float] | Mapping[int, float]) -> Floats:
        """The least that serving each demand costs, or leaving it unserved."""
        out = np.zeros(len(self.problem.demands))
        these = self.offers
        for i in range(len(out)):
            own = these.of(i)
            capacity = these.capacity[own]
            if these.plain[i] and len(capacity):
                useful = np.flatnonzero(capacity > 0)
                out[i] = cheapest(capacity[useful], np.maximum(0.0, cost[own][useful]), int(these.peak[i]), unserved_prices[i]).value
            else:
                out[i] = self.pricing.cheapest_mix(i, cost[own], unserved_prices[i])[0]
        return out

    def market(self, look: Look, part: float = _MARKET) -> Floats:
        """What each option may cost: direct prices, and for shared ones a part of the way up to where a GPU with it would pay."""
        these = self.offers
        lift = np.full(len(self.master.slots.classes) + 1, math.inf)
        for group, seller in zip(self.master.slots.groups, self.pricing.every_seller, strict=True):
            if not group.layouts:
                classes = list(group.classes)
                lift[classes] = np.minimum(lift[classes], seller.headroom(look.at.gpu_prices[group.pool, 1]))
        shared = these.shared
        out = look.cost.copy()
        rise = np.maximum(0.0, lift[these.slot[shared]] - look.worth[shared])
        out[shared] = look.worth[shared] + part * np.where(np.isfinite(rise), rise, 0.0)
        return out

    def run(self, rounds: int, enough: Callable[[float], bool], which: CutRounds = _QUICK_CUTS) -> None:
        """Columns and cuts, until nothing moves, the bound is enough, or the rounds are used up.

        Quick cuts end where a round of them is violated by too little. Then come precise ones: dear, and worth it where a demand has few
        replicas of each kind.
        """
        state = self._state = self._begin() if self._state is None else self._again(self._state)
        for _ in range(rounds):
            answer = self.program.solver.solve()
            if answer is None:
                return
            self.answer = answer
            if enough(self.bound):
                # the bound rests on the last full look, which may be long ago
                self.bound_at(self.look(self._last(state, answer), full=True))
                return
            look, fresh, full = self._generate(state, answer)
            if not full and (fresh or not state.stale):
                state.stale = not fresh
                continue
            if full:
                bound = self.bound_at(look)
                if bound > state.best:
                    state.best, state.centre = bound, state.duals
                state.near_enough = answer.value - state.best <= _TAIL_FRACTION * abs(answer.value)
                if not state.near_enough and fresh:
                    state.stale = False
                    continue
            cuts = self._cuts(state, answer, look, which, lambda: enough(self.bound))
            if not cuts:
                if full:
                    return
                state.near_enough = False
                continue
            self.program.add_cuts(cuts)
            state.centre = np.append(answer.duals, np.zeros(len(cuts)))
            state.best, state.stale = -math.inf, False

    def _begin(self) -> _Generation:
        centre = first_duals(self.program, self.guess, self.first_worth)
        look = self.look(centre, full=True)
        self.program.add([*look.columns, *first_columns(self.pricing, self.offers, self.guess)])
        self.bound_at(look)
        return _Generation(centre, centre)

    def _again(self, state: _Generation) -> _Generation:
        """Where it stood, with what other steps have added since."""
        centre = state.centre if self.answer is None else self.answer.duals
        return _Generation(centre, centre, cut_rounds=state.cut_rounds, precise_rounds=state.precise_rounds)

    def _generate(self, state: _Generation, answer: LinearAnswer) -> tuple[Look, int, bool]:
        """One round of columns; full rounds look at everything."""
        full = (state.stale and not state.near_enough) or state.quick >= _MOST_QUICK
        state.duals = self._smoothed(state, answer)
        look = self.look(state.duals, full=full)
        state.quick = 0 if full else state.quick + 1
        if not full:
            state.centre = state.duals
        return look, self.program.add(look.columns), full

    def _smoothed(self, state: _Generation, answer: LinearAnswer) -> Floats:
        """Duals between the best known ones and those of an answer."""
        state.centre = np.append(state.centre, np.zeros(len(answer.duals) - len(state.centre)))
        return answer.duals if state.stale else _CENTRE * state.centre + (1 - _CENTRE) * answer.duals

    def _last(self, state: _Generation, answer: LinearAnswer) -> Floats:
        """Duals for a last look: close to those of the best bound where the columns that the last cuts ask for are not there yet."""
        if math.isfinite(state.best):
            return self._smoothed(state, answer)
        steady = np.append(self._steady, np.zeros(len(answer.duals) - len(self._steady)))
        return _STEADY * steady + (1 - _STEADY) * answer.duals

    def _cuts(self, state: _Generation, answer: LinearAnswer, look: Look, which: CutRounds, stop: Callable[[], bool]) -> list[Cut]:
        """Quick cuts while they pay, then precise ones."""
        if which.quick and state.cut_rounds < _MOST_CUT_ROUNDS:
            state.cut_rounds += 1
            market = self.market(look)
            least = self.least(market, look.at.unserved_prices)
            cuts, total = separate(self.program, answer.columns, market, least, look.at.unserved_prices)
            if cuts and total >= _LEAST_FRACTION * abs(answer.value):
                return cuts
        if state.precise_rounds >= which.precise_rounds:
            return []
        state.precise_rounds += 1
        return self.precise_cuts(answer, look, stop)

    def precise_cuts(self, answer: LinearAnswer, look: Look, stop: Callable[[], bool]) -> list[Cut]:
        """The cuts that an answer violates most, one per demand; a look at its duals says what options lack in worth."""
        reduced = self.market(look, 1.0) - look.worth
        return precise(self.program, self.ways, answer.columns, reduced, look.at.unserved_prices, stop)
