"""Pretty-CLEVR: which object is so many jumps away, each to the nearest one not yet visited? (Palm et al. 2018)

Colours, markers and questions are those of the released code.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import tau
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import ObjectQuestions
from paperzoo.data.base import stream_seed
from paperzoo.data.indexed import QuestionData

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
    """All 128 questions about each scene, one scene after the other; drawn when one is asked for first.

    Attributes:
        seed: names the random streams.
        part: "train", "val" or "test".
        scenes: how many.
    """

    seed: int
    part: str
    scenes: int

    @cached_property
    def all(self) -> tuple[Scenes, Int64[Tensor, "scene start jump"]]:
        drawn = [
            draw_scenes(np.random.default_rng(stream_seed(self.seed, "pretty clevr", self.part, block)), BLOCK)
            for block in range(-(-self.scenes // BLOCK))
        ]
        scenes = Scenes(*(torch.cat(column)[: self.scenes] for column in zip(*drawn, strict=True)))
        return scenes, walks(scenes.position)

    def __len__(self) -> int:
        return QUESTIONS * self.scenes

    def __getitem__(self, index: Int64[Tensor, " batch"]) -> ObjectQuestions:
        scenes, paths = self.all
        scene, question = index // QUESTIONS, index % QUESTIONS
        by_marker, start, jumps = question // OBJECTS**2, question // OBJECTS % OBJECTS, question % OBJECTS
        colour = scenes.colour[scene]
        reached = paths[scene, start, jumps]
        names = torch.stack([colour, OBJECTS + torch.arange(OBJECTS).expand_as(colour)], dim=1)  # a colour, a marker
        rows = torch.arange(len(index))
        objects = torch.cat(
            [
                scenes.position[scene],
                torch.eye(OBJECTS)[colour],
                torch.eye(OBJECTS).expand(len(index), -1, -1),
            ],
            dim=2,
        )
        return ObjectQuestions(
            objects,
            torch.ones(len(index), OBJECTS, dtype=torch.bool),
            torch.stack([names[rows, by_marker, start], jumps], dim=1),
            names[rows, 1 - by_marker, reached],
            jumps,
        )


class PrettyClevr(QuestionData):
    """Eight objects of different colours and markers; from the one that is named, jump to the nearest, and so on.

    A question is a colour or marker (0 to 15) and jumps (0 to 7); the answer to one that names a colour
    is a marker, and the other way round. An object is its position, one-hot colour and one-hot marker.
    In training, positions are turned about the middle and scaled by 1/2 to 2.

    Args:
        seed: names the random streams.
        num_objects: 8.
        object_size: 18.
        question_size: 2.
        num_answers: 16.
        num_kinds: 8, one for each number of jumps.
        train_scenes: scenes to train on, with 128 questions each.
        val_scenes: validation scenes.
        test_scenes: test scenes.
        batch_size: training questions in a batch, on each device.
        eval_batch_size: questions a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = ObjectQuestions

    def __init__(
        self,
        seed: int,
        num_objects: PositiveInt,
        object_size: PositiveInt,
        question_size: PositiveInt,
        num_answers: PositiveInt,
        num_kinds: PositiveInt,
        train_scenes: PositiveInt,
        val_scenes: PositiveInt,
        test_scenes: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.sizes = {"train": train_scenes, "val": val_scenes, "test": test_scenes}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        facts = {
            "num_objects": OBJECTS,
            "object_size": OBJECT_SIZE,
            "question_size": 2,
            "num_answers": len(COLOURS + MARKERS),
            "num_kinds": OBJECTS,
        }
        for key, value in facts.items():
            if arguments[key] != value:
                yield f"data.{key}={arguments[key]}: Pretty-CLEVR has {value}; set that"

    @property
    def answer_names(self) -> list[str]:
        return [*COLOURS, *MARKERS]

    @property
    def kind_names(self) -> list[str]:
        return [f"jumps{count}" for count in range(OBJECTS)]

    def load(self) -> Mapping[str, SceneQuestions]:
        return {part: SceneQuestions(self.seed, part, scenes) for part, scenes in self.sizes.items()}

    def augment(self, batch: ObjectQuestions) -> ObjectQuestions:
        count, device = len(batch.answer), batch.objects.device
        angle = tau * torch.rand(count, device=device)
        scale = 2 ** (2 * torch.rand(count, device=device) - 1)
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        turn = torch.stack([cosine, sine, -sine, cosine], dim=1).view(-1, 2, 2)
        moved = torch.cat([batch.objects[..., :2] @ turn, batch.objects[..., 2:]], dim=2)
        return batch._replace(objects=moved)

    def question_texts(self, batch: ObjectQuestions) -> list[str]:
        names = self.answer_names
        return [f"{names[anchor]}: where do {jumps} jumps lead?" for anchor, jumps in batch.question.tolist()]

    def context_texts(self, batch: ObjectQuestions) -> list[str]:
        return ["\n".join(map(_describe, objects)) for objects in batch.objects.cpu()]


def _describe(features: Float[Tensor, "18"]) -> str:
    colour, marker = features[2:10].argmax(), features[10:].argmax()
    return f"{COLOURS[colour]} {MARKERS[marker]} at ({features[0]:.2f}, {features[1]:.2f})"
