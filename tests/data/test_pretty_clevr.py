"""Pretty-CLEVR: walks and questions against a walk in plain Python."""

from math import dist

import torch

from paperzoo.batches import ObjectQuestions
from paperzoo.data.pretty_clevr import COLOURS, MARKERS, PrettyClevr


def questions(part: str = "train") -> tuple[PrettyClevr, ObjectQuestions]:
    data = PrettyClevr(0, 8, 18, 2, 16, 8, 6, 2, 2, 16, 16, 0)
    data.setup()
    return data, data.parts[part][torch.arange(len(data.parts[part]))]


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
    _, batch = questions()
    assert batch.answer.tolist() == [walked(batch, item) for item in range(len(batch.answer))]


def test_a_scene_has_128_different_questions_about_objects_that_are_apart() -> None:
    _, batch = questions()
    assert len(batch.question.view(6, 128, 2)[0].unique(dim=0)) == 128
    places = batch.objects[::128, :, :2]
    apart = torch.cdist(places, places) + torch.eye(8)
    assert apart.min() > 0.0999
    assert batch.objects[..., 2:10].sum(1).eq(1).all()


def test_turning_and_scaling_keeps_the_answers() -> None:
    data, batch = questions()
    moved = data.augment(batch)
    assert not torch.equal(moved.objects, batch.objects)
    assert batch.answer.tolist() == [walked(moved, item) for item in range(len(batch.answer))]


def test_parts_differ_and_texts_name_what_is_there() -> None:
    data, batch = questions()
    _, test = questions("test")
    assert not torch.equal(batch.objects[:256], test.objects)
    shown = ObjectQuestions(*(column[:1] for column in batch))
    text = data.context_texts(shown)[0]
    assert all(name in text for name in COLOURS + MARKERS)
    assert not list(PrettyClevr.check(num_objects=8, object_size=18, question_size=2, num_answers=16, num_kinds=8))
    assert list(PrettyClevr.check(num_objects=8, object_size=18, question_size=2, num_answers=8, num_kinds=8))
