"""The base of the papers that answer questions from a closed list of answers."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from paperzoo.batches import ImageQuestions, ObjectQuestions, StoryQuestions
from paperzoo.module import Direction, Measures, OptimizerFactory, PaperModule, SchedulerFactory, scheduled
from paperzoo.tasks.question_figures import answer_figure, kind_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Questions = ImageQuestions | ObjectQuestions | StoryQuestions
Logits = Float[Tensor, "step batch answer"]

SOLVED = 0.95  # a task of bAbI counts as solved from this accuracy on
SHOWN_QUESTIONS = 6


class QuestionModule(PaperModule):
    """Softmax cross-entropy over the answers, the mean over all steps at which the network answers.

    A metric of one kind of questions, or of a group of kinds, ends in its name (`test/accuracy_count`); it is the
    accuracy over all of their questions. `solved_kinds` counts the kinds that are answered with 95 % accuracy.

    Args:
        network: from a batch to logits of every step; a network that answers once has one step.
        optimizer: makes the optimiser from the parameters.
        l2_weight: coefficient of half the sum of the squares of all weights (biases are left out).
        clip_norm: the global norm that gradients are cut to; None for no limit. `trainer.gradient_clip_val` wins.
        scheduler: makes the schedule of the learning rate from the optimiser, stepped after every optimiser step; None
            for a constant rate.
    """

    accepts: ClassVar[tuple[type, ...]] = (ImageQuestions, ObjectQuestions, StoryQuestions)
    objective: ClassVar[str] = "val/accuracy"
    objective_direction: ClassVar[Direction] = "max"
    measures: ClassVar[Measures] = {"accuracy": "max", "accuracy_*": "max", "solved_kinds": "max", "loss": "min"}

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerFactory,
        l2_weight: Annotated[float | int, Ge(0)],
        clip_norm: Annotated[float | int, Ge(0)] | None,
        scheduler: SchedulerFactory | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.l2_weight = l2_weight
        self.clip_norm = clip_norm
        self.scheduler = scheduler
        self.evaluated: dict[str, float] = {}

    @property
    def learned_names(self) -> tuple[str, ...]:
        return "answers", "words"

    def training_step(self, batch: Questions, batch_idx: int) -> Tensor:
        logits: Logits = self.network(batch)
        steps, _, answers = logits.shape
        loss = F.cross_entropy(logits.reshape(-1, answers), batch.answer.repeat(steps))
        self.log_step(
            lambda: {
                "train/loss": loss.detach(),
                "train/accuracy": (logits[-1].argmax(1) == batch.answer).float().mean(),
            }
        )
        if not self.l2_weight:
            return loss
        return loss + self.l2_weight / 2 * sum(
            p.square().sum() for p in self.parameters() if p.ndim > 1 and p.requires_grad
        )

    def configure_optimizers(self) -> Any:
        return scheduled(self.optimizer(self.parameters()), self.scheduler)

    def validation_step(self, batch: Questions, batch_idx: int) -> None:
        self.count(batch, self.network(batch))

    test_step = validation_step

    def count(self, batch: Questions, logits: Logits) -> None:
        """Adds a batch to the metrics."""
        right = logits[-1].argmax(1) == batch.answer
        self.tally.add("loss", F.cross_entropy(logits[-1], batch.answer, reduction="none"))
        self.tally.add("accuracy", right)
        for name, members in self._kinds(batch).items():
            self.tally.add(f"accuracy_{name}", right[members])

    def _kinds(self, batch: Questions) -> dict[str, Bool[Tensor, " batch"]]:
        """The questions of each kind, and of each group of kinds."""
        if len(self.names.kinds) < 2:
            return {}
        kinds = {name: batch.kind == index for index, name in enumerate(self.names.kinds)}
        groups = {
            group: torch.stack([kinds[name] for name in members]).any(0)
            for group, members in self.names.kind_groups.items()
        }
        return {**kinds, **groups}

    def report(self, stage: str, means: dict[str, float]) -> dict[str, float]:
        kinds = [means[f"accuracy_{name}"] for name in self.names.kinds if f"accuracy_{name}" in means]
        if kinds:
            # the means are float32, in which 19 of 20 is a little less than 0.95
            means = {**means, "solved_kinds": sum(accuracy > SOLVED - 1e-6 for accuracy in kinds)}
        self.evaluated = {f"{stage}/{name}": value for name, value in means.items()}
        return means

    def predict_step(self, batch: Questions, batch_idx: int) -> dict[str, Tensor | list[str]]:
        """The answer to each question, and its probability."""
        confidence, answer = self.network(batch)[-1].softmax(1).max(1)
        return {
            "question": [told.question for told in self.tell(batch)],
            "answer": [self.names.answers[index] for index in answer.tolist()],
            "confidence": confidence,
        }

    def figures(self, batch: Questions) -> "dict[str, Figure]":
        """Questions with the image, the objects or the story and the answers; accuracy of each kind, published too."""
        chosen = varied_questions(batch)
        shown = type(batch)(*(column[chosen] for column in batch))
        probabilities = self.network(shown)[-1].softmax(1)
        drawn = {"questions": answer_figure(shown, probabilities, self.tell(shown), self.names.answers)}
        accuracies = {
            name: self.evaluated[metric]
            for name in (*self.names.kind_groups, *self.names.kinds)
            for metric in (f"test/accuracy_{name}", f"val/accuracy_{name}")
            if metric in self.evaluated
        }
        if accuracies:
            published = {name: self.published.get(f"test/accuracy_{name}") for name in accuracies}
            drawn["kinds"] = kind_figure(accuracies, published)
        return drawn


def varied_questions(batch: Questions) -> Int64[Tensor, " shown"]:
    """The places of some questions of a batch: about different images (objects, stories), as far as there are any.

    Questions about the same thing follow one another; of each thing another one is taken, first, second, ...
    """
    about = batch[0].flatten(1)
    is_new = torch.ones(len(about), dtype=torch.bool)
    is_new[1:] = (about[1:] != about[:-1]).any(1).cpu()
    starts = is_new.nonzero().flatten().tolist()
    things = [range(start, end) for start, end in zip(starts, [*starts[1:], len(about)], strict=True)]
    turns = [
        [thing[(place + turn) % len(thing)] for place, thing in enumerate(things)] for turn in range(SHOWN_QUESTIONS)
    ]
    taken = list(dict.fromkeys(place for turn in turns for place in turn))[:SHOWN_QUESTIONS]
    return torch.tensor(sorted(taken), device=about.device)
