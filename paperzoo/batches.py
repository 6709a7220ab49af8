"""The typed batches: the contract between data and models.

A DataModule declares which of these it `yields`, a PaperModule which it `accepts`. Images travel as uint8, 0..255;
scaling and dequantisation belong to the model.
"""

from typing import NamedTuple

from jaxtyping import Bool, Int64, UInt8
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
