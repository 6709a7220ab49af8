"""Your own formulas, labelled or not: to train NeuroSAT on, to test it on, to be answered."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Lt
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.data.base.items import ItemSet, Stream
from paperzoo.data.base.module import PREDICT, TRAIN
from paperzoo.data.base.order import hold_out
from paperzoo.data.logic.sat import UNKNOWN, Evaluated, Packs, Problem, SatData, batch_of, formula_nodes, packed
from paperzoo.errors import UserError

Fraction = Annotated[float, Gt(0), Lt(1)]

# What the names of twins differ in: they are never parted into training and validation.
_TWIN = re.compile(r"sat=[01]|(?<![A-Za-z])(un)?sat(?![A-Za-z])")

log = logging.getLogger(__name__)


class SatFiles(SatData):
    """DIMACS files with labels; `labels.csv` and `sat=0`, `sat=1` in a name say them, or a complete solver.

    Files whose names are those of twins (`0001_sat.cnf` and `0001_unsat.cnf`, `sat=1` and `sat=0`) stay together.

    Args:
        path: a DIMACS file, or a folder of them.
        trained_path: the `path` that the model was trained on, if it was trained on files like these. Of that one a
            test takes what was held out, of others everything.
        test_path: test on this file or folder instead.
        validation_fraction: part of the labelled formulas that is held out from training, the same ones in every run;
            without `test_path` for the test, too.
        fold: which ones; those of two folds are different ones.
        solve: let a complete solver label the files that have no label; may take long.
        batch_nodes: nodes a training batch at most, on each device: two for each variable, one for each clause.
        eval_nodes: nodes a batch at most in validation, test and prediction, on each device.
        workers: processes that label files and make batches; 0 does so in the training process.
        seed: names the random streams.
    """

    reads_own_items = True

    def __init__(
        self,
        path: str | None,
        trained_path: str | None,
        test_path: str | None,
        validation_fraction: Fraction,
        fold: NonNegativeInt,
        solve: bool,
        batch_nodes: PositiveInt,
        eval_nodes: PositiveInt,
        workers: NonNegativeInt,
        seed: int,
    ) -> None:
        super().__init__(("files",), batch_nodes, 1, path, solve, eval_nodes, workers, seed)
        self.holds_out = path == trained_path
        self.test_path = None if test_path is None else Path(test_path).expanduser()
        self.validation_fraction = validation_fraction
        self.fold = fold

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if arguments["path"] is None:
            yield "path: name a DIMACS file or a folder of them"
        yield from super().check(**arguments)
        if arguments["test_path"] is not None:
            for problem in super().check(**{**arguments, "path": arguments["test_path"]}):
                yield f"test_{problem}"

    def problems(self, part: str) -> list[Problem]:
        if part not in self._problems:
            self._problems[part] = self._chosen(part)
        return self._problems[part]

    def _chosen(self, part: str) -> list[Problem]:
        if part == PREDICT:
            assert self.path is not None
            return self._read(self.path)
        if part == "test" and self.test_path is not None:
            return self._read(self.test_path)
        if part == "test" and not self.holds_out:
            return self.problems(PREDICT)
        return self._parted()[1]

    def _parted(self) -> tuple[list[Problem], list[Problem]]:
        """The labelled formulas to train on and those that are held out, twins together.

        Raises:
            UserError: there are too few.
        """
        labelled = [problem for problem in self.problems(PREDICT) if problem.satisfiable != UNKNOWN]
        groups: dict[str, list[Problem]] = {}
        for problem in labelled:
            groups.setdefault(_TWIN.sub("", problem.name), []).append(problem)
        if len(groups) < 2:
            raise UserError(
                f"data.path={self.path}: {len(labelled)} of {len(self.problems(PREDICT))} formulas have a label, too "
                f"few to hold some out and train on others; write labels.csv (file,satisfiable), or data.solve=true"
            )
        held = min(len(groups) - 1, max(1, round(self.validation_fraction * len(groups))))
        parts = list(groups.values())
        chosen = hold_out(len(parts), held, self.fold)
        kept, out = ([problem for index in rows for problem in parts[index]] for rows in chosen)
        return kept, out

    def generate(self, part: Evaluated) -> list[Problem]:
        return self.problems(part)

    def training(self) -> Packs[Problem]:
        """Formulas of about one size make a batch, the same ones in every epoch."""
        problems, _ = self._parted()
        unlabelled = sum(problem.satisfiable == UNKNOWN for problem in self.problems(PREDICT))
        if unlabelled:
            log.warning("%s: %d formulas have no label and are left out of the training", self.path, unlabelled)
        for problem in self.unreadable:
            log.warning("left out: %s", problem)
        by_size = sorted(problems, key=formula_nodes)
        return Packs(list(packed(by_size, formula_nodes, self.batch_nodes)), batch_of)

    def setup(self, stage: str | None = None) -> None:
        if stage != "predict":
            return super().setup(stage)
        if PREDICT not in self.parts:
            self.parts = {**self.parts, PREDICT: self.make(PREDICT)}
        return None

    def make(self, part: str) -> ItemSet | Stream:
        if part == TRAIN:
            return self.training()
        return self.evaluation_packs(self.problems(part))

    def item_names(self) -> list[str]:
        return [problem.name for problem in self.problems(PREDICT)]
