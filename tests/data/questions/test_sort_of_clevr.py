"""Sort-of-CLEVR: what is drawn is what is asked about."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from paperzoo.data.questions.sort_of_clevr import (
    ANSWERS,
    COLOURS,
    KINDS,
    QUESTIONS,
    Drawn,
    Scene,
    SortOfClevr,
    draw_scene,
)
from paperzoo.datamodule import stream_seed
from tests.data.conftest import Make

RELATIONAL = ("closest", "furthest", "count")


@pytest.fixture(scope="module")
def many() -> Drawn:
    return Drawn.draw("train", 2000)


def seen_object(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, str]:
    """Centre and shape of the object of a colour; what others may hide of it is a few pixels at its edge."""
    mask = (picture == np.array(colour)[:, None, None]).all(0)
    hidden = ~mask & ~(picture == 255).all(0)
    rows, columns = mask.nonzero()
    places = product(range(rows.max() - 6, rows.min() + 7), range(columns.max() - 6, columns.min() + 7))
    y, x = np.indices(mask.shape)
    for row, column in places:
        down, right = abs(y - row), abs(x - column)
        shapes = {"rectangle": np.maximum(down, right) <= 5, "circle": down**2 + right**2 <= 25}
        for name, shape in shapes.items():
            if (shape.sum() == (121 if name == "rectangle" else 81)) and not (shape ^ mask)[~(shape & hidden)].any():
                return np.array([row, column]), name
    raise AssertionError("no object of this colour")


def oracle(picture: np.ndarray, colour: int, kind: str) -> str:
    """The answer, from nothing but the pixels."""
    objects = [seen_object(picture, value) for value in COLOURS.values()]
    centre, shape = objects[colour]
    others = sorted(
        (int(((other - centre) ** 2).sum()), index) for index, (other, _) in enumerate(objects) if index != colour
    )
    furthest = min(index for distance, index in others if distance == others[-1][0])
    return {
        "shape": shape,
        "left": "yes" if centre[1] < 37.5 else "no",
        "top": "yes" if centre[0] < 37.5 else "no",
        "closest": objects[others[0][1]][1],
        "furthest": objects[furthest][1],
        "count": str(sum(name == shape for _, name in objects)),
    }[kind]


def test_answers_are_those_that_the_pixels_show() -> None:
    items = Drawn.draw("train", 40).items()
    batch = items[torch.arange(len(items))]
    colours = batch.question[:, : len(COLOURS)].argmax(1)
    for image, colour, kind, answer in zip(batch.image.numpy(), colours, batch.kind, batch.answer, strict=True):
        assert oracle(image, int(colour), list(KINDS)[kind]) == ANSWERS[answer]


def test_the_closest_object_is_never_the_object_itself_however_far_the_others_are() -> None:
    centre = np.array([[5, 5], [69, 69], [69, 58], [69, 47], [58, 69], [58, 58]])
    scene = Scene(centre, np.array([False, True, True, True, True, True]))
    assert ANSWERS[scene.answers()[0, list(KINDS).index("closest")]] == "circle"


def test_centres_are_at_least_ten_pixels_apart_and_all_objects_are_inside() -> None:
    for number in range(200):
        centre = draw_scene(np.random.default_rng(number)).centre
        distance = ((centre[:, None] - centre) ** 2).sum(-1)
        assert distance[~np.eye(6, dtype=bool)].min() >= 100
        assert 5 <= centre.min() <= centre.max() <= 69


def test_a_question_is_one_bit_of_each_field_and_says_what_its_text_says(make: Make) -> None:
    batch = Drawn.draw("train", 30).items()[torch.arange(600)]
    fields = batch.question.split([6, 2, 3], dim=1)
    assert all((field.sum(1) == 1).all() for field in fields)
    colour, type_, subtype = (field.argmax(1) for field in fields)
    assert torch.equal(batch.kind, 3 * type_ + subtype)
    templates = list(KINDS.values())
    expected = [templates[k].format(list(COLOURS)[c]) for k, c in zip(batch.kind, colour, strict=True)]
    assert [told.question for told in make(SortOfClevr).tell(batch)] == expected
    assert "How many objects have the shape of the red one?" in expected


def test_half_of_the_questions_about_each_image_are_relational() -> None:
    drawn = Drawn.draw("train", 30)
    relational = torch.isin(drawn.kind, torch.tensor([list(KINDS).index(kind) for kind in RELATIONAL]))
    assert (relational.sum(1) == QUESTIONS // 2).all()


def test_the_groups_hold_all_kinds_and_metric_names_can_be_made_of_them(make: Make) -> None:
    names = make(SortOfClevr).names
    assert sorted(kind for kinds in names.kind_groups.values() for kind in kinds) == sorted(names.kinds)
    assert names.kind_groups["relational"] == RELATIONAL
    assert all(name.isidentifier() for name in (*names.kinds, *names.kind_groups))


def test_majority_answers_are_as_frequent_as_they_must_be(many: Drawn) -> None:
    majority = {}
    for number, kind in enumerate(KINDS):
        answers = many.answer[many.kind == number].bincount(minlength=len(ANSWERS))
        majority[kind] = float(answers.max() / answers.sum())
    for kind in ("shape", "left", "top", "closest", "furthest"):
        assert majority[kind] == pytest.approx(0.505, abs=0.025)
    assert majority["count"] == pytest.approx(0.315, abs=0.02)


def test_who_reads_only_the_question_is_right_in_half_of_the_cases_or_less(many: Drawn) -> None:
    code = (many.colour * len(KINDS) + many.kind).flatten()
    answers = many.answer.flatten()
    half = len(code) // 2
    counts = torch.zeros(len(COLOURS) * len(KINDS), len(ANSWERS)).index_put_(
        (code[:half], answers[:half]), torch.ones(half), accumulate=True
    )
    right = (counts.argmax(1)[code[half:]] == answers[half:]).float()
    relational = many.kind.flatten()[half:] >= 3
    assert right[~relational].mean() == pytest.approx(0.5, abs=0.02)
    assert right[relational].mean() == pytest.approx(0.44, abs=0.02)


def test_who_does_not_know_the_colour_is_right_in_three_quarters_of_the_relational_questions(many: Drawn) -> None:
    """The bounds are what one gets who answers, for all six colours at once, what most objects have."""
    relational, others = many.blind_accuracy((3, 4, 5)), many.blind_accuracy((0, 1, 2))
    assert relational == pytest.approx(0.765, abs=0.005)
    assert others == pytest.approx(0.638, abs=0.005)
    scene = draw_scene(np.random.default_rng(stream_seed("sort_of_clevr", "train", 7)))
    for kind in range(len(KINDS)):
        counts = np.bincount(scene.answers()[:, kind])
        assert float(many.commonest[7, kind]) == pytest.approx(counts.max() / 6)


def test_bounds_stand_beside_the_metrics_of_the_parts_that_were_set_up(make: Make) -> None:
    data: Any = make(SortOfClevr, train_images=1, val_images=200)
    assert data.bounds().values == {}
    data.setup("test")
    bounds = data.bounds()
    assert bounds.values["test/accuracy_relational"] == pytest.approx(0.761, abs=0.001)
    assert bounds.values["test/accuracy_non_relational"] == pytest.approx(0.649, abs=0.001)
    names = {"", *(f"_{name}" for name in (*KINDS, "relational", "non_relational"))}
    assert set(bounds.values) == {f"{part}/accuracy{name}" for part in ("test", "val") for name in names}
    assert "which object" in bounds.predictor


def test_no_image_is_there_twice(many: Drawn) -> None:
    pictures = {image.tobytes() for image in many.image.numpy()}
    held = {image.tobytes() for image in Drawn.draw("val", 200).image.numpy()}
    assert len(pictures) == 2000
    assert len(held) == 200
    assert pictures.isdisjoint(held)


def test_the_set_is_the_same_whatever_the_seed_and_with_more_images_the_first_ones_stay(make: Make) -> None:
    data: list[Any] = [
        make(SortOfClevr, seed=seed, train_images=images, val_images=1) for seed, images in ((0, 5), (1, 9))
    ]
    for made in data:
        made.setup("fit")
    few, more = (made.parts["train"][torch.arange(100)] for made in data)
    assert all(map(torch.equal, few, more))


def test_the_test_images_are_those_of_validation_unless_others_are_wanted(make: Make) -> None:
    small = {"train_images": 1, "val_images": 10}
    shared: Any = make(SortOfClevr, **small)
    separate: Any = make(SortOfClevr, **small, test_images=4)
    for data in (shared, separate):
        data.setup()
    assert shared.parts["test"] is shared.parts["val"]
    assert len(separate.parts["test"]) == 4 * QUESTIONS
    first = torch.tensor([0])
    assert not torch.equal(separate.parts["test"][first].image, separate.parts["val"][first].image)


def test_only_the_parts_that_a_stage_needs_are_drawn(make: Make) -> None:
    data = make(SortOfClevr, val_images=2)
    data.setup("test")
    assert list(data.parts) == ["test"]


def test_items_on_a_device_are_the_items(make: Make) -> None:
    items = Drawn.draw("train", 3).items()
    index = torch.tensor([41, 2, 2])
    assert all(map(torch.equal, items[index], items.to(torch.device("cpu"))[index]))


def test_the_config_fits_and_other_sizes_are_refused(make: Make) -> None:
    assert make.problems(SortOfClevr) == []
    wrong = {"question_size": 18, "num_answers": 9, "num_kinds": 5, "image_shape": [3, 128, 128]}
    found = make.problems(SortOfClevr, facts=wrong)
    assert {problem.split("=")[0] for problem in found} == {f"data.facts.{name}" for name in wrong}
