"""Several pictures made of one, whose predictions are averaged."""

from jaxtyping import UInt8
from pydantic import PositiveInt
from torch import Tensor

Larger = UInt8[Tensor, "batch channel rows columns"]
Pixels = UInt8[Tensor, "batch channel height width"]


class TenCrops:
    """The middle and the four corners of a picture, as they are and mirrored (released code of Long et al. 2018).

    As there the last corners are one pixel off the end. A picture of the size of the crops is taken whole.

    Args:
        shape: of a crop: channels, height and width.
    """

    def __init__(self, shape: tuple[PositiveInt, PositiveInt, PositiveInt]) -> None:
        _, self.height, self.width = shape

    def __call__(self, image: Larger) -> list[Pixels]:
        """A batch for each crop; the first is of the middles."""
        down, right = image.shape[2] - self.height, image.shape[3] - self.width
        if not down and not right:
            return [image, image.flip(-1)]
        bottom, end = max(0, down - 1), max(0, right - 1)
        corners = [(down // 2, right // 2), (0, 0), (bottom, end), (bottom, 0), (0, end)]
        return [
            side[:, :, top : top + self.height, left : left + self.width]
            for side in (image, image.flip(-1))
            for top, left in corners
        ]
