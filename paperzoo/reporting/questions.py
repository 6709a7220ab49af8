"""Figures of question answering: questions with their answers, and the accuracy of each kind of question."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from paperzoo.batches import ImageQuestions, ObjectQuestions, StoryQuestions


def answer_figure(
    batch: ImageQuestions | ObjectQuestions | StoryQuestions,
    probabilities: Float[Tensor, "batch answer"],
    questions: Sequence[str],
    answer_names: Sequence[str],
    contexts: Sequence[str],
) -> Figure:
    """A panel for each question: the image or what it is about, the question, the answer given and the right one."""
    raise NotImplementedError


def kind_figure(accuracies: Mapping[str, float], published: Mapping[str, float | None]) -> Figure:
    """A pair of bars for each kind of question: the accuracy of the run and the published one."""
    raise NotImplementedError
