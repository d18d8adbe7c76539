"""From the relaxation over GPU patterns to a plan: mixes join the program, and are fixed step by step.

Patterns that are fixed one by one buy replicas that only half a mix needs. So whole mixes become columns: where the relaxation is nearly
decided its mix is fixed, the rest follows the prices. What all mixes together then ask of a pool is a cutting stock problem of that pool.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from random import Random

from planner.problem import Pattern
from solvers.exact.plans.mix_relaxation import MixRelaxation
from solvers.exact.plans.packed import pack, too_many
from solvers.highs import LinearAnswer
from solvers.model.columns import MixColumn

# a mix that the relaxation takes at least so much of is fixed; if there is none, the largest part of those left
_SURE, _NEARLY, _PART = 0.98, 0.5, 0.25
# a group of fixed mixes may raise the value by this part, or by this part of a GPU; so often one may be taken back
_LOSS_FRACTION, _LOSS_GPUS, _MOST_TAKEN_BACK = 3e-4, 0.1, 20
# how often demands are decided again whose GPUs a pool has no room for
_MOST_REPAIRS = 3
# so few open demands are decided one by one, each by so many of its mixes, fewer where one costs hardly more than none
_FEW_OPEN, _MOST_ASKED, _AS_GOOD = 12, 4, 1e-4
# rounds of columns after each group
_LATER_ROUNDS = 2
# so many demands are decided once more near a plan; of these, in every other turn, so many are those that would rather be served otherwise
_DECIDED_AGAIN, _REGRETTED = 15, 11


Patterns = tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """In how many turns better plans are looked for near one, and what a plan is worth, the less the better."""

    turns: int
    value: Callable[[Patterns], tuple[int, ...]]


class MixDive(MixRelaxation):
    """Dives in the program of a root."""

    def run(self, numbers: Mapping[int, int], near: Near | None = None) -> Generator[Patterns]:
        """Plans with these numbers of nodes, each better than the last or with less overflow, and then plans near them.

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
                        self.bound(demand, None)
            if near is not None:
                yield from self._near(fixed, patterns, near)
        finally:
            # also where nobody wants another plan
            for pool in lacking:
                self._lower(pool, 0)
            for demand in self.mixes:
                self.bound(demand, None)
            self.nodes.free()

    def _near(self, fixed: dict[int, MixColumn], patterns: Patterns, near: Near) -> Generator[Patterns]:
        """Plans near one of which the mixes are known: a few demands at a time are decided once more."""
        chance = Random(0)  # noqa: S311 -- a search, and the same one every time
        best, value = dict(fixed), near.value(patterns)
        for turn in range(near.turns):
            answer = self.program.solver.solve()
            if answer is None or self.over():
                return
            chosen = self._chosen_again(best, answer, chance, 0 if turn % 2 else _REGRETTED)
            for demand in chosen:
                self.bound(demand, None)
            fixed = {demand: mix for demand, mix in best.items() if demand not in chosen}
            self._decide(fixed)
            patterns = pack(self.root, fixed)
            yield patterns
            reached = near.value(patterns)
            if reached < value:
                best, value = fixed, reached
            for demand in chosen & set(best):
                self.bound(demand, self.program.place(best[demand]))

    def _chosen_again(self, fixed: Mapping[int, MixColumn], answer: LinearAnswer, chance: Random, regretted: int) -> set[int]:
        """Demands to decide once more: so many of those that another mix would serve for least less, the others by chance."""
        regret = {
            demand: float(answer.reduced[place]) - min(float(answer.reduced[at]) for at, _ in self.mixes[demand])
            for demand, mix in sorted(fixed.items())
            if (place := self.program.place(mix)) is not None
        }
        first = sorted(regret, key=lambda demand: (-regret[demand], demand))[:regretted]
        others = sorted(set(regret) - set(first))
        return {*first, *chance.sample(others, min(len(others), _DECIDED_AGAIN - len(first)))}

    def _lower(self, pool: int, gpus: int) -> None:
        """So many GPUs of a pool are out of reach from now on."""
        master = self.root.master
        room = 0.0 if master.problem.pools[pool].billing == "node" else float(master.row_room(pool, 1) * master.problem.pools[pool].nodes)
        self.program.solver.bound_row(self.program.capacity_row(pool, 1), -math.inf, room - gpus)

    def _one_by_one(self, fixed: dict[int, MixColumn], answer: LinearAnswer) -> LinearAnswer | None:
        """Decide the open demands that cost a GPU or more, the dearest first: of the mixes used most, the one that costs the whole least.

        Whoever comes last may find its pool a block of GPUs short, so what a mix costs all others is asked, and not how much of it is used.
        """
        worth = {demand: self._worth(demand, answer) for demand in self.mixes if demand not in fixed}
        now: LinearAnswer | None = answer
        for demand in sorted((each for each in worth if worth[each] >= self._dearest), key=lambda each: (-worth[each], each)):
            if now is None or self.over():
                break
            enough = now.value * (1.0 + _AS_GOOD)
            asked: list[tuple[float, int, MixColumn]] = []
            for at, mix in self._used_most(demand, now):
                self.bound(demand, at)
                found = self.program.solver.solve()
                asked.append((found.value if found is not None else math.inf, at, mix))
                if asked[-1][0] <= enough or self.over():
                    break
            _, at, mix = min(asked, key=lambda item: item[0])
            fixed[demand] = mix
            self.bound(demand, at)
            now = self.refine(fixed, 1)
        return now

    def _used_most(self, demand: int, answer: LinearAnswer) -> list[tuple[int, MixColumn]]:
        """The mixes of a demand of which an answer uses most, and then those that lack least."""
        listed = self.mixes[demand]
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
        answer = self.refine(fixed, _LATER_ROUNDS)
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
                    self.bound(mix.demand, None, given_up)
                answer = self.refine(fixed, 0)
                continue
            before = answer.value
            rates = self._rates(answer, fixed)
            if not rates:
                break
            if len(rates) <= _FEW_OPEN and not chosen_last and not self.over():
                chosen_last, batch = True, []
                answer = self.refine(fixed, _LATER_ROUNDS)
                if answer is not None:
                    answer = self._one_by_one(fixed, answer)
                continue
            sure = [item for item in rates if item[0] >= _SURE or self.over()]
            chosen = sure or [item for item in rates[: max(1, int(_PART * len(rates)))] if item[0] >= min(_NEARLY, rates[0][0])]
            batch = [] if sure else [(at, mix) for _, at, mix in chosen]
            for _, at, mix in chosen:
                fixed[mix.demand] = mix
                self.bound(mix.demand, at)
            if len(chosen) == len(rates) and self.over():
                break
            # where the relaxation was decided already, nothing changes
            answer = self.refine(fixed, 0 if sure else _LATER_ROUNDS)

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
        for demand, listed in sorted(self.mixes.items()):
            if demand not in fixed:
                value, at, mix = max(((float(answer.columns[at]), -at, mix) for at, mix in listed), key=lambda item: item[:2])
                best.append((value, -at, mix))
        return sorted(best, key=lambda item: (-item[0], item[1]))
