"""Images in the shape that a model gets, whatever the shape they were prepared in."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from paperzoo.data.base.items import Gather, Index
from paperzoo.data.prepared.file_set import Shape

Fit = Literal["pad", "resize"]
"""Zeros added or pixels cut off, evenly at all sides; or scaled, whatever the proportions."""


@dataclass(frozen=True, eq=False)
class FittedImages:
    """Images in the shape that the model gets: `images[index]` is the batch of the items `index`.

    Attributes:
        stored: the images as they were prepared.
        shape: channels, height and width of the batches.
        fit: how images of another size get there.
    """

    stored: Gather
    shape: Shape
    fit: Fit = "pad"

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes

    @property
    def arrays(self) -> Iterator[Gather]:
        yield self.stored

    def __getitem__(self, index: Index) -> UInt8[Tensor, "batch channel height width"]:
        image = self.stored[index]
        return fit(resize(image, *self.shape[1:]) if self.fit == "resize" else image, self.shape)

    def to(self, device: torch.device) -> "FittedImages":
        return replace(self, stored=self.stored.to(device))


def fit(image: UInt8[Tensor, "batch c h w"], shape: Shape) -> UInt8[Tensor, "batch channel height width"]:
    """Grey images repeated over the channels of `shape`; zeros added, or pixels cut off, evenly at all sides."""
    channels, height, width = shape
    if image.shape[1:] == shape:
        return image
    down, right = height - image.shape[2], width - image.shape[3]
    image = F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))
    return image.expand(-1, channels, -1, -1).contiguous()


def resize(
    image: UInt8[Tensor, "batch channel rows columns"], height: int, width: int
) -> UInt8[Tensor, "batch channel {height} {width}"]:
    """Scaled by bilinear interpolation, which averages where it shrinks; rounded."""
    if image.shape[2:] == (height, width):
        return image
    return F.interpolate(image.float(), (height, width), mode="bilinear", antialias=True).round_().byte()
