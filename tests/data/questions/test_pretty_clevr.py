"""Pretty-CLEVR: walks and questions against a walk in plain Python."""

from math import dist

import torch

from paperzoo.batches import ObjectQuestions
from paperzoo.data.questions.augmentation import TurnAndScale
from paperzoo.data.questions.pretty_clevr import COLOURS, MARKERS, PrettyClevr, SceneQuestions
from tests.data.conftest import Make


def questions(part: str = "train", scenes: int = 6) -> ObjectQuestions:
    items = SceneQuestions.draw(0, part, scenes)
    return items[torch.arange(len(items))]


def walked(batch: ObjectQuestions, item: int) -> int:
    """The answer, by walking."""
    objects = [(tuple(row[:2]), row[2:10].index(1), 8 + row[10:].index(1)) for row in batch.objects[item].tolist()]
    anchor, jumps = batch.question[item].tolist()
    here = next(thing for thing in objects if anchor in thing[1:])
    left = [thing for thing in objects if thing is not here]
    for _ in range(jumps):
        here = min(left, key=lambda thing: dist(thing[0], here[0]))
        left.remove(here)
    return here[2] if anchor < 8 else here[1]


def test_answers_are_those_of_a_walk() -> None:
    batch = questions()
    assert batch.answer.tolist() == [walked(batch, item) for item in range(len(batch.answer))]


def test_a_scene_has_128_different_questions_about_objects_that_are_apart() -> None:
    batch = questions()
    assert len(batch.question.view(6, 128, 2)[0].unique(dim=0)) == 128
    places = batch.objects[::128, :, :2]
    apart = torch.cdist(places, places) + torch.eye(8)
    assert apart.min() > 0.0999
    assert batch.objects[..., 2:10].sum(1).eq(1).all()


def test_turning_and_scaling_keeps_the_answers() -> None:
    batch = questions()
    moved = TurnAndScale(scale=2)(batch)
    assert not torch.equal(moved.objects, batch.objects)
    assert batch.answer.tolist() == [walked(moved, item) for item in range(len(batch.answer))]


def test_scales_are_from_one_half_to_two() -> None:
    torch.manual_seed(0)
    batch = questions()
    apart, moved = (
        torch.cdist(places, places)[:, 0, 1]
        for places in (batch.objects[..., :2], TurnAndScale(scale=2)(batch).objects[..., :2])
    )
    scale = moved / apart
    assert 0.499 < scale.min() < 0.52
    assert 1.9 < scale.max() < 2.001


def test_parts_differ_and_what_is_told_names_what_is_there(make: Make) -> None:
    assert not torch.equal(questions().objects[:256], questions("test").objects[:256])
    data = make(PrettyClevr, train_scenes=1, val_scenes=1)
    data.setup("fit")
    (told,) = data.tell(data.initial_batch(1))
    assert all(name in told.context for name in COLOURS + MARKERS)
    assert told.question.split(":")[0] in data.names.answers


def test_the_config_fits_and_other_sizes_are_refused(make: Make) -> None:
    assert make.problems(PrettyClevr) == []
    (problem,) = make.problems(PrettyClevr, facts={"num_answers": 8})
    assert problem.startswith("data.facts.num_answers=8: it is 16")


def test_training_scenes_are_turned_and_scaled(make: Make) -> None:
    small = {"train_scenes": 1, "val_scenes": 1}
    plain, moved = make(PrettyClevr, **small, augment=[]), make(PrettyClevr, **small)
    assert not torch.equal(plain.initial_batch(9).objects, moved.initial_batch(9).objects)
    assert torch.equal(plain.initial_batch(9).answer, moved.initial_batch(9).answer)
