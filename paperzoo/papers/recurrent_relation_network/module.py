"""Training of recurrent relational networks (Palm et al. 2018, section 3), and what they know after each step."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from jaxtyping import Bool, Float, Int64
from pydantic import PositiveInt
from torch import Tensor, nn

from paperzoo.batches import Sudokus
from paperzoo.logic.sudoku import drawn_puzzle, format_puzzle, is_solved, neighbours
from paperzoo.module import Direction, Measures, OptimizerFactory, PaperModule, SchedulerFactory, scheduled
from paperzoo.papers.recurrent_relation_network import figures
from paperzoo.papers.recurrent_relation_network.network import SudokuNetwork
from paperzoo.tasks.questions import Logits, QuestionModule, Questions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_SOLVED = "not solved"
SHOWN_BOARDS = 8


class RecurrentQuestionModule(QuestionModule):
    """A question module that also counts what is right after each step, for a figure of all kinds of questions."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerFactory,
        l2_weight: Annotated[float | int, Ge(0)],
        clip_norm: Annotated[float | int, Ge(0)] | None,
        scheduler: SchedulerFactory | None,
    ) -> None:
        super().__init__(network, optimizer, l2_weight, clip_norm, scheduler)
        self.right: list[Bool[Tensor, "step question"]] = []
        self.kinds: list[Int64[Tensor, " question"]] = []

    def begin_evaluation(self) -> None:
        super().begin_evaluation()
        self.right, self.kinds = [], []

    def count(self, batch: Questions, logits: Logits) -> None:
        super().count(batch, logits)
        self.right.append((logits.argmax(2) == batch.answer).cpu())
        self.kinds.append(batch.kind.cpu())

    def figures(self, batch: Questions) -> "dict[str, Figure]":
        """Adds the accuracy of each kind of questions after each step."""
        drawn = super().figures(batch)
        if self.right:
            kinds = self.names.kinds or ("all",)
            drawn["steps"] = figures.step_figure(self.accuracy_by_step(len(kinds)), kinds)
        return drawn

    def accuracy_by_step(self, kinds: PositiveInt) -> Float[Tensor, "kind step"]:
        """What the last evaluation got right; NaN for kinds that it did not ask."""
        right, kind = torch.cat(self.right, dim=1).float(), torch.cat(self.kinds)
        return torch.stack([right[:, kind == index].mean(1) for index in range(kinds)])


class SudokuModule(PaperModule):
    """Softmax cross-entropy of the digit of every cell, the mean over all steps and cells, givens included.

    A puzzle counts as solved if the digits of the last step are a solution of it, which is checked by the rules. The
    metrics of the test's puzzles with so many givens end in that number (`test/solved_givens17`).

    Args:
        size: digits of a puzzle, which has as many rows, columns and boxes.
        embedding: features of the embeddings of digit, row and column.
        dimension: features of a cell.
        hidden_layers: of each of the three perceptrons.
        steps: steps of messages in training and validation.
        test_steps: steps of messages in the test, and at most in a prediction.
        optimizer: makes the optimiser from the parameters.
        l2_weight: coefficient of half the sum of the squares of the weights of all linear layers.
        clip_norm: the global norm that gradients are cut to; None for no limit. `trainer.gradient_clip_val` wins.
        scheduler: makes the schedule of the learning rate from the optimiser, stepped after every optimiser step; None
            for a constant rate.
        checkpointing: compute each step again in the backward pass to save memory.
    """

    accepts: ClassVar[tuple[type, ...]] = (Sudokus,)
    objective: ClassVar[str] = "val/accuracy"
    objective_direction: ClassVar[Direction] = "max"
    measures: ClassVar[Measures] = {"accuracy": "max", "solved": "max", "solved_givens*": "max", "loss": "min"}

    def __init__(
        self,
        size: PositiveInt,
        embedding: PositiveInt,
        dimension: PositiveInt,
        hidden_layers: PositiveInt,
        steps: PositiveInt,
        test_steps: PositiveInt,
        optimizer: OptimizerFactory,
        l2_weight: Annotated[float | int, Ge(0)],
        clip_norm: Annotated[float | int, Gt(0)] | None,
        scheduler: SchedulerFactory | None,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.network = SudokuNetwork(size, neighbours(size), embedding, dimension, hidden_layers, checkpointing)
        self.steps = steps
        self.test_steps = test_steps
        self.optimizer = optimizer
        self.l2_weight = l2_weight
        self.clip_norm = clip_norm
        self.scheduler = scheduler
        self.solved: dict[int, list[Bool[Tensor, "step puzzle"]]] = defaultdict(list)
        """Of the puzzles of the test by givens: whether each step solved them."""

    def training_step(self, puzzles: Sudokus, batch_idx: int) -> Tensor:
        logits = self.network(puzzles.givens, self.steps)
        loss = F.cross_entropy(logits.flatten(0, 2), puzzles.solution.repeat(self.steps, 1).flatten())
        self.log_step(
            lambda: {
                "train/loss": loss.detach(),
                "train/accuracy": (logits[-1].argmax(2) == puzzles.solution).float().mean(),
            }
        )
        weights = [layer.weight for layer in self.network.modules() if isinstance(layer, nn.Linear)]
        return loss + self.l2_weight / 2 * sum(weight.square().sum() for weight in weights)

    def configure_optimizers(self) -> Any:
        return scheduled(self.optimizer(self.parameters()), self.scheduler)

    def begin_evaluation(self) -> None:
        super().begin_evaluation()
        self.solved = defaultdict(list)

    def validation_step(self, puzzles: Sudokus, batch_idx: int) -> None:
        self._count(puzzles, self.network(puzzles.givens, self.steps)[-1])

    def test_step(self, puzzles: Sudokus, batch_idx: int) -> None:
        logits = self.network(puzzles.givens, self.test_steps)
        self._count(puzzles, logits[-1])
        solved = torch.stack([is_solved(digits(step), puzzles.givens) for step in logits]).cpu()
        counts = (puzzles.givens != 0).sum(1).cpu()
        for givens in range(puzzles.givens.shape[1] + 1):  # metrics are in this order, whichever puzzles come first
            self.tally.add(f"solved_givens{givens}", solved[-1, counts == givens])
            self.solved[givens].append(solved[:, counts == givens])

    def _count(self, puzzles: Sudokus, logits: Tensor) -> None:
        known = (puzzles.solution != 0).all(1)
        target = puzzles.solution[known]
        self.tally.add("loss", F.cross_entropy(logits[known].mT, target, reduction="none"))
        self.tally.add("accuracy", digits(logits[known]) == target)
        self.tally.add("solved", is_solved(digits(logits), puzzles.givens))

    def predict_step(self, puzzles: Sudokus, batch_idx: int) -> dict[str, Tensor | list[str]]:
        """The first board that keeps all rules, and the step at which it was found; the last step if none does."""
        answer = torch.zeros_like(puzzles.givens)
        found_at = torch.zeros_like(puzzles.givens[:, 0])
        for number, logits in zip(range(1, self.test_steps + 1), self.network.logits(puzzles.givens), strict=False):
            board = digits(logits)
            newly = is_solved(board, puzzles.givens) & (found_at == 0)
            answer = torch.where(newly[:, None], board, answer)
            found_at = torch.where(newly, number, found_at)
            if found_at.all():
                break
        pairs = zip(answer, found_at.tolist(), strict=True)
        return {
            "answer": [format_puzzle(board) if found else NOT_SOLVED for board, found in pairs],
            "steps": torch.where(found_at > 0, found_at, number),
        }

    def answer(self, columns: Mapping[str, Any]) -> str:
        board = columns["answer"]
        if board == NOT_SOLVED:
            return super().answer(columns)
        return f"{drawn_puzzle(board)}\n{super().answer(columns)}"

    def figures(self, batch: Sudokus) -> "dict[str, Figure]":
        """A hard puzzle of the batch filling in; after a test, the puzzles solved by step and givens."""
        logits = self.network(batch.givens, self.test_steps)
        boards = digits(logits)
        number, last = self._shown_puzzle(boards, batch)
        steps = sorted({round(step) for step in np.geomspace(1, last, SHOWN_BOARDS)})
        shown = boards[[step - 1 for step in steps], number]
        drawn = {"board": figures.board_figure(shown, steps, batch.givens[number], batch.solution[number])}
        curves = {givens: torch.cat(solved, dim=1).float() for givens, solved in self.solved.items()}
        curves = {givens: solved.mean(1) for givens, solved in curves.items() if solved.numel()}
        if curves:
            drawn["solved"] = figures.solved_figure(curves)
        return drawn

    def _shown_puzzle(self, boards: Int64[Tensor, "step puzzle cell"], batch: Sudokus) -> tuple[int, int]:
        """The puzzle that is solved last, or the one with the fewest givens if none is, and the last step to show."""
        solved = torch.stack([is_solved(board, batch.givens) for board in boards])
        first = torch.where(solved.any(0), solved.int().argmax(0) + 1, 0)
        if not first.any():
            return int((batch.givens != 0).sum(1).argmin()), len(boards)
        return int(first.argmax()), int(first.max())


def digits(logits: Tensor) -> Int64[Tensor, "*batch cell"]:
    """The likeliest digit of each cell; never 0, which stands for an empty one."""
    return logits[..., 1:].argmax(-1) + 1
