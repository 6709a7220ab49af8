"""SAT problems: generated twins for training and testing (Selsam et al. 2019), or your own DIMACS files for testing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from pysat.solvers import Solver
from torch import Tensor
from torch.utils.data import Dataset

from paperzoo.batches import SatProblems
from paperzoo.cnf import Formula, union
from paperzoo.data.base import BatchLoader, BatchOrder, PaperData, StreamOrder, stream_seed
from paperzoo.data.sr import CORES, Core, Pair, core_pair, expected_clauses, sr_pair
from paperzoo.dimacs import list_formulas, read_dimacs, read_labels
from paperzoo.errors import UserError

T = TypeVar("T")
Result = TypeVar("Result")

CoreName = Literal["knuth_r", "pigeonhole_2_1", "pigeonhole_3_2"]

UNKNOWN = -1

# The solver of python-sat that labels files: of the complete ones the best on hard problems.
LABELLING_SOLVER = "cadical195"


@dataclass(frozen=True, eq=False)
class Problem:
    """A formula and what is known of it; see `SatProblems` for the meaning of the fields."""

    name: str
    formula: Formula
    satisfiable: int
    group: int = 0
    core: tuple[int, ...] = ()


def batch_of(problems: Sequence[Problem]) -> SatProblems:
    return union(
        [problem.formula for problem in problems],
        [problem.satisfiable for problem in problems],
        [problem.group for problem in problems],
        [problem.core for problem in problems],
    )


def packed(items: Iterable[T], nodes: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """The items in their order, in lists of at most `limit` nodes; a larger item is a list of its own."""
    pack: list[T] = []
    total = 0
    for item in items:
        size = nodes(item)
        if pack and total + size > limit:
            yield pack
            pack, total = [], 0
        pack.append(item)
        total += size
    if pack:
        yield pack


class Packs(Dataset[SatProblems], Generic[T]):
    """Batches of fixed items: `packs[index]` is the batch of the one pack that the tensor `index` names."""

    def __init__(self, packs: Sequence[Sequence[T]], make_batch: Callable[[Sequence[T]], SatProblems]) -> None:
        self.packs, self.make_batch = packs, make_batch

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: Tensor) -> SatProblems:
        return self.make_batch(self.packs[int(index)])


class SatData(PaperData):
    """Base of the sets of SAT problems: fixed problems for validation, test and prediction, packed by nodes.

    Subclasses implement `generate` and say their `group_names`; those that train also `train_dataloader` and
    `initial_batch`.

    Args:
        path: a DIMACS file, or a folder of them, instead of the generated problems in test and prediction.
        solve: let a complete solver label the files that have no label; may take long.
        eval_nodes: nodes a batch at most in validation, test and prediction, on each device.
        workers: processes that generate problems; 0 generates them in the training process.
        seed: names the random streams.

    Attributes:
        group_names: the kinds of problems that `SatProblems.group` indexes; only "files" where there are files.
        unreadable: what was wrong with each file that was left out.
    """

    yields = SatProblems

    def __init__(
        self,
        group_names: tuple[str, ...],
        path: str | None,
        solve: bool,
        eval_nodes: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__(workers, seed)
        self.group_names = group_names if path is None else ("files",)
        self.path = Path(path).expanduser() if path is not None else None
        self.solve = solve
        self.eval_nodes = eval_nodes
        self.unreadable: list[str] = []
        self._problems: dict[str, list[Problem]] = {}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if arguments["path"] is None:
            return
        path = Path(arguments["path"]).expanduser()
        try:
            list_formulas(path)
        except UserError as error:
            yield f"data.path={error}"
            return
        try:
            read_labels(path)
        except UserError as error:
            yield f"data.path={path}: {error}"

    def generate(self, part: Literal["val", "test"]) -> list[Problem]:
        """The problems of a part: the same ones in every run with the same seed."""
        raise NotImplementedError(f"{type(self).__name__} has no generate")

    def problems(self, part: Literal["val", "test"]) -> list[Problem]:
        """The problems of a part, made or read the first time.

        Raises:
            UserError: none of the files can be read.
        """
        if part not in self._problems:
            own = self.path if part == "test" else None
            self._problems[part] = self.generate(part) if own is None else self._read(own)
        return self._problems[part]

    def setup(self, stage: str | None = None) -> None:
        if stage in ("fit", "validate", None):
            self.problems("val")
        if stage in ("test", "predict", None):
            self.problems("test")

    def val_dataloader(self) -> BatchLoader:
        return self._eval_loader("val")

    def test_dataloader(self) -> BatchLoader:
        return self._eval_loader("test")

    def predict_dataloader(self) -> BatchLoader:
        return self._eval_loader("test")

    def item_names(self) -> list[str]:
        return [problem.name for problem in self.problems("test")]

    def in_processes(self, function: Callable[[T], Result], items: Sequence[T]) -> list[Result]:
        """`function` of each item, in order, worked out by as many processes as there are workers."""
        if not self.workers:
            return list(map(function, items))
        with ProcessPoolExecutor(self.workers) as pool:
            return list(pool.map(function, items, chunksize=1 + len(items) // (16 * self.workers)))

    def _eval_loader(self, part: Literal["val", "test"]) -> BatchLoader:
        packs = list(packed(self.problems(part), lambda problem: problem.formula.nodes, self.eval_nodes))
        order = self.order(len(packs), "eval_nodes", shuffle=False)
        return BatchLoader(Packs(packs, batch_of), sampler=order, batch_size=None, pin_memory=torch.cuda.is_available())

    def order(self, packs: int, limit: str, *, shuffle: bool) -> BatchOrder:
        """The order of fixed packs, of which each device has at least one.

        Args:
            packs: how many there are.
            limit: the argument that limits their nodes.
            shuffle: training order instead of evaluation order.

        Raises:
            UserError: there are fewer packs than devices.
        """
        devices = self.trainer.world_size if self.trainer else 1
        if packs < devices:
            raise UserError(
                f"data.{limit}={getattr(self, limit)}: all problems fill {packs} batches of so many nodes, less than "
                f"one for each of {devices} devices; choose fewer nodes or fewer devices"
            )
        return BatchOrder(packs, 1, self, shuffle=shuffle)

    def _read(self, path: Path) -> list[Problem]:
        root = path if path.is_dir() else path.parent
        labels = read_labels(path)
        formulas: dict[str, Formula] = {}
        self.unreadable = []
        for file in list_formulas(path):
            try:
                formulas[file.relative_to(root).as_posix()] = read_dimacs(file)
            except UserError as error:
                self.unreadable.append(str(error))
        if not formulas:
            raise UserError(*self.unreadable)
        known = {name: int(label) for name, label in labels.items()}
        if self.solve:
            unlabelled = [name for name in formulas if name not in known]
            answers = self.in_processes(is_satisfiable, [formulas[name] for name in unlabelled])
            known |= dict(zip(unlabelled, map(int, answers), strict=True))
        return [Problem(name, formula, known.get(name, UNKNOWN)) for name, formula in formulas.items()]


def is_satisfiable(formula: Formula) -> bool:
    """Asks a complete solver, which may take long."""
    with Solver(LABELLING_SOLVER, bootstrap_with=formula.clauses()) as solver:
        return bool(solver.solve())


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
    return batch_of(list(chain.from_iterable(map(twins, pairs))))


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
    """Base of the sets of generated twins, which are never parted into two of training, validation and test.

    Subclasses say in `kinds` what they generate.

    Args:
        variables: least and greatest number of variables of the training problems; pairs have all numbers alike.
        batch_nodes: nodes a training batch, on each device: two for each variable, one for each clause. It is filled
            with whole pairs as long as they fit.
        training_pairs: train on this many pairs again and again; None: every pair is new. The batches of a fixed set
            keep their pairs, as in the authors' code, and come in another order in each epoch.
        batches_per_epoch: batches that count as an epoch, on each device, where every pair is new.
        validation_variables: numbers of variables of the validation problems.
        validation_pairs: validation pairs of each kind.
        test_variables: numbers of variables of the test problems.
        test_pairs: test pairs of each kind.
        path: this and all others: see `SatData`.
    """

    def __init__(
        self,
        variables: tuple[PositiveInt, PositiveInt],
        batch_nodes: PositiveInt,
        training_pairs: PositiveInt | None,
        batches_per_epoch: PositiveInt,
        validation_variables: tuple[PositiveInt, ...],
        validation_pairs: PositiveInt,
        test_variables: tuple[PositiveInt, ...],
        test_pairs: PositiveInt,
        path: str | None,
        solve: bool,
        eval_nodes: PositiveInt,
        workers: NonNegativeInt,
        seed: int,
    ) -> None:
        self.training_kinds = self.kinds(range(variables[0], variables[1] + 1))
        self.evaluated = {
            "val": (self.kinds(validation_variables), validation_pairs),
            "test": (self.kinds(test_variables), test_pairs),
        }
        names = dict.fromkeys(kind.name for kind in self.kinds(sorted({*validation_variables, *test_variables})))
        super().__init__(tuple(names), path, solve, eval_nodes, workers, seed)
        self.batch_nodes = batch_nodes
        self.training_pairs = training_pairs
        self.batches_per_epoch = batches_per_epoch
        self._packs: list[list[Pair]] = []

    def kinds(self, variables: Iterable[int]) -> list[Kind]:
        """The kinds that are generated with these numbers of variables."""
        raise NotImplementedError(f"{type(self).__name__} has no kinds")

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from super().check(**arguments)
        least, greatest = arguments["variables"]
        if least > greatest:
            yield f"data.variables={[least, greatest]}: the least number of variables comes first"
        for key in ("validation_variables", "test_variables"):
            if not arguments[key]:
                yield f"data.{key}=[]: name at least one number of variables"

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if stage in ("fit", None) and self.training_pairs and not self._packs:
            pairs = self.in_processes(self._training_pair, range(self.training_pairs))
            pairs.sort(key=lambda pair: pair.unsatisfiable.variables)
            self._packs = list(packed(pairs, pair_nodes, self.batch_nodes))

    @property
    def _training_pair(self) -> Callable[[int], Pair]:
        return partial(indexed_pair, self.training_kinds, self.seed, "fixed")

    def generate(self, part: Literal["val", "test"]) -> list[Problem]:
        kinds, pairs = self.evaluated[part]
        made = self.in_processes(partial(indexed_pair, kinds, self.seed, part), range(len(kinds) * pairs))
        groups = {name: index for index, name in enumerate(self.group_names)}
        return [
            problem
            for k, kind in enumerate(kinds)
            for i, pair in enumerate(made[k :: len(kinds)])
            for problem in twins(pair, f"{kind.name}/{i:04d}", groups.get(kind.name, 0))
        ]

    def train_dataloader(self) -> BatchLoader:
        return BatchLoader(
            self.training_batches,
            sampler=self._training_order(),
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _training_order(self) -> BatchOrder | StreamOrder:
        if not self._packs:
            return StreamOrder(self.batches_per_epoch, self)
        return self.order(len(self._packs), "batch_nodes", shuffle=True)

    @property
    def training_batches(self) -> Dataset[SatProblems]:
        """The training batches: numbered from 0, without end or those of the fixed set."""
        if self._packs:
            return Packs(self._packs, batch_of_twins)
        return TwinStream(self.training_kinds, self.batch_nodes, self.seed)

    def initial_batch(self, size: int) -> SatProblems:
        self.setup("fit")
        if self._packs:
            order = BatchOrder(len(self._packs), 1, self, shuffle=True).order(0).tolist()
            pairs = chain.from_iterable(self._packs[index] for index in order)
        else:
            stream = TwinStream(self.training_kinds, self.batch_nodes, self.seed)
            pairs = chain.from_iterable(map(stream.pairs, count()))
        return batch_of(list(islice(chain.from_iterable(map(twins, pairs)), size)))


def indexed_pair(kinds: Sequence[Kind], seed: int, part: str, index: int) -> Pair:
    """Pair number `index` of a fixed set that takes its kinds in turn."""
    kind = kinds[index % len(kinds)]
    return kind.pair(seed, part, kind.name, index // len(kinds))


class SrData(TwinData):
    """SR(n): random clauses up to the first that makes them unsatisfiable; in its twin one literal is flipped."""

    def kinds(self, variables: Iterable[int]) -> list[Kind]:
        return [Kind(n) for n in variables]


class UnsatCores(TwinData):
    """SRC(n, u): twins that only a planted core u tells apart; `SatProblems.in_core` marks its literals.

    Args:
        cores: the cores that are planted, all equally often.
        others: see `TwinData`.
    """

    def __init__(
        self,
        cores: tuple[CoreName, ...],
        variables: tuple[PositiveInt, PositiveInt],
        batch_nodes: PositiveInt,
        training_pairs: PositiveInt | None,
        batches_per_epoch: PositiveInt,
        validation_variables: tuple[PositiveInt, ...],
        validation_pairs: PositiveInt,
        test_variables: tuple[PositiveInt, ...],
        test_pairs: PositiveInt,
        path: str | None,
        solve: bool,
        eval_nodes: PositiveInt,
        workers: NonNegativeInt,
        seed: int,
    ) -> None:
        self.cores = cores
        super().__init__(
            variables,
            batch_nodes,
            training_pairs,
            batches_per_epoch,
            validation_variables,
            validation_pairs,
            test_variables,
            test_pairs,
            path,
            solve,
            eval_nodes,
            workers,
            seed,
        )

    def kinds(self, variables: Iterable[int]) -> list[Kind]:
        return [Kind(n, core) for n in variables for core in self.cores]

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from super().check(**arguments)
        if not arguments["cores"]:
            yield f"data.cores=[]: name at least one of {', '.join(CORES)}"
            return
        needed = max(CORES[name].variables for name in arguments["cores"])
        for key in ("variables", "validation_variables", "test_variables"):
            if min(arguments[key], default=needed) < needed:
                yield f"data.{key}={list(arguments[key])}: the cores need at least {needed} variables"
