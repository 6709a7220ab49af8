"""Sort-of-CLEVR: questions about coloured squares and discs (Santoro et al. 2017, section 3.2 and supplement A).

The paper's images were not published. Sizes and places are those of the generator that re-implementations share; unlike
theirs, the object closest to another one is never that object itself.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import PositiveInt
from torch import Tensor

from paperzoo.batches import ImageQuestions, Names, Told
from paperzoo.data.base.generated import GeneratedData
from paperzoo.data.base.items import ArrayItems, Index, ItemSet, Stream
from paperzoo.data.base.module import TEST, TRAIN, VAL, Loading
from paperzoo.data.questions.items import Shared
from paperzoo.datamodule import Bounds, stream_seed

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
KIND_GROUPS = {"relational": ("closest", "furthest", "count"), "non_relational": ("shape", "left", "top")}

SIDE = 75
REACH = 5  # pixels that an object extends from its centre: 11 x 11
QUESTIONS = 20  # about each image, the first half of them non-relational
SUBTYPES = 3  # of the relational questions, and of the others
BITS = len(COLOURS) + 2 + SUBTYPES

_OFFSETS = np.arange(-REACH, REACH + 1)
_DISC = _OFFSETS[:, None] ** 2 + _OFFSETS**2 <= REACH**2


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


class Drawn(NamedTuple):
    """Generated images with their questions; image i and its questions are a function of (name, i) alone."""

    image: UInt8[Tensor, "image 3 75 75"]
    colour: Int64[Tensor, "image 20"]
    """Which object each question is about."""
    kind: Int64[Tensor, "image 20"]
    answer: Int64[Tensor, "image 20"]
    commonest: Float[Tensor, "image kind"]
    """The share of the six objects that have the commonest answer to a kind of question."""

    @classmethod
    def draw(cls, name: str, images: int) -> "Drawn":
        """Draws the images of a set and its questions, with replacement, as the shared generator does."""
        image = np.empty((images, 3, SIDE, SIDE), dtype=np.uint8)
        colour, kind, answer = np.empty((3, images, QUESTIONS), dtype=np.int64)
        commonest = np.empty((images, len(KINDS)), dtype=np.float32)
        relational = np.repeat([0, 1], QUESTIONS // 2)
        for number in range(images):
            generator = np.random.default_rng(stream_seed("sort_of_clevr", name, number))
            scene = draw_scene(generator)
            image[number] = scene.picture()
            colour[number] = generator.integers(len(COLOURS), size=QUESTIONS)
            kind[number] = SUBTYPES * relational + generator.integers(SUBTYPES, size=QUESTIONS)
            answers = scene.answers()
            answer[number] = answers[colour[number], kind[number]]
            commonest[number] = (answers[:, None] == answers).mean(0).max(0)
        return cls(*map(torch.from_numpy, (image, colour, kind, answer, commonest)))

    def blind_accuracy(self, kinds: Collection[int]) -> float:
        """The accuracy on questions of these kinds that one expects of the best answers without the colour."""
        asked = torch.isin(self.kind, torch.tensor(list(kinds)))
        return float(self.commonest.gather(1, self.kind)[asked].mean())

    def items(self) -> ArrayItems:
        """The questions, image after image."""
        columns = {"colour": self.colour.flatten(), "kind": self.kind.flatten(), "answer": self.answer.flatten()}
        image = Shared(self.image, torch.arange(len(self.image)).repeat_interleave(QUESTIONS))
        return ArrayItems(coded, {"image": image, **columns})


def coded(image: UInt8[Tensor, "batch 3 75 75"], colour: Index, kind: Index, answer: Index) -> ImageQuestions:
    """The questions of these kinds about the objects of these colours, in bits."""
    question = torch.zeros(len(kind), BITS, dtype=torch.int64, device=kind.device)
    bits = (colour, len(COLOURS) + kind // SUBTYPES, len(COLOURS) + 2 + kind % SUBTYPES)
    question.scatter_(1, torch.stack(bits, 1), 1)
    return ImageQuestions(image, question, answer, kind)


class SortOfClevr(GeneratedData):
    """Images of six objects, one of each colour, and 20 questions about each, of 11 bits: colour 6, type 2, subtype 3.

    The set is the same whatever the seed of a run, which orders it only; with more images, the first ones stay.

    Args:
        train_images: images to train on.
        val_images: other images, for validation.
        test_images: still others, for testing; None: test on the validation images, as in the paper.
        loading: see `ItemData`.
    """

    yields = ImageQuestions

    def __init__(
        self,
        train_images: PositiveInt,
        val_images: PositiveInt,
        test_images: PositiveInt | None,
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading)
        self.images = {TRAIN: train_images, VAL: val_images} | ({TEST: test_images} if test_images else {})
        self.drawn: dict[str, Drawn] = {}

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {
            "image_shape": (3, SIDE, SIDE),
            "question_size": BITS,
            "num_answers": len(ANSWERS),
            "num_kinds": len(KINDS),
        }

    @property
    def names(self) -> Names:
        return Names(answers=ANSWERS, kinds=tuple(KINDS), kind_groups=KIND_GROUPS)

    def make(self, part: str) -> ItemSet | Stream:
        if part not in self.images:
            return self.parts[VAL] if VAL in self.parts else self.make(VAL)
        self.drawn[part] = Drawn.draw(part, self.images[part])
        return self.drawn[part].items()

    def bounds(self) -> Bounds:
        """The best answers of someone who sees the image and the kind of question, but not which colour it is about.

        They are computed from all answers that each image has: what is above them has found the object.
        """
        numbers = {kind: (index,) for index, kind in enumerate(KINDS)}
        groups = {name: tuple(numbers[kind][0] for kind in kinds) for name, kinds in KIND_GROUPS.items()}
        reached: dict[str, float] = {}
        for part in (TEST, VAL):
            if not (drawn := self.drawn.get(part if part in self.images else VAL)):
                continue
            reached[f"{part}/accuracy"] = drawn.blind_accuracy(range(len(KINDS)))
            for name, kinds in (numbers | groups).items():
                if torch.isin(drawn.kind, torch.tensor(kinds)).any():
                    reached[f"{part}/accuracy_{name}"] = drawn.blind_accuracy(kinds)
        return Bounds(reached, "sees the image and the kind of question, but not which object it is about")

    def tell(self, batch: ImageQuestions) -> list[Told]:
        colours, templates = list(COLOURS), list(KINDS.values())
        asked = zip(batch.kind.tolist(), batch.question[:, : len(COLOURS)].argmax(1).tolist(), strict=True)
        return [Told(templates[kind].format(colours[colour])) for kind, colour in asked]
