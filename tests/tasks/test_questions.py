"""Facts about the base of the papers that answer questions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer
from torch import Tensor, nn

from paperzoo.batches import ImageQuestions, Names, ObjectQuestions, Told
from paperzoo.tasks.questions import QuestionModule, varied_questions

ANSWERS = 3


class Written(nn.Module):
    """Gives the logits that stand in the objects, a step for each object, times a weight plus a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1), 2.0))
        self.bias = nn.Parameter(torch.full((ANSWERS,), 0.5))

    def forward(self, batch: ObjectQuestions) -> Tensor:
        return batch.objects.transpose(0, 1) * self.weight + self.bias


NAMES = Names(
    answers=("yes", "no", "maybe"),
    kinds=("shape", "left", "count", "never"),
    kind_groups={"local": ("shape", "left"), "other": ("never",)},
)


def batch_of(given: list[int], right: list[int], kind: list[int]) -> ObjectQuestions:
    """Questions to which `given` is answered at the second and last step, and a wrong answer at the first."""
    last = F.one_hot(torch.tensor(given), ANSWERS)
    first = F.one_hot((torch.tensor(right) + 1) % ANSWERS, ANSWERS)
    count = len(given)
    return ObjectQuestions(
        torch.stack([first, last], dim=1).float(),
        torch.ones(count, 2, dtype=torch.bool),
        torch.zeros(count, 1, dtype=torch.long),
        torch.tensor(right),
        torch.tensor(kind),
    )


UNEQUAL = (
    batch_of([0, 1, 2, 0, 1], right=[0, 1, 2, 0, 0], kind=[0, 0, 0, 1, 1]),
    batch_of([2, 2], right=[2, 1], kind=[2, 1]),
)


def module(l2_weight: float | int = 0) -> QuestionModule:
    def sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1)

    made = QuestionModule(Written(), sgd, l2_weight=l2_weight, clip_norm=None, scheduler=None)
    made.log_step = lambda _: None  # type: ignore[method-assign]
    return made


def evaluated(*batches: ObjectQuestions, names: Names = NAMES) -> dict[str, float]:
    tested = QuestionModule(Written(), torch.optim.Adam, l2_weight=0, clip_norm=None, scheduler=None)
    tested.names = names
    quiet = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (metrics,) = quiet.test(tested, torch.utils.data.DataLoader(batches, batch_size=None), verbose=False)
    return dict(metrics)


def test_accuracies_are_over_all_questions_whatever_the_batches():
    metrics = evaluated(*UNEQUAL)
    assert metrics["test/accuracy"] == pytest.approx(5 / 7)
    assert metrics["test/accuracy_shape"] == 1
    assert metrics["test/accuracy_left"] == pytest.approx(1 / 3)
    assert metrics["test/accuracy_count"] == 1
    assert metrics["test/accuracy_local"] == pytest.approx(4 / 6)


def test_the_loss_of_an_evaluation_is_that_of_the_last_step_over_all_questions():
    logits = torch.cat([Written()(batch)[-1] for batch in UNEQUAL])
    expected = F.cross_entropy(logits, torch.cat([batch.answer for batch in UNEQUAL])).item()
    assert evaluated(*UNEQUAL)["test/loss"] == pytest.approx(expected)


def test_kinds_and_groups_without_a_question_are_not_reported():
    metrics = evaluated(*UNEQUAL)
    assert not {"test/accuracy_never", "test/accuracy_other"} & metrics.keys()


def test_kinds_count_as_solved_and_groups_do_not():
    assert evaluated(*UNEQUAL)["test/solved_kinds"] == 2


@pytest.mark.parametrize(("wrong", "solved"), [(1, 1), (2, 0)])
def test_a_kind_is_solved_from_95_percent_on(wrong, solved):
    """Of 20 questions one wrong answer is allowed."""
    batch = batch_of([1] * wrong + [0] * (20 - wrong), right=[0] * 20, kind=[0] * 20)
    assert evaluated(batch)["test/solved_kinds"] == solved


def test_one_kind_alone_is_not_reported():
    metrics = evaluated(batch_of([0, 1], right=[0, 0], kind=[0, 0]), names=Names(kinds=("shape",)))
    assert metrics.keys() == {"test/loss", "test/accuracy"}


def test_the_loss_in_training_is_the_mean_over_the_steps():
    trained, batch = module(), UNEQUAL[0]
    steps = [F.cross_entropy(logits, batch.answer) for logits in trained.network(batch)]
    torch.testing.assert_close(trained.training_step(batch, 0), torch.stack(steps).mean())


def test_half_the_squares_of_the_weights_are_added_and_no_biases():
    plain, decayed = (module(weight).training_step(UNEQUAL[0], 0) for weight in (0, 0.1))
    assert float((decayed - plain).detach()) == pytest.approx(0.1 / 2 * 2.0**2)


def test_predictions_are_the_answers_of_the_last_step():
    asked = module()
    asked.names = NAMES
    asked.tell = lambda batch: [Told(f"question {kind}") for kind in batch.kind.tolist()]
    columns = asked.predict_step(UNEQUAL[1], 0)
    assert columns["question"] == ["question 2", "question 1"]
    assert columns["answer"] == ["maybe", "maybe"]
    expected = torch.tensor([0.5, 0.5, 2.5]).softmax(0)[2].expand(2)
    torch.testing.assert_close(columns["confidence"], expected)


def test_figures_have_the_questions_and_after_an_evaluation_the_kinds():
    asked = module()
    asked.names = NAMES
    asked.report("val", {"accuracy": 0.5, "accuracy_shape": 0.25, "accuracy_local": 0.75})
    with torch.no_grad():
        drawn = asked.figures(UNEQUAL[0])
    assert drawn.keys() == {"questions", "kinds"}
    bars = drawn["kinds"].axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["local", "shape"]


def about(*things: int) -> ImageQuestions:
    """A batch of questions about these images."""
    image = torch.tensor(things, dtype=torch.uint8).view(-1, 1, 1, 1)
    nothing = torch.zeros(len(things), dtype=torch.int64)
    return ImageQuestions(image, nothing[:, None], nothing, nothing)


def test_the_questions_of_the_figure_are_about_different_images_and_of_different_places():
    assert varied_questions(about(*[7] * 20, *[9] * 20, *[4] * 20)).tolist() == [0, 1, 21, 22, 42, 43]
    assert varied_questions(about(*range(8))).tolist() == [0, 1, 2, 3, 4, 5]
    assert varied_questions(about(7, 7)).tolist() == [0, 1]
    assert varied_questions(about(*[7] * 20)).tolist() == [0, 1, 2, 3, 4, 5]


def test_answers_and_words_are_learned():
    assert set(module().learned_names) == {"answers", "words"}
