"""Age arithmetic: how old is somebody, if one age is known, and enough differences? (Palm et al. 2018)

Facts and their coding are those of the released code; it gives no numbers for this task.
"""

from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from jaxtyping import Bool, Int64
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional as F

from paperzoo.batches import Names, ObjectQuestions, Told
from paperzoo.data.base.generated import GeneratedData
from paperzoo.data.base.items import ArrayItems
from paperzoo.data.base.module import TEST, TRAIN, VAL, Loading
from paperzoo.datamodule import stream_seed

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
    rows = torch.arange(count, device=edges.device)
    joined = torch.zeros(count, number + 1, number + 1, device=edges.device)
    for left, right in (edges.unbind(2), edges.flip(2).unbind(2)):
        joined[rows[:, None], left, right] = 1
    reached: Bool[Tensor, "tree node"] = F.one_hot(first, number + 1).bool()
    distance = torch.zeros_like(first)
    for _ in range(number):
        distance += ~reached[rows, second]
        reached = reached | ((reached.float()[:, None] @ joined)[:, 0] > 0)
    return distance


def hold_out() -> dict[str, Int64[Tensor, " tree"]]:
    """The numbers of the trees of each part: nine tenths are for training, and no tree is in two parts."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(TREES))
    train, rest = order.split([round(TRAINING_SHARE * TREES), TREES - round(TRAINING_SHARE * TREES)])
    val, test = rest.chunk(2)
    return {TRAIN: train, VAL: val, TEST: test}


class Families(NamedTuple):
    """Questions: a tree of differences, everybody's age, whose age is known and whose is asked for."""

    edges: Int64[Tensor, "family edge 2"]
    age: Int64[Tensor, "family person"]
    known: Int64[Tensor, " family"]
    asked: Int64[Tensor, " family"]


def draw_families(seed: int, part: str, items: int) -> Families:
    """The first `items` questions of a part.

    Args:
        seed: names the random streams.
        part: "train", "val" or "test".
        items: how many.
    """
    pool = hold_out()[part]
    drawn = []
    for block in range(-(-items // BLOCK)):
        generator = np.random.default_rng(stream_seed(seed, "age arithmetic", part, block))
        tree = pool[torch.from_numpy(generator.integers(len(pool), size=BLOCK))]
        # everybody has an age of his own
        age = torch.from_numpy(generator.random((BLOCK, AGES), dtype=np.float32).argpartition(PEOPLE)[:, :PEOPLE])
        people = torch.from_numpy(generator.integers(PEOPLE, size=(2, BLOCK)))
        age = age.gather(1, torch.from_numpy(generator.random((BLOCK, PEOPLE)).argsort(1)))
        drawn.append(Families(trees(codes(tree)), age, *people))
    return Families(*(torch.cat(column)[:items] for column in zip(*drawn, strict=True)))


def asked_of(
    edges: Int64[Tensor, "family edge 2"],
    age: Int64[Tensor, "family person"],
    known: Int64[Tensor, " family"],
    asked: Int64[Tensor, " family"],
) -> ObjectQuestions:
    """The coded questions about these families; see `Families`."""
    rows = torch.arange(len(asked), device=asked.device)
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


class AgeArithmetic(GeneratedData):
    """Eight people, seven differences of ages that make a tree of them, and the age of one: how old is another?

    An object is a fact: first and second person, what kind of fact, and a number of years, all one-hot. No tree of the
    validation or the test is one of training. A kind is a number of differences from the known age to the wanted one.

    Args:
        train_items: questions to train on; how many the paper had is not known.
        val_items: validation questions.
        test_items: test questions.
        loading: see `ItemData`.
    """

    yields = ObjectQuestions

    def __init__(
        self, train_items: PositiveInt, val_items: PositiveInt, test_items: PositiveInt, **loading: Unpack[Loading]
    ) -> None:
        super().__init__(**loading)
        self.sizes = {TRAIN: train_items, VAL: val_items, TEST: test_items}

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {
            "num_objects": PEOPLE,
            "object_size": OBJECT_SIZE,
            "question_size": 1,
            "num_answers": DIFFERENCES,
            "num_kinds": PEOPLE,
        }

    @property
    def names(self) -> Names:
        return Names(
            answers=tuple(str(age) for age in range(DIFFERENCES)),
            kinds=tuple(f"distance{count}" for count in range(PEOPLE)),
        )

    def make(self, part: str) -> ArrayItems:
        return ArrayItems(asked_of, draw_families(self.seed, part, self.sizes[part])._asdict())

    def tell(self, batch: ObjectQuestions) -> list[Told]:
        people, families = batch.question[:, 0].tolist(), batch.objects.cpu()
        return [
            Told(f"How old is person {person + 1}?", "\n".join(map(_told, facts)))
            for person, facts in zip(people, families, strict=True)
        ]


def _told(fact: Tensor) -> str:
    first, second, kind, years = (int(part.argmax()) for part in fact.split([PEOPLE, PEOPLE, 3, DIFFERENCES]))
    if kind == KNOWN:
        return f"Person {first + 1} is {years}."
    return f"Person {first + 1} is {years} years {'older' if kind == OLDER else 'younger'} than person {second + 1}."
