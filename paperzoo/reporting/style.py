"""How figures look: colours that every kind of colour vision tells apart, frames, grids and legends."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

Number = float | int

WIDTH = 9.0  # inches: 900 pixels at matplotlib's 100 dots per inch
MOST_COLUMNS = 4  # of panels

BLUE, VERMILION, GREEN = "#1f6fb4", "#c8420a", "#00794f"
GREY, LIGHT_GREY = "#8c8c8c", "#c4c4c4"
SOURCE, TARGET = BLUE, VERMILION
RIGHT, WRONG = GREEN, VERMILION
MEASURED, PUBLISHED = BLUE, LIGHT_GREY

_GRID, _FRAME = "0.9", "0.8"
_LIGHTEST = 0.78  # of viridis, whose yellow end is hard to see on white
ORDERED = LinearSegmentedColormap.from_list("ordered", colormaps["viridis"](np.linspace(0, _LIGHTEST, 256)))
MOST_NAMED = 9  # curves in an order that a legend names; of more, a bar of their colours is read


def open_axes(axes: Axes, grid: Literal["both", "x", "y"] | None = "both") -> None:
    """Leaves out the frame above and on the right; a light grid lies behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid is not None:
        axes.grid(axis=grid, color=_GRID)


def picture_axes(axes: Axes) -> None:
    """A light frame without ticks: for pictures, and for planes whose scale means nothing."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(_FRAME)


def panels(
    count: int, width: Number, height: Number, *, least_width: Number = 0, more_height: Number = 0
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, four a row at most.

    Args:
        count: at least 1.
        width: of a panel, in inches.
        height: of a panel, in inches.
        least_width: of the figure.
        more_height: of the figure, for titles and legends.
    """
    columns = min(MOST_COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(max(width * columns, least_width), height * rows + more_height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def legend_beside(figure: Figure, *, labelspacing: Number | None = None, handlelength: Number | None = None) -> None:
    """The legend of all curves, on the right of the figure from the top."""
    figure.legend(loc="outside right upper", frameon=False, labelspacing=labelspacing, handlelength=handlelength)


def legend_below(figure: Figure | SubFigure, axes: Axes, *, markerscale: Number | None = None) -> None:
    """The legend of one of the panels, which stands for all, side by side below them."""
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, markerscale=markerscale
    )


def ordered_colour(place: int, count: int) -> tuple[float, float, float, float]:
    """The colour of a curve that is number `place` of `count` in an order: from dark violet to green."""
    return ORDERED(place / max(count - 1, 1))


def ordered_bar(figure: Figure, axes: Axes, numbers: Sequence[Number], label: str) -> list[tuple[float, ...]]:
    """A bar of colours beside the axes, for more curves than a legend can name; returns the colour of each number."""
    norm = Normalize(min(numbers), max(numbers))
    figure.colorbar(ScalarMappable(norm, ORDERED), ax=axes, label=label, pad=0.02, ticks=MaxNLocator(integer=True))
    return [ORDERED(norm(number)) for number in numbers]
