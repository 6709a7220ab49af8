"""The typed batches: the contract between data and models.

A DataModule declares which of these it `yields`, a PaperModule which it `accepts`. Images travel as uint8, 0..255;
scaling and dequantisation belong to the model.
"""

from typing import NamedTuple

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
    """Index of the kind that the problem is reported under (the DataModule's `group_names`)."""
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
