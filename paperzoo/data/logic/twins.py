"""Generated twins, SR(n) and SRC(n, u), for training and testing (Selsam et al. 2019, sections 4 and 8)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Any, Literal, Unpack

import numpy as np
from pydantic import PositiveInt
from torch.utils.data import Dataset

from paperzoo.batches import SatProblems
from paperzoo.data.base.items import Stream
from paperzoo.data.logic.sat import Evaluated, Packs, Problem, SatArguments, SatData, batch_of, packed
from paperzoo.data.logic.sr import CORES, Core, Pair, core_pair, expected_clauses, sr_pair
from paperzoo.datamodule import stream_seed

CoreName = Literal["knuth_r", "pigeonhole_2_1", "pigeonhole_3_2"]


@dataclass(frozen=True)
class Kind:
    """The distribution SR(`variables`), or SRC(`variables`, core)."""

    variables: int
    core_name: str | None = None

    @property
    def name(self) -> str:
        return f"n{self.variables}" if self.core_name is None else f"{self.core_name}_n{self.variables}"

    @property
    def core(self) -> Core | None:
        return None if self.core_name is None else CORES[self.core_name]

    def pair(self, *stream: int | str) -> Pair:
        """The twins of the random stream of that name."""
        generator = np.random.default_rng(stream_seed(*stream))
        if self.core is None:
            return sr_pair(self.variables, generator)
        return core_pair(self.core, self.variables, generator)

    def expected_pairs(self, nodes: int) -> float:
        """About the mean number of pairs that fill a batch: the last one that is begun does not fit, by half."""
        return max(1.0, nodes / (2 * (2 * self.variables + expected_clauses(self.variables))) - 0.5)


def twins(pair: Pair, name: str = "", group: int = 0) -> list[Problem]:
    """The satisfiable and the unsatisfiable problem of a pair."""
    return [
        Problem(f"{name}_sat", pair.satisfiable, 1, group),
        Problem(f"{name}_unsat", pair.unsatisfiable, 0, group, pair.core),
    ]


def batch_of_twins(pairs: Iterable[Pair]) -> SatProblems:
    return batch_of(chain.from_iterable(map(twins, pairs)))


def pair_nodes(pair: Pair) -> int:
    return 2 * pair.unsatisfiable.nodes


class TwinStream(Dataset[SatProblems]):
    """Training batches without end: `stream[number]` is a function of (seed, number) alone.

    The problems of a batch are of one kind, as in the authors' code. A batch of small problems holds more of them, so
    its kind is drawn such that the pairs, not the batches, are of all kinds alike.

    Args:
        kinds: the kinds to draw from.
        nodes: nodes a batch; it is filled with whole pairs as long as they fit.
        seed: names the random streams.
    """

    def __init__(self, kinds: Sequence[Kind], nodes: int, seed: int) -> None:
        self.kinds, self.nodes, self.seed = kinds, nodes, seed
        weights = np.array([1 / kind.expected_pairs(nodes) for kind in kinds])
        self.shares = weights / weights.sum()

    def __getitem__(self, number: int) -> SatProblems:
        return batch_of_twins(self.pairs(number))

    def pairs(self, number: int) -> list[Pair]:
        """The pairs of a batch."""
        stream = (self.seed, "train", number)
        kind = self.kinds[np.random.default_rng(stream_seed(*stream)).choice(len(self.kinds), p=self.shares)]
        return next(packed((kind.pair(*stream, index) for index in count()), pair_nodes, self.nodes))


class TwinData(SatData):
    """Twins, one satisfiable and one not, which are never parted into two of training, validation and test.

    Those of SR(n) are random clauses up to the first that makes them unsatisfiable; in its twin one literal is flipped.
    Those of SRC(n, u) hold a core u that alone tells them apart; `SatProblems.in_core` marks its literals.

    Args:
        cores: the cores that are planted, all equally often; without any it is SR(n).
        variables: least and greatest number of variables of the training problems; pairs have all numbers alike.
        training_pairs: train on this many pairs again and again; None: every pair is new. The batches of a fixed set
            keep their pairs, as in the authors' code, and come in another order in each epoch.
        validation_variables: numbers of variables of the validation problems.
        validation_pairs: validation pairs of each kind.
        test_variables: numbers of variables of the test problems.
        test_pairs: test pairs of each kind.
        others: see `SatData`; a training batch is filled with whole pairs as long as they fit.
    """

    def __init__(
        self,
        cores: tuple[CoreName, ...],
        variables: tuple[PositiveInt, PositiveInt],
        training_pairs: PositiveInt | None,
        validation_variables: tuple[PositiveInt, ...],
        validation_pairs: PositiveInt,
        test_variables: tuple[PositiveInt, ...],
        test_pairs: PositiveInt,
        **others: Unpack[SatArguments],
    ) -> None:
        def kinds(variables: Iterable[int]) -> list[Kind]:
            return [Kind(n, core) for n in variables for core in cores or (None,)]

        evaluated = sorted({*validation_variables, *test_variables})
        super().__init__(tuple(dict.fromkeys(kind.name for kind in kinds(evaluated))), **others)
        self.training_kinds = kinds(range(variables[0], variables[1] + 1))
        self.evaluated: dict[Evaluated, tuple[list[Kind], int]] = {
            "val": (kinds(validation_variables), validation_pairs),
            "test": (kinds(test_variables), test_pairs),
        }
        self.training_pairs = training_pairs

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from super().check(**arguments)
        least, greatest = arguments["variables"]
        if least > greatest:
            yield f"variables={[least, greatest]}: the least number of variables comes first"
        for key in ("validation_variables", "test_variables"):
            if not arguments[key]:
                yield f"{key}=[]: name at least one number of variables"
        needed = max((CORES[name].variables for name in arguments["cores"]), default=0)
        for key in ("variables", "validation_variables", "test_variables"):
            if min(arguments[key], default=needed) < needed:
                yield f"{key}={list(arguments[key])}: the cores need at least {needed} variables"

    def training(self) -> Stream | Packs[Pair]:
        if self.training_pairs is None:
            return TwinStream(self.training_kinds, self.batch_nodes, self.seed)
        pair = partial(indexed_pair, self.training_kinds, self.seed, "fixed")
        pairs = self.in_processes(pair, range(self.training_pairs))
        pairs.sort(key=lambda pair: pair.unsatisfiable.variables)
        return Packs(list(packed(pairs, pair_nodes, self.batch_nodes)), batch_of_twins)

    def generate(self, part: Evaluated) -> list[Problem]:
        kinds, pairs = self.evaluated[part]
        made = self.in_processes(partial(indexed_pair, kinds, self.seed, part), range(len(kinds) * pairs))
        groups = {name: index for index, name in enumerate(self.kinds)}
        return [
            problem
            for k, kind in enumerate(kinds)
            for i, pair in enumerate(made[k :: len(kinds)])
            for problem in twins(pair, f"{kind.name}/{i:04d}", groups.get(kind.name, 0))
        ]


def indexed_pair(kinds: Sequence[Kind], seed: int, part: str, index: int) -> Pair:
    """Pair number `index` of a fixed set that takes its kinds in turn."""
    kind = kinds[index % len(kinds)]
    return kind.pair(seed, part, kind.name, index // len(kinds))
