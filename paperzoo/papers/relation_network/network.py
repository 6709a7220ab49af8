"""Relation networks (Santoro et al. 2017) and multi-layer relation networks (Jahrens & Martinetz 2018)."""

from collections.abc import Iterator, Sequence
from typing import Any

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from paperzoo.nn.classifiers import Rate
from paperzoo.nn.encoder import Encoder
from paperzoo.nn.pairs import PairRelation
from paperzoo.nn.perceptron import perceptron


class RelationNetwork(nn.Module):
    """f(sum_ij g(o_i, o_j, q)), eq. 1; with further relations g^t(sum_k h_ik, sum_k h_jk) on top, a multi-layer one.

    Args:
        objects: encodes the objects of a batch.
        question: encodes the question that every pair is told of; None where nothing is asked.
        relations: units of each layer of g, for every relation; one relation is the relation network.
        readout: units of each hidden layer of f.
        dropout: rate of the dropout after the last of them, in training.
        answers: logits.
        checkpointing: compute the pairs again in the backward pass to save memory.
    """

    def __init__(
        self,
        objects: Encoder,
        question: Encoder | None,
        relations: Sequence[Sequence[PositiveInt]],
        readout: Sequence[PositiveInt],
        dropout: Rate,
        answers: PositiveInt,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.objects = objects
        self.question = question
        code = 0 if question is None else question.size
        sizes = [objects.size, *(widths[-1] for widths in relations)]
        self.relations = nn.ModuleList(
            PairRelation(size, code if depth == 0 else 0, widths, checkpointing)
            for depth, (size, widths) in enumerate(zip(sizes, relations, strict=False))
        )
        self.readout = perceptron([sizes[-1], *readout, answers], dropout=dropout)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        for name in ("relations", "readout"):
            if not arguments[name]:
                yield f"{name}=[]: should have at least one layer"
        if any(not widths for widths in arguments["relations"]):
            yield "relations: each relation should have at least one layer"

    def forward(self, batch: Any) -> Float[Tensor, "1 batch answer"]:
        objects, present = self.objects(batch)
        code = None if self.question is None else self.question(batch.question)
        for relation in self.relations:
            objects, code = relation(objects, present, code), None
        return self.readout(objects.sum(1))[None]
