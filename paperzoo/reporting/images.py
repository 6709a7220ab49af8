"""Grids of images: as a figure with labels, and as a PNG file in which every pixel is the model's own."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy import ndarray
from PIL import Image
from torch import Tensor

from paperzoo.files import replacing

TILE_PIXELS = 64  # images smaller than this are enlarged by a whole factor, so that a person can see them
GAP_PIXELS = 2
DOTS_PER_INCH = 100


def tile(images: UInt8[Tensor, "n channel height width"], columns: int) -> UInt8[ndarray, "rows_high columns_wide 3"]:
    """Lays images out row by row in one RGB picture, white between them and in the places left over.

    Images with fewer than 64 pixels on their longer side are enlarged by a whole factor (each pixel becomes a square).

    Args:
        images: grey (one channel) or RGB (three channels), at least one; on any device.
        columns: images a row.

    Raises:
        ValueError: there is no image, or it has neither one nor three channels, or `columns` is less than 1.
    """
    count, channels, height, width = images.shape
    if count == 0 or channels not in (1, 3) or columns < 1:
        raise ValueError(f"cannot lay out {count} images with {channels} channels in {columns} columns")
    rows, columns = math.ceil(count / columns), min(columns, count)
    pixels = images.detach().cpu().permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    scale = max(1, TILE_PIXELS // max(height, width))
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    high, wide = height * scale + GAP_PIXELS, width * scale + GAP_PIXELS
    picture = np.full((rows * high - GAP_PIXELS, columns * wide - GAP_PIXELS, 3), 255, dtype=np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * high, index % columns * wide
        picture[top : top + height * scale, left : left + width * scale] = image
    return picture


def image_grid(
    images: UInt8[Tensor, "n channel height width"],
    columns: int,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """A figure of `images`, row by row, with a label beside each row and above each column if labels are given.

    Saved at the figure's own resolution every pixel of an image becomes a square of whole screen pixels.

    Raises:
        ValueError: as `tile`, or there are more labels than rows or columns.
    """
    picture = tile(images, columns)
    rows, columns = math.ceil(len(images) / columns), min(columns, len(images))
    if len(row_labels) > rows or len(column_labels) > columns:
        raise ValueError(f"{len(row_labels)} row and {len(column_labels)} column labels for {rows} x {columns} images")
    high, wide = picture.shape[:2]
    left = 12 + 8 * max(map(len, row_labels)) if row_labels else 0
    top = (24 if column_labels else 0) + (28 if title else 0)
    full_high, full_wide = high + top, wide + left
    figure = Figure(figsize=(full_wide / DOTS_PER_INCH, full_high / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((left / full_wide, 0.0, wide / full_wide, high / full_high))
    axes.imshow(picture, interpolation="nearest", extent=(0, wide, high, 0))
    axes.set_axis_off()
    row_high, column_wide = (high + GAP_PIXELS) / rows, (wide + GAP_PIXELS) / columns
    for index, label in enumerate(row_labels):
        axes.text(-8, (index + 0.5) * row_high, label, ha="right", va="center", fontsize=9)
    for index, label in enumerate(column_labels):
        axes.text((index + 0.5) * column_wide, -6, label, ha="center", va="bottom", fontsize=9)
    if title:
        figure.text(0.5, 1 - 6 / full_high, title, ha="center", va="top", fontsize=11)
    return figure


def save_png(images: UInt8[Tensor, "n channel height width"], path: Path, columns: int) -> Path:
    """Writes the pixel-exact grid of `images` (see `tile`) to `path`, in a folder made if need be; returns `path`."""
    with replacing(path) as temporary:
        Image.fromarray(tile(images, columns)).save(temporary, format="PNG")
    return path
