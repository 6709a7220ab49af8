"""Age arithmetic: how old is somebody, if one age is known, and enough differences? (Palm et al. 2018)

Facts and their coding are those of the released code; it gives no numbers for this task.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from paperzoo.batches import ObjectQuestions
from paperzoo.data.base import stream_seed
from paperzoo.data.indexed import QuestionData

PEOPLE = 8
AGES = 99  # from 0 on
DIFFERENCES = 100
OLDER, YOUNGER, KNOWN = range(3)  # the first is no younger than the second; is younger; is as old as that
OBJECT_SIZE = 2 * PEOPLE + 3 + DIFFERENCES
TREES = PEOPLE ** (PEOPLE - 2)
TRAINING_SHARE = 0.9
BLOCK = 20_000  # questions drawn at once

Edges = Int64[Tensor, "tree edge 2"]


def trees(codes: Int64[Tensor, "tree digit"]) -> Edges:
    """The edges of the labelled trees with these Prüfer codes: each tree of n nodes has one, of n - 2 of its nodes."""
    count, digits = codes.shape
    rows = torch.arange(count)
    degree = 1 + F.one_hot(codes, digits + 2).sum(1)
    edges = []
    for digit in codes.unbind(1):
        leaf = (degree == 1).int().argmax(1)
        edges.append(torch.stack([leaf, digit], dim=1))
        degree[rows, leaf] -= 1
        degree[rows, digit] -= 1
    edges.append((degree == 1).nonzero()[:, 1].view(count, 2))
    return torch.stack(edges, dim=1)


def codes(trees: Int64[Tensor, " tree"], nodes: PositiveInt = PEOPLE) -> Int64[Tensor, "tree digit"]:
    """The Prüfer codes with these numbers, from 0 to n^(n - 2) - 1."""
    return trees[:, None] // nodes ** torch.arange(nodes - 2) % nodes


def distances(edges: Edges, first: Int64[Tensor, " tree"], second: Int64[Tensor, " tree"]) -> Int64[Tensor, " tree"]:
    """How many edges lie between two nodes of each tree."""
    count, number, _ = edges.shape
    rows = torch.arange(count)
    joined = torch.zeros(count, number + 1, number + 1)
    for left, right in (edges.unbind(2), edges.flip(2).unbind(2)):
        joined[rows[:, None], left, right] = 1
    reached: Bool[Tensor, "tree node"] = F.one_hot(first, number + 1).bool()
    distance = torch.zeros(count, dtype=torch.int64)
    for _ in range(number):
        distance += ~reached[rows, second]
        reached = reached | ((reached.float()[:, None] @ joined)[:, 0] > 0)
    return distance


def hold_out() -> dict[str, Int64[Tensor, " tree"]]:
    """The numbers of the trees of each part: nine tenths are for training, and no tree is in two parts."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(TREES))
    train, rest = order.split([round(TRAINING_SHARE * TREES), TREES - round(TRAINING_SHARE * TREES)])
    val, test = rest.chunk(2)
    return {"train": train, "val": val, "test": test}


class Families(NamedTuple):
    """Questions: a tree of differences, everybody's age, whose age is known and whose is asked for."""

    edges: Int64[Tensor, "family edge 2"]
    age: Int64[Tensor, "family person"]
    known: Int64[Tensor, " family"]
    asked: Int64[Tensor, " family"]


@dataclass(frozen=True, eq=False)
class AgeQuestions:
    """Questions about the ages of families; drawn when one is asked for first.

    Attributes:
        seed: names the random streams.
        part: "train", "val" or "test".
        items: how many.
    """

    seed: int
    part: str
    items: int

    @cached_property
    def all(self) -> Families:
        pool = hold_out()[self.part]
        drawn = []
        for block in range(-(-self.items // BLOCK)):
            generator = np.random.default_rng(stream_seed(self.seed, "age arithmetic", self.part, block))
            tree = pool[torch.from_numpy(generator.integers(len(pool), size=BLOCK))]
            # everybody has an age of his own
            age = torch.from_numpy(generator.random((BLOCK, AGES), dtype=np.float32).argpartition(PEOPLE)[:, :PEOPLE])
            people = torch.from_numpy(generator.integers(PEOPLE, size=(2, BLOCK)))
            age = age.gather(1, torch.from_numpy(generator.random((BLOCK, PEOPLE)).argsort(1)))
            drawn.append(Families(trees(codes(tree)), age, *people))
        return Families(*(torch.cat(column)[: self.items] for column in zip(*drawn, strict=True)))

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: Int64[Tensor, " batch"]) -> ObjectQuestions:
        edges, age, known, asked = (column[index] for column in self.all)
        rows = torch.arange(len(index))
        first, second = (torch.cat([end, known[:, None]], dim=1) for end in edges.unbind(2))
        difference = age.gather(1, first) - age.gather(1, second)
        kind = torch.where(difference >= 0, OLDER, YOUNGER)
        kind[:, -1], difference[:, -1] = KNOWN, age[rows, known]
        sizes = (PEOPLE, PEOPLE, 3, DIFFERENCES)
        facts = [
            F.one_hot(column, size) for column, size in zip((first, second, kind, difference.abs()), sizes, strict=True)
        ]
        return ObjectQuestions(
            torch.cat(facts, dim=2).float(),
            torch.ones_like(first, dtype=torch.bool),
            asked[:, None],
            age[rows, asked],
            distances(edges, known, asked),
        )


class AgeArithmetic(QuestionData):
    """Eight people, seven differences of ages that make a tree of them, and the age of one: how old is another?

    An object is a fact: first and second person, what kind of fact, and a number of years, all one-hot. No tree of the
    validation or the test is one of training.

    Args:
        seed: names the random streams.
        num_objects: 8.
        object_size: 119.
        question_size: 1.
        num_answers: 100.
        num_kinds: 8, one for each number of differences between the known age and the one that is asked for.
        train_items: questions to train on; how many the paper had is not known.
        val_items: validation questions.
        test_items: test questions.
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
        train_items: PositiveInt,
        val_items: PositiveInt,
        test_items: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.sizes = {"train": train_items, "val": val_items, "test": test_items}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        facts = {
            "num_objects": PEOPLE,
            "object_size": OBJECT_SIZE,
            "question_size": 1,
            "num_answers": DIFFERENCES,
            "num_kinds": PEOPLE,
        }
        for key, value in facts.items():
            if arguments[key] != value:
                yield f"data.{key}={arguments[key]}: age arithmetic has {value}; set that"

    @property
    def answer_names(self) -> list[str]:
        return [str(age) for age in range(DIFFERENCES)]

    @property
    def kind_names(self) -> list[str]:
        return [f"distance{count}" for count in range(PEOPLE)]

    def load(self) -> Mapping[str, AgeQuestions]:
        return {part: AgeQuestions(self.seed, part, items) for part, items in self.sizes.items()}

    def question_texts(self, batch: ObjectQuestions) -> list[str]:
        return [f"How old is person {asked + 1}?" for (asked,) in batch.question.tolist()]

    def context_texts(self, batch: ObjectQuestions) -> list[str]:
        return ["\n".join(map(_told, facts)) for facts in batch.objects.cpu()]


def _told(fact: Tensor) -> str:
    first, second, kind, years = (int(part.argmax()) for part in fact.split([PEOPLE, PEOPLE, 3, DIFFERENCES]))
    if kind == KNOWN:
        return f"Person {first + 1} is {years}."
    return f"Person {first + 1} is {years} years {'older' if kind == OLDER else 'younger'} than person {second + 1}."
