"""The typed batches, and what the numbers in them stand for: the contract between data and models.

A DataModule declares which of these it `yields`, a PaperModule which it `accepts`. Images travel as uint8, 0..255;
scaling and dequantisation belong to the model.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor


class Images(NamedTuple):
    """Images without labels."""

    image: UInt8[Tensor, "batch channel height width"]


class LabelledImages(NamedTuple):
    """Images of one class each; `label` counts from 0."""

    image: UInt8[Tensor, "batch channel height width"]
    label: Int64[Tensor, " batch"]


class AttributedImages(NamedTuple):
    """Images with any number of yes/no attributes each (CelebA's "Smiling", "Young", ...)."""

    image: UInt8[Tensor, "batch channel height width"]
    attributes: Bool[Tensor, "batch attribute"]


LACKING, HAVING, TO_EDIT = range(3)


class ComparedImages(NamedTuple):
    """Images without and with something, a smile perhaps, and those that are to get it; the latter come last."""

    image: UInt8[Tensor, "batch channel height width"]
    role: Int64[Tensor, " batch"]
    """`LACKING`, `HAVING` or `TO_EDIT`."""


class LatentVectors(NamedTuple):
    """What a flow makes of images, all levels one after another, the first one first: an image in as many numbers."""

    latent: Float[Tensor, "batch dimension"]


class SatProblems(NamedTuple):
    """Formulas in conjunctive normal form, side by side as one graph: a disjoint union.

    The variables of all problems are numbered through; literal node v is variable v, node v + (number of variables) is
    its negation. A cell is one occurrence of a literal in a clause. Problems, and clauses within them, stay in order.
    """

    cell_literal: Int64[Tensor, " cell"]
    """The literal node of each cell, clause after clause."""
    clause_length: Int64[Tensor, " clause"]
    clause_problem: Int64[Tensor, " clause"]
    variable_problem: Int64[Tensor, " variable"]
    satisfiable: Int64[Tensor, " problem"]
    """1, 0, or -1 if nobody knows."""
    group: Int64[Tensor, " problem"]
    """Index of the kind that the problem is reported under (`Names.kinds`)."""
    in_core: Bool[Tensor, " literal"]
    """Whether the literal node belongs to an unsatisfiable core that was planted; False where nothing was."""


SOURCE, TARGET = 0, 1
HIDDEN = -1


class DomainImages(NamedTuple):
    """Images of a labelled source domain and of a target domain, to which a classifier is to be adapted.

    A training batch holds the images of the source, then as many of the target.
    """

    image: UInt8[Tensor, "batch channel height width"]
    label: Int64[Tensor, " batch"]
    """The class, or `HIDDEN`: the data keep the labels of the target from training."""
    domain: Int64[Tensor, " batch"]
    """`SOURCE` or `TARGET`."""


class DomainVectors(NamedTuple):
    """What `DomainImages` is, of feature vectors."""

    vector: Float[Tensor, "batch feature"]
    label: Int64[Tensor, " batch"]
    domain: Int64[Tensor, " batch"]


class PersonImages(NamedTuple):
    """Images of people seen by two cameras, of a source domain with known identities and of a target domain.

    A training batch holds the images of the source, in pairs that show the same person to both cameras, then as many
    of the target.
    """

    image: UInt8[Tensor, "batch 3 128 48"]
    person: Int64[Tensor, " batch"]
    """Who it is, a number within the domain, or `HIDDEN`: the data keep the identities of the target from training."""
    camera: Int64[Tensor, " batch"]
    """0 for the camera of the probes, 1 for that of the gallery."""
    domain: Int64[Tensor, " batch"]
    """`SOURCE` or `TARGET`."""


UNKNOWN = -1
"""The answer to a question that is only asked."""


class ImageQuestions(NamedTuple):
    """Questions about an image each, with an answer from a closed list.

    A question is a row of symbols: the numbers of its words, from 1 on and then zeros, or a code of fixed length.
    """

    image: UInt8[Tensor, "batch channel height width"]
    question: Int64[Tensor, "batch symbol"]
    answer: Int64[Tensor, " batch"]
    """Index of the answer (`Names.answers`), or `UNKNOWN`."""
    kind: Int64[Tensor, " batch"]
    """Index of the kind that the question is reported under (`Names.kinds`)."""


class ObjectQuestions(NamedTuple):
    """What `ImageQuestions` is, about a set of objects each."""

    objects: Float[Tensor, "batch object feature"]
    """Rows of objects that are not there are zero."""
    present: Bool[Tensor, "batch object"]
    question: Int64[Tensor, "batch symbol"]
    answer: Int64[Tensor, " batch"]
    kind: Int64[Tensor, " batch"]


class StoryQuestions(NamedTuple):
    """What `ImageQuestions` is, about a story each: sentences in the order in which they were told."""

    story: Int64[Tensor, "batch sentence word"]
    """Words counted from 1, followed by zeros; the story's sentences come first, rows after the last are zero."""
    question: Int64[Tensor, "batch word"]
    answer: Int64[Tensor, " batch"]
    kind: Int64[Tensor, " batch"]


class Sudokus(NamedTuple):
    """Sudoku puzzles, row after row of their cells."""

    givens: Int64[Tensor, "batch cell"]
    """Digits from 1, or 0 where a cell is empty."""
    solution: Int64[Tensor, "batch cell"]
    """Digits from 1, or 0 if nobody knows the solution."""


class PhysicalSystems(NamedTuple):
    """Balls watched for a while, some of which are joined by springs or rods that cannot be seen."""

    trajectory: Float[Tensor, "batch ball feature"]
    connected: Bool[Tensor, "batch ball ball"]
    """Symmetric: whether a spring or a rod joins two balls."""
    systems: Int64[Tensor, " batch"]
    """Connected components that the connections make of the balls, single balls included, counted from 1."""


@dataclass(frozen=True)
class Names:
    """What the numbers in the batches of a data set stand for; empty where there are none, or nobody knows.

    The data say it, the model is handed it when a run is built, every checkpoint holds it.

    Attributes:
        classes: of the labels 0, 1, 2, ...
        attributes: of the columns of `AttributedImages.attributes`.
        answers: of the answers 0, 1, 2, ...
        words: of the symbols 1, 2, 3, ...; 0 is none.
        kinds: what results are reported under: kinds of questions, groups of problems. One alone is not reported.
        kind_groups: kinds that a paper reports together, by the name of the group.
    """

    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    kind_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Names":
        """The names that `to_plain` gave."""
        lists = {name: tuple(value) for name, value in plain.items() if name != "kind_groups"}
        groups = {name: tuple(members) for name, members in plain.get("kind_groups", {}).items()}
        return cls(**lists, kind_groups=groups)

    def to_plain(self) -> dict[str, Any]:
        """Plain lists, as a checkpoint holds them."""
        lists = {name: list(value) for name, value in asdict(self).items() if name != "kind_groups"}
        return {**lists, "kind_groups": {name: list(members) for name, members in self.kind_groups.items()}}

    def completed(self, other: "Names") -> "Names":
        """These names, and those of `other` where these are empty."""
        return Names(**{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)})


class Told(NamedTuple):
    """An item of a batch as a reader would be told it; empty where a picture shows it."""

    question: str = ""
    context: str = ""
    """What the question is about: a story, a list of objects."""
