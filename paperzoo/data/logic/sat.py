"""SAT problems, packed into batches: the base of the sets that are generated, and your own DIMACS files for testing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar

import torch
from pydantic import NonNegativeInt, PositiveInt
from pysat.solvers import Solver
from torch.utils.data import Dataset

from paperzoo.batches import Names, SatProblems, Told
from paperzoo.data.base.generated import GeneratedData
from paperzoo.data.base.items import Index, ItemSet, Stream
from paperzoo.data.base.module import TEST, TRAIN
from paperzoo.data.base.order import BatchLoader, BatchOrder, RunOrder, StreamOrder
from paperzoo.errors import UserError
from paperzoo.files import printable
from paperzoo.logic.cnf import Formula, split, union
from paperzoo.logic.dimacs import list_formulas, read_dimacs, unlisted
from paperzoo.logic.sat_labels import read_labels
from paperzoo.machine import memory_of, shown

T = TypeVar("T")
Result = TypeVar("Result")

Evaluated = Literal["val", "test"]

UNKNOWN = -1

# The solver of python-sat that labels files: of the complete ones the best on hard problems.
LABELLING_SOLVER = "cadical195"

# Of memory that NeuroSAT of the published size takes on a CPU; measured.
BYTES_A_NODE = 10_000


@dataclass(frozen=True, eq=False)
class Problem:
    """A formula and what is known of it; see `SatProblems` for the meaning of the fields."""

    name: str
    formula: Formula
    satisfiable: int
    group: int = 0
    core: tuple[int, ...] = ()


def batch_of(problems: Iterable[Problem]) -> SatProblems:
    problems = list(problems)
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


def formula_nodes(problem: Problem) -> int:
    """What a problem takes of a batch: a node for each literal and each clause."""
    return problem.formula.nodes


class Packs(Dataset[SatProblems], Generic[T]):
    """Batches of fixed items, packed by their nodes: `packs[index]` is the batch of the packs that `index` names."""

    def __init__(self, packs: Sequence[Sequence[T]], make_batch: Callable[[Iterable[T]], SatProblems]) -> None:
        self.packs, self.make_batch = packs, make_batch

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: Index) -> SatProblems:
        return self.make_batch(chain.from_iterable(self.packs[number] for number in index.tolist()))


class SatArguments(TypedDict):
    """The arguments that all `SatData` share; see there."""

    batch_nodes: PositiveInt
    batches_per_epoch: PositiveInt
    path: str | None
    solve: bool
    eval_nodes: PositiveInt
    workers: NonNegativeInt
    seed: int


class SatData(GeneratedData):
    """Base of the sets of SAT problems: fixed problems for validation, test and prediction, packed by nodes.

    Subclasses implement `generate` and `training`.

    Args:
        kinds: the kinds of problems that `SatProblems.group` indexes; where there are files, "files" is the only one.
        batch_nodes: nodes a training batch at most, on each device: two for each variable, one for each clause.
        batches_per_epoch: batches that count as an epoch, on each device, where every training problem is new.
        path: a DIMACS file, or a folder of them, instead of the generated problems in test and prediction.
        solve: let a complete solver label the files that have no label; may take long.
        eval_nodes: nodes a batch at most in validation, test and prediction, on each device.
        workers: processes that generate problems; 0 generates them in the training process.
        seed: names the random streams.

    Attributes:
        unreadable: what was wrong with each file that was left out.
    """

    yields = SatProblems
    batch_key = "batch_nodes"
    eval_batch_key = "eval_nodes"
    fewest = 1000

    def __init__(
        self,
        kinds: tuple[str, ...],
        batch_nodes: PositiveInt,
        batches_per_epoch: PositiveInt,
        path: str | None,
        solve: bool,
        eval_nodes: PositiveInt,
        workers: NonNegativeInt,
        seed: int,
    ) -> None:
        super().__init__(seed, workers, batch_size=1, eval_batch_size=1, device_resident=False)  # a pack at a time
        self.kinds = kinds if path is None else ("files",)
        self.batch_nodes = batch_nodes
        self.batches_per_epoch = batches_per_epoch
        self.path = Path(path).expanduser() if path is not None else None
        self.solve = solve
        self.eval_nodes = eval_nodes
        self._problems: dict[str, list[Problem]] = {}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if arguments["path"] is None:
            return
        path = Path(arguments["path"]).expanduser()
        try:
            list_formulas(path)
        except UserError as error:
            yield f"path={error}"
            return
        try:
            read_labels(path)
        except UserError as error:
            yield f"path={path}: {error}"

    @property
    def names(self) -> Names:
        return Names(kinds=self.kinds)

    def tell(self, batch: SatProblems) -> list[Told]:
        """The names of the problems, found by formula and label among those that are read or made by now."""
        names = {
            _content(problem.formula, problem.satisfiable): problem.name
            for problem in chain.from_iterable(self._problems.values())
        }
        problems = zip(split(batch), batch.satisfiable.tolist(), strict=True)
        return [Told(names.get(_content(formula, satisfiable), "")) for formula, satisfiable in problems]

    def generate(self, part: Evaluated) -> list[Problem]:
        """The problems of a part: the same ones in every run with the same seed."""
        raise NotImplementedError(f"{type(self).__name__} has no generate")

    def training(self) -> Stream | Packs[Any]:
        """The training batches: without end, or those of a fixed set."""
        raise NotImplementedError(f"{type(self).__name__} has no training")

    def problems(self, part: Evaluated) -> list[Problem]:
        """The problems of a part, made or read the first time.

        Raises:
            UserError: none of the files can be read.
        """
        if part not in self._problems:
            own = self.path if part == TEST else None
            self._problems[part] = self.generate(part) if own is None else self._read(own)
        return self._problems[part]

    def initial_batch(self, size: int) -> SatProblems:
        """A training batch of at most `size` nodes, or of one problem if that has more."""
        smaller = copy(self)
        smaller.batch_nodes = size
        batches = smaller.training()
        return batches[torch.tensor([0])] if isinstance(batches, Packs) else batches[0]

    def make(self, part: str) -> ItemSet | Stream:
        if part == TRAIN:
            return self.training()
        return self.evaluation_packs(self.problems("test" if part == TEST else "val"))

    def evaluation_packs(self, problems: Sequence[Problem]) -> Packs[Problem]:
        """The batches in which these problems are evaluated: one for each device at least."""
        limit = self.eval_nodes
        packs = list(packed(problems, formula_nodes, limit))
        while len(packs) < min(self._devices, len(problems)):
            limit //= 2
            packs = list(packed(problems, formula_nodes, limit))
        return Packs(packs, batch_of)

    @property
    def _devices(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def amount(self, items: ItemSet | Stream) -> str:
        return f"{sum(map(len, items.packs)):,}" if isinstance(items, Packs) else super().amount(items)

    def order(self, part: str) -> RunOrder[Any]:
        """The order of a part; of fixed packs each device has at least one.

        Raises:
            UserError: there are fewer packs to train on than devices.
        """
        packs = self.parts[part]
        if not isinstance(packs, Packs):
            return StreamOrder(self.batches_per_epoch, self)
        if part == TRAIN and len(packs) < self._devices:
            raise UserError(
                f"data.batch_nodes={self.batch_nodes}: all problems fill {len(packs)} batches of so many nodes, less "
                f"than one for each of {self._devices} devices; choose fewer nodes or fewer devices"
            )
        return BatchOrder(len(packs), 1, self, shuffle=part == TRAIN)

    def loader(self, part: str) -> BatchLoader:
        if part == TRAIN:
            return super().loader(part)
        # packing is quicker than sending to other processes what is packed
        return BatchLoader(
            self.parts[part],  # type: ignore[arg-type]
            sampler=self.order(part),
            batch_size=None,
            pin_memory=torch.cuda.is_available(),
        )

    def item_names(self) -> list[str]:
        return [problem.name for problem in self.problems("test")]

    def in_processes(self, function: Callable[[T], Result], items: Sequence[T]) -> list[Result]:
        """`function` of each item, in order, worked out by as many processes as there are workers."""
        if not self.workers:
            return list(map(function, items))
        with ProcessPoolExecutor(self.workers) as pool:
            return list(pool.map(function, items, chunksize=1 + len(items) // (16 * self.workers)))

    def _read(self, path: Path) -> list[Problem]:
        root = path if path.is_dir() else path.parent
        labels = read_labels(path)
        formulas: dict[str, Formula] = {}
        unreadable = unlisted(path)
        for file in list_formulas(path):
            try:
                formulas[file.relative_to(root).as_posix()] = _in_memory(read_dimacs(file), file)
            except UserError as error:
                unreadable.append(str(error))
        if not formulas:
            raise UserError(*unreadable)
        self.unreadable += unreadable
        unsatisfiable = {name: 0 for name, formula in formulas.items() if not formula.lengths.all()}  # an empty clause
        known = unsatisfiable | {name: int(label) for name, label in labels.items()}
        if self.solve:
            unlabelled = [name for name in formulas if name not in known]
            answers = self.in_processes(is_satisfiable, [formulas[name] for name in unlabelled])
            known |= dict(zip(unlabelled, map(int, answers), strict=True))
        return [Problem(printable(name), formula, known.get(name, UNKNOWN)) for name, formula in formulas.items()]


def _in_memory(formula: Formula, file: Path) -> Formula:
    """The formula.

    Raises:
        UserError: a network of the paper's size has no room for its graph in this machine.
    """
    total = memory_of(torch.device("cpu")).total
    if (needed := formula.nodes * BYTES_A_NODE) > total:
        raise UserError(
            f"{file}: {formula.variables} variables and {len(formula.lengths)} clauses take about {shown(needed)}, and "
            f"this machine has {shown(total)}; choose a smaller formula"
        )
    return formula


def is_satisfiable(formula: Formula) -> bool:
    """Asks a complete solver, which may take long."""
    with Solver(LABELLING_SOLVER, bootstrap_with=formula.clauses()) as solver:
        return bool(solver.solve())


def _content(formula: Formula, satisfiable: int) -> tuple[int, bytes, bytes, int]:
    """What tells a problem from all others but its copies."""
    return formula.variables, formula.literals.tobytes(), formula.lengths.tobytes(), satisfiable
