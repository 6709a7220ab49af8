"""Figures of densities of images: rows of them, and the errors of the way into the latents and back."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from paperzoo.reporting.images import image_grid
from paperzoo.reporting.style import BLUE, WIDTH, open_axes


def reconstruction_figure(per_image: Sequence[float], per_level: Sequence[float]) -> Figure:
    """Bars from 0, as errors are differences.

    Args:
        per_image: the largest error of each image that was encoded and decoded.
        per_level: the largest error of the latents of each level that were decoded and encoded.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set(title="max |x - decode(encode(x))|", xlabel="image")
    right.set(title="max |eps - encode(decode(eps))|", xlabel="level")
    for axes, errors in ((left, per_image), (right, per_level)):
        axes.bar(range(1, len(errors) + 1), errors, color=BLUE)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(0, 1.05 * max(errors) or 1e-7)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        open_axes(axes, grid="y")
    figure.set_label(
        "The largest error of the way into the latents and back: of each image, whose values are from 0 to 1, and of "
        "the latents of each level"
    )
    return figure


def rows_of_images(
    title: str, rows: Mapping[str, UInt8[Tensor, "n channel height width"]], columns: int, caption: str
) -> Figure:
    """Rows of `columns` images, the first row of each name with its label."""
    labels = [label for name, images in rows.items() for label in [name, *[""] * (len(images) // columns - 1)]]
    shown = labels if any(rows) else []
    figure = image_grid(torch.cat(list(rows.values())), columns, row_labels=shown, title=title)
    figure.set_label(caption)
    return figure
