"""Pretty-CLEVR: which object is so many jumps away, each to the nearest one not yet visited? (Palm et al. 2018)

Colours, markers and questions are those of the released code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import PositiveInt
from torch import Tensor

from paperzoo.batches import Names, ObjectQuestions, Told
from paperzoo.data.base.generated import GeneratedData
from paperzoo.data.base.module import TEST, TRAIN, VAL, Augmentation, Loading
from paperzoo.datamodule import stream_seed

COLOURS = ("blue", "green", "red", "cyan", "magenta", "yellow", "black", "gray")
MARKERS = ("o", "v", "^", "<", ">", "s", "P", "X")
OBJECTS = len(COLOURS)
OBJECT_SIZE = 2 + len(COLOURS) + len(MARKERS)
QUESTIONS = 2 * OBJECTS * OBJECTS
CLOSEST = 0.1  # objects are further apart, in a square of side 1
BLOCK = 1000  # scenes drawn at once


class Scenes(NamedTuple):
    """Objects in the order of their markers."""

    position: Float[Tensor, "scene 8 2"]
    """From -0.5 to 0.5."""
    colour: Int64[Tensor, "scene 8"]


def draw_scenes(generator: np.random.Generator, count: int) -> Scenes:
    """Scenes with objects at random places, drawn anew where two are too close, and the colours in random order."""
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < count:
        places = generator.random((2 * count, OBJECTS, 2))
        distance = np.linalg.norm(places[:, :, None] - places[:, None], axis=3) + np.eye(OBJECTS)
        kept.append(places[(distance > CLOSEST).all((1, 2))])
    position = torch.from_numpy(np.concatenate(kept)[:count]).float() - 0.5
    return Scenes(position, torch.from_numpy(generator.random((count, OBJECTS)).argsort(1)))


def walks(position: Float[Tensor, "scene object 2"]) -> Int64[Tensor, "scene start jump"]:
    """From each object, the objects that are reached by 0, 1, 2, ... jumps to the nearest one not yet visited."""
    scenes, objects, _ = position.shape
    distance = torch.cdist(position, position)
    here = torch.arange(objects).expand(scenes, -1)
    visited = torch.zeros(scenes, objects, objects, dtype=torch.bool)
    path = [here]
    for _ in range(objects - 1):
        visited = visited.scatter(2, here[..., None], True)
        away = distance.gather(1, here[..., None].expand(-1, -1, objects))
        here = away.masked_fill(visited, torch.inf).argmin(2)
        path.append(here)
    return torch.stack(path, dim=2)


@dataclass(frozen=True, eq=False)
class SceneQuestions:
    """All 128 questions about each scene, one scene after the other: `questions[index]`.

    Attributes:
        position: of the objects, in the order of their markers.
        colour: of the objects.
        paths: where 0, 1, 2, ... jumps lead from each object.
    """

    position: Float[Tensor, "scene 8 2"]
    colour: Int64[Tensor, "scene 8"]
    paths: Int64[Tensor, "scene start jump"]

    @classmethod
    def draw(cls, seed: int, part: str, scenes: int) -> "SceneQuestions":
        """Those of the first `scenes` scenes of a part."""
        drawn = [
            draw_scenes(np.random.default_rng(stream_seed(seed, "pretty clevr", part, block)), BLOCK)
            for block in range(-(-scenes // BLOCK))
        ]
        position, colour = (torch.cat(column)[:scenes] for column in zip(*drawn, strict=True))
        return cls(position, colour, walks(position))

    def __len__(self) -> int:
        return QUESTIONS * len(self.colour)

    def __getitem__(self, index: Int64[Tensor, " batch"]) -> ObjectQuestions:
        device = self.colour.device
        scene, question = index.to(device) // QUESTIONS, index.to(device) % QUESTIONS
        by_marker, start, jumps = question // OBJECTS**2, question // OBJECTS % OBJECTS, question % OBJECTS
        colour, codes = self.colour[scene], torch.eye(OBJECTS, device=device)
        reached = self.paths[scene, start, jumps]
        markers = OBJECTS + torch.arange(OBJECTS, device=device).expand_as(colour)
        names = torch.stack([colour, markers], dim=1)
        rows = torch.arange(len(index), device=device)
        return ObjectQuestions(
            torch.cat([self.position[scene], codes[colour], codes.expand(len(index), -1, -1)], dim=2),
            torch.ones_like(colour, dtype=torch.bool),
            torch.stack([names[rows, by_marker, start], jumps], dim=1),
            names[rows, 1 - by_marker, reached],
            jumps,
        )

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        return self.position, self.colour, self.paths

    def to(self, device: torch.device) -> "SceneQuestions":
        return SceneQuestions(*(array.to(device) for array in self.arrays))


class PrettyClevr(GeneratedData):
    """Eight objects of different colours and markers; from the one that is named, jump to the nearest, and so on.

    A question is a colour or marker (0 to 15) and jumps (0 to 7); the answer to one that names a colour
    is a marker, and the other way round. An object is its position, one-hot colour and one-hot marker.
    A kind is a number of jumps.

    Args:
        train_scenes: scenes to train on, with 128 questions each.
        val_scenes: validation scenes.
        test_scenes: test scenes.
        augment: random changes of training batches.
        loading: see `ItemData`.
    """

    yields = ObjectQuestions

    def __init__(
        self,
        train_scenes: PositiveInt,
        val_scenes: PositiveInt,
        test_scenes: PositiveInt,
        augment: Sequence[Augmentation],
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading, augment=augment)
        self.sizes = {TRAIN: train_scenes, VAL: val_scenes, TEST: test_scenes}

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {
            "num_objects": OBJECTS,
            "object_size": OBJECT_SIZE,
            "question_size": 2,
            "num_answers": len(COLOURS + MARKERS),
            "num_kinds": OBJECTS,
        }

    @property
    def names(self) -> Names:
        return Names(answers=COLOURS + MARKERS, kinds=tuple(f"jumps{count}" for count in range(OBJECTS)))

    def make(self, part: str) -> SceneQuestions:
        return SceneQuestions.draw(self.seed, part, self.sizes[part])

    def tell(self, batch: ObjectQuestions) -> list[Told]:
        names, questions, scenes = COLOURS + MARKERS, batch.question.tolist(), batch.objects.cpu()
        return [
            Told(f"{names[anchor]}: where do {jumps} jumps lead?", "\n".join(map(_describe, objects)))
            for (anchor, jumps), objects in zip(questions, scenes, strict=True)
        ]


def _describe(features: Float[Tensor, "18"]) -> str:
    colour, marker = features[2:10].argmax(), features[10:].argmax()
    return f"{COLOURS[colour]} {MARKERS[marker]} at ({features[0]:.2f}, {features[1]:.2f})"
