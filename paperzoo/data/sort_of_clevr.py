"""Sort-of-CLEVR: questions about coloured squares and discs (Santoro et al. 2017, section 3.2 and supplement A).

The paper's images were not published. Sizes and places are those of the generator that re-implementations share; unlike
theirs, the object closest to another one is never that object itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import ImageQuestions
from paperzoo.data.base import stream_seed
from paperzoo.data.indexed import QuestionData

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "gray": (128, 128, 128),
    "yellow": (255, 255, 0),
}
ANSWERS = ("yes", "no", "rectangle", "circle", "1", "2", "3", "4", "5", "6")
YES, NO, RECTANGLE, CIRCLE, ONE = range(5)
KINDS = {
    "shape": "What is the shape of the {} object?",
    "left": "Is the {} object on the left?",
    "top": "Is the {} object at the top?",
    "closest": "What is the shape of the object closest to the {} one?",
    "furthest": "What is the shape of the object furthest from the {} one?",
    "count": "How many objects have the shape of the {} one?",
}

SIDE = 75
REACH = 5  # pixels that an object extends from its centre: 11 x 11
QUESTIONS = 20  # about each image, the first half of them non-relational
SUBTYPES = 3  # of the relational questions, and of the others
BITS = len(COLOURS) + 2 + SUBTYPES

_OFFSETS = np.arange(-REACH, REACH + 1)
_DISC = _OFFSETS[:, None] ** 2 + _OFFSETS**2 <= REACH**2

Index = Int64[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Scene:
    """One object of each colour, in the order of `COLOURS`.

    Attributes:
        centre: (row, column) of the objects' middle pixels.
        is_disc: whether they are discs; the others are squares.
    """

    centre: Int64[np.ndarray, "object 2"]
    is_disc: Bool[np.ndarray, " object"]

    def picture(self) -> UInt8[np.ndarray, "3 75 75"]:
        """The objects on white; where they overlap, at their edges, the later colour is in front."""
        image = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
        for (row, column), is_disc, colour in zip(self.centre, self.is_disc, COLOURS.values(), strict=True):
            place = image[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1]
            place[_DISC if is_disc else ...] = colour
        return image.transpose(2, 0, 1)

    def answers(self) -> Int64[np.ndarray, "object kind"]:
        """The answer to each question about each object; of two that are equally close or far, the first counts."""
        distance = ((self.centre[:, None] - self.centre) ** 2).sum(-1).astype(float)
        furthest = distance.argmax(1)
        np.fill_diagonal(distance, np.inf)
        shape = np.where(self.is_disc, CIRCLE, RECTANGLE)
        top, left = np.where(self.centre < SIDE / 2, YES, NO).T
        alike = (self.is_disc[:, None] == self.is_disc).sum(1)
        return np.stack([shape, left, top, shape[distance.argmin(1)], shape[furthest], ONE - 1 + alike], axis=1)


def draw_scene(generator: np.random.Generator) -> Scene:
    """Objects at random places, no two centres less than 10 pixels apart; each is a square or a disc, evenly."""
    centres: list[np.ndarray] = []
    while len(centres) < len(COLOURS):
        centre = generator.integers(REACH, SIDE - REACH, 2)
        if all(((centre - other) ** 2).sum() >= (2 * REACH) ** 2 for other in centres):
            centres.append(centre)
    return Scene(np.array(centres), generator.random(len(COLOURS)) < 0.5)


@dataclass(frozen=True, eq=False)
class SortOfClevrItems:
    """Questions about generated images: `items[index]`. Image i and its questions are a function of (name, i) alone.

    Attributes:
        image: the pictures.
        colour: which object each question is about.
        kind: of each question.
        answer: of each question.
    """

    image: UInt8[Tensor, "image 3 75 75"]
    colour: Int64[Tensor, "image 20"]
    kind: Int64[Tensor, "image 20"]
    answer: Int64[Tensor, "image 20"]

    @classmethod
    def generate(cls, name: str, images: int) -> "SortOfClevrItems":
        """Draws the images of a set and its questions, with replacement, as the shared generator does."""
        image = np.empty((images, 3, SIDE, SIDE), dtype=np.uint8)
        colour, kind, answer = np.empty((3, images, QUESTIONS), dtype=np.int64)
        relational = np.repeat([0, 1], QUESTIONS // 2)
        for number in range(images):
            generator = np.random.default_rng(stream_seed("sort_of_clevr", name, number))
            scene = draw_scene(generator)
            image[number] = scene.picture()
            colour[number] = generator.integers(len(COLOURS), size=QUESTIONS)
            kind[number] = SUBTYPES * relational + generator.integers(SUBTYPES, size=QUESTIONS)
            answer[number] = scene.answers()[colour[number], kind[number]]
        return cls(*map(torch.from_numpy, (image, colour, kind, answer)))

    def __len__(self) -> int:
        return self.answer.numel()

    def __getitem__(self, index: Index) -> ImageQuestions:
        kind, colour = self.kind.take(index), self.colour.take(index)
        question = torch.zeros(len(index), BITS, dtype=torch.int64)
        bits = (colour, len(COLOURS) + kind // SUBTYPES, len(COLOURS) + 2 + kind % SUBTYPES)
        question.scatter_(1, torch.stack(bits, 1), 1)
        return ImageQuestions(self.image[index // QUESTIONS], question, self.answer.take(index), kind)


class SortOfClevr(QuestionData):
    """Images of six objects, one of each colour, and 20 questions about each, of 11 bits: colour 6, type 2, subtype 3.

    The set is the same whatever the seed of a run, which orders it only; with more images, the first ones stay.

    Args:
        seed: names the random streams of the order.
        train_images: images to train on.
        val_images: other images, for validation.
        test_images: still others, for testing; None: test on the validation images, as in the paper.
        image_shape: (3, 75, 75).
        question_size: 11.
        num_answers: 10.
        num_kinds: 6.
        batch_size: training questions in a batch, on each device.
        eval_batch_size: questions a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = ImageQuestions
    kind_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "relational": ("closest", "furthest", "count"),
        "non_relational": ("shape", "left", "top"),
    }

    def __init__(
        self,
        seed: int,
        train_images: PositiveInt,
        val_images: PositiveInt,
        test_images: PositiveInt | None,
        image_shape: tuple[PositiveInt, PositiveInt, PositiveInt],
        question_size: PositiveInt,
        num_answers: PositiveInt,
        num_kinds: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.images = {"train": train_images, "val": val_images, "test": test_images}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        sizes = {"question_size": BITS, "num_answers": len(ANSWERS), "num_kinds": len(KINDS)}
        for key, size in sizes.items():
            if arguments[key] != size:
                yield f"data.{key}={arguments[key]}: it is {size} in Sort-of-CLEVR; set that"
        if tuple(arguments["image_shape"]) != (3, SIDE, SIDE):
            yield f"data.image_shape={list(arguments['image_shape'])}: the images are [3, {SIDE}, {SIDE}]; set that"

    @property
    def answer_names(self) -> list[str]:
        return list(ANSWERS)

    @property
    def kind_names(self) -> list[str]:
        return list(KINDS)

    def question_texts(self, batch: ImageQuestions) -> list[str]:
        colours, templates = list(COLOURS), list(KINDS.values())
        asked = zip(batch.kind.tolist(), batch.question[:, : len(COLOURS)].argmax(1).tolist(), strict=True)
        return [templates[kind].format(colours[colour]) for kind, colour in asked]

    def load(self) -> Mapping[str, SortOfClevrItems]:
        parts = {part: SortOfClevrItems.generate(part, images) for part, images in self.images.items() if images}
        return {"test": parts["val"], **parts}
