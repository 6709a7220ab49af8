"""Training of NeuroSAT on one bit a formula, and the formulas that it solves (Selsam et al. 2019, sections 4 to 8)."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from jaxtyping import Bool
from torch import Tensor

from paperzoo.batches import SatProblems
from paperzoo.errors import UserError
from paperzoo.files import write_text
from paperzoo.logic.cnf import split, union
from paperzoo.logic.dimacs import solution_text
from paperzoo.module import Direction, Measures, OptimizerFactory, PaperModule, SchedulerFactory, scheduled
from paperzoo.papers.neurosat import figures
from paperzoo.papers.neurosat.decoding import (
    UNSOLVED,
    Attempt,
    attempts,
    in_second_cluster,
    two_means,
    verified_assignments,
    with_filler,
)
from paperzoo.papers.neurosat.network import NeuroSAT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Positive = Annotated[int, Ge(1)]

SOLUTIONS = "solutions"  # the folder of a prediction's solution files
EVERYTHING = ""  # the group of all problems
SHOWN_EMBEDDINGS = 8


class NeuroSATModule(PaperModule):
    """Sigmoid cross-entropy of "satisfiable", one bit a formula; nothing else supervises.

    Evaluation decodes assignments at every round and counts a formula as solved by the first one that a checker
    confirms. A metric of one group of problems ends in its name (`test/solved_n40`), one that was counted after one of
    `test_rounds` in that number (`test/solved_rounds512`).

    Args:
        dimension: features of every node.
        hidden_layers: hidden layers of the three perceptrons.
        rounds: rounds of messages in training and validation, and in the metrics that do not say another number.
        test_rounds: numbers of rounds after which the test counts the solved formulas, too; the largest one, if larger
            than `rounds`, is how long a prediction tries.
        l2_weight: coefficient of half the sum of the squares of all parameters.
        clip_norm: the global norm that gradients are cut to, unless `trainer.gradient_clip_val` says another.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes the schedule of the learning rate from the optimiser, stepped after every optimiser step; None
            for a constant rate.
        checkpointing: compute each round again in the backward pass to save memory.
        compile: compile a round with torch.compile.
    """

    accepts: ClassVar[tuple[type, ...]] = (SatProblems,)
    objective: ClassVar[str] = "val/accuracy"
    objective_direction: ClassVar[Direction] = "max"
    measures: ClassVar[Measures] = {"accuracy*": "max", "solved*": "max", "core_recovered": "max", "loss": "min"}

    def __init__(
        self,
        dimension: Positive,
        hidden_layers: Annotated[int, Ge(0)],
        rounds: Positive,
        test_rounds: Sequence[Positive],
        l2_weight: Annotated[float, Ge(0)],
        clip_norm: Annotated[float, Gt(0)],
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        checkpointing: bool,
        compile: bool,
    ) -> None:
        super().__init__()
        self.network = NeuroSAT(dimension, hidden_layers, checkpointing)
        if compile:
            self.network.compile_round()
        self.rounds = rounds
        self.named_rounds = frozenset(test_rounds)
        self.test_rounds = sorted({rounds, *test_rounds})
        self.l2_weight = l2_weight
        self.clip_norm = clip_norm
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.solved_rounds: dict[str, list[Tensor]] = defaultdict(list)
        self.solutions: list[Bool[np.ndarray, " variable"] | None] = []

    def training_step(self, problems: SatProblems, batch_idx: int) -> Tensor:
        logits = self.network(problems, self.rounds)
        loss = F.binary_cross_entropy_with_logits(logits, problems.satisfiable.to(logits.dtype))
        self.log_step(
            lambda: {
                "train/loss": loss.detach(),
                "train/accuracy": ((logits > 0) == (problems.satisfiable == 1)).float().mean(),
            }
        )
        return loss + self.l2_weight / 2 * sum(p.square().sum() for p in self.parameters())

    def configure_optimizers(self) -> Any:
        return scheduled(self.optimizer(self.parameters()), self.scheduler)

    def begin_evaluation(self) -> None:
        super().begin_evaluation()
        self.solved_rounds = defaultdict(list)

    def validation_step(self, problems: SatProblems, batch_idx: int) -> None:
        self._evaluate(problems, [self.rounds])

    def test_step(self, problems: SatProblems, batch_idx: int) -> None:
        self._evaluate(problems, self.test_rounds)

    def _evaluate(self, problems: SatProblems, marks: Sequence[int]) -> None:
        for number, attempt in enumerate(islice(attempts(self.network, problems), marks[-1]), start=1):
            if number in marks:
                self._count(problems, attempt, number)
        verified_assignments(problems, attempt)
        self._check_labels(problems, attempt)
        if not self.trainer.testing:
            return
        for group, members in self._groups(problems).items():
            if (counted := members & (problems.satisfiable == 1)).any():
                self.solved_rounds[group].append(attempt.solved_round[counted].cpu())

    def _check_labels(self, problems: SatProblems, attempt: Attempt) -> None:
        """Refuses labels that a checked assignment refutes."""
        wrong = (problems.satisfiable == 0) & (attempt.solved_round != UNSOLVED)
        if wrong.any():
            told = self.tell(problems)
            names = [told[place].question or "a problem" for place in wrong.nonzero().flatten().tolist()]
            raise UserError(
                f"{', '.join(names)}: labelled unsatisfiable, but an assignment that was checked satisfies it; "
                f"mend the label (labels.csv, or sat=0 in the file name)"
            )

    def _count(self, problems: SatProblems, attempt: Attempt, rounds: int) -> None:
        known, satisfiable = problems.satisfiable >= 0, problems.satisfiable == 1
        right = (attempt.logits > 0) == satisfiable
        for group, members in self._groups(problems).items():
            name = "" if group == EVERYTHING else f"_{group}"
            solved = attempt.solved_round[members & satisfiable] != UNSOLVED
            if rounds in self.named_rounds and self.trainer.testing:
                self.tally.add(f"solved{name}_rounds{rounds}", solved)
            if rounds == self.rounds:
                self.tally.add(f"solved{name}", solved)
                self.tally.add(f"accuracy{name}", right[members & known])
        if rounds == self.rounds:
            self.tally.add("accuracy_satisfiable", right[satisfiable])
            self.tally.add("accuracy_unsatisfiable", right[known & ~satisfiable])
            target = satisfiable[known].to(attempt.logits.dtype)
            loss = F.binary_cross_entropy_with_logits(attempt.logits[known], target, reduction="none")
            self.tally.add("loss", loss)
            self.tally.add("core_recovered", self._cores_recovered(problems, attempt))

    def _groups(self, problems: SatProblems) -> dict[str, Bool[Tensor, " problem"]]:
        """All problems, and those of each group that the test reports by itself."""
        names = self.names.kinds if self.trainer.testing else ()
        groups = {name: problems.group == index for index, name in enumerate(names)} if len(names) > 1 else {}
        return {EVERYTHING: torch.ones_like(problems.group, dtype=torch.bool), **groups}

    def _cores_recovered(self, problems: SatProblems, attempt: Attempt) -> Bool[Tensor, " cored"]:
        """For each unsatisfiable problem with a planted core: whether one cluster holds its literals and no others."""
        embeddings = attempt.state.literals.embedding
        second = in_second_cluster(embeddings, two_means(embeddings, problems), problems)
        wrong = torch.stack([second != problems.in_core, second == problems.in_core]).view(2, 2, -1).any(1).int()
        count = len(problems.satisfiable)
        owner = problems.variable_problem
        errors = torch.zeros(2, count, dtype=torch.int, device=owner.device).index_add(1, owner, wrong)
        in_core = problems.in_core.view(2, -1).any(0).int()
        has_core = torch.zeros(count, dtype=torch.int, device=owner.device).index_add(0, owner, in_core) > 0
        return (errors == 0).any(0)[has_core & (problems.satisfiable == 0)]

    def on_predict_start(self) -> None:
        self.solutions = []

    def predict_step(self, problems: SatProblems, batch_idx: int) -> dict[str, Tensor | list[str]]:
        """Answers that do not depend on what else is in the batch: to the last bit on a CPU."""
        filled, own = with_filler(problems), len(problems.satisfiable)
        logits = torch.zeros(own + 1, device=self.device)
        for number, attempt in enumerate(attempts(self.network, filled), start=1):
            solved_before = (attempt.solved_round != UNSOLVED) & (attempt.solved_round < number)
            logits = torch.where(solved_before, logits, attempt.logits)
            solved = attempt.solved_round[:own] != UNSOLVED
            if number == self.test_rounds[-1] or bool(solved.all()):
                break
        self.solutions += verified_assignments(filled, attempt)[:own]
        return {
            "answer": ["satisfiable" if found else "unknown" for found in solved.tolist()],
            "rounds": torch.where(solved, attempt.solved_round[:own], number),
            "confidence": logits[:own].double().sigmoid().float(),
        }

    def answer(self, columns: Mapping[str, Any]) -> str:
        return f"{super().answer(columns)}\n{solution_text(self.solutions[0])}".rstrip()

    def write_predictions(self, names: Sequence[str], batch: SatProblems, folder: Path) -> list[Path]:
        written = []
        for name, assignment in zip(names, self.solutions, strict=False):
            path = folder / SOLUTIONS / f"{name}.solution"
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(write_text(path, solution_text(assignment)))
        return written if len(written) == 1 else [folder / SOLUTIONS]

    def figures(self, batch: SatProblems) -> "dict[str, Figure]":
        problem = self._shown_problem(batch)
        history = list(islice(attempts(self.network, problem), self.rounds))
        last = history[-1]
        votes = torch.stack([attempt.votes for attempt in history]) + self.network.vote_bias
        satisfiable, solved_round = int(problem.satisfiable), int(last.solved_round) or None
        shown = sorted({round(place) for place in np.linspace(1, self.rounds, SHOWN_EMBEDDINGS)})
        states = torch.stack([history[number - 1].state.literals.embedding for number in shown])
        drawn = {
            "votes": figures.vote_figure(votes, solved_round, satisfiable),
            "embeddings": figures.embedding_figure(states, shown, last.assignment if solved_round else None),
        }
        if self.solved_rounds:
            drawn["solved"] = self._solved_figure()
        if problem.in_core.any():
            drawn["core"] = figures.core_figure(votes, states[-1], problem.in_core, satisfiable)
        return drawn

    def _shown_problem(self, batch: SatProblems) -> SatProblems:
        """One problem of the batch: an unsatisfiable one with a planted core, else a large one that is solved late.

        Best one that the network also calls satisfiable, so that the votes show it find out.
        """
        *_, attempt = islice(attempts(self.network, batch), self.rounds)
        variables = torch.bincount(batch.variable_problem, minlength=len(batch.satisfiable))
        found = (attempt.solved_round != UNSOLVED) & (attempt.logits > 0)
        late = attempt.solved_round + self.rounds * variables
        rank = (batch.satisfiable == 1).long() + attempt.solved_round + late * found
        if batch.in_core.any():
            has_core = torch.zeros_like(rank).index_add(0, batch.variable_problem.repeat(2), batch.in_core.long()) > 0
            rank = (has_core & (batch.satisfiable == 0)).long()
        chosen = int(rank.argmax())
        literals = batch.in_core[(batch.variable_problem == chosen).repeat(2)].view(2, -1).nonzero().tolist()
        core = [variable + 1 if sign == 0 else -variable - 1 for sign, variable in literals]
        problem = union([split(batch)[chosen]], [int(batch.satisfiable[chosen])], cores=[core])
        return SatProblems(*(column.to(self.device) for column in problem))

    def _solved_figure(self) -> "Figure":
        solved = {group or "all": torch.cat(rounds) for group, rounds in self.solved_rounds.items()}
        if len(solved) > 1:
            del solved["all"]
        rounds = sorted({2**power for power in range(self.test_rounds[-1].bit_length())} | {*self.test_rounds})
        curves = {
            group: [100 * float(((at != UNSOLVED) & (at <= number)).float().mean()) for number in rounds]
            for group, at in solved.items()
        }
        published = {group: [100 * self._published_share(group, number) for number in rounds] for group in curves}
        known = {group: values for group, values in published.items() if not all(map(math.isnan, values))}
        return figures.solved_figure(curves, rounds, known)

    def _published_share(self, group: str, rounds: int) -> float:
        """What the paper says is solved within `rounds`; NaN where it says nothing."""
        name = "test/solved" if group == "all" else f"test/solved_{group}"
        at_usual = self.published.get(name, math.nan) if rounds == self.rounds else math.nan
        return float(self.published.get(f"{name}_rounds{rounds}", at_usual))
