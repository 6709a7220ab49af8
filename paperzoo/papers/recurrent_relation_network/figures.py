"""The figures of recurrent relational networks (Palm et al. 2018) from plain tensors. Steps count from 1."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from paperzoo.reporting.style import (
    BLUE,
    MOST_NAMED,
    VERMILION,
    WIDTH,
    legend_beside,
    open_axes,
    ordered_bar,
    ordered_colour,
    panels,
)

GIVEN, RIGHT, WRONG = "#1a1a1a", BLUE, VERMILION
GIVEN_CELL = "#e4e4e4"
PANEL = 2.3  # inches
LOGARITHMIC_STEPS = 16  # from so many steps on


def board_figure(
    boards: Int64[Tensor, "step cell"],
    steps: Sequence[int],
    givens: Int64[Tensor, " cell"],
    solution: Int64[Tensor, " cell"],
) -> Figure:
    """A puzzle filling in; givens on grey, right digits in blue, wrong ones in vermilion and underlined.

    Args:
        boards: the digits after each of the shown steps.
        steps: the numbers of these steps.
        givens: digits, or 0 where a cell was empty.
        solution: digits, or 0 if nobody knows them; then no digit is wrong.
    """
    boards, givens, solution = boards.cpu(), givens.cpu(), solution.cpu()
    figure, shown = panels(len(steps), PANEL, PANEL + 0.35)
    for axes, board, step in zip(shown, boards, steps, strict=True):
        wrong = (board != solution) & (solution != 0)
        _draw_board(axes, board, givens, wrong)
        axes.set_title(f"step {step}: {int(wrong.sum())} wrong" if solution.any() else f"step {step}", fontsize=10)
    figure.set_label("The digits of one puzzle after some of the steps: given (grey), right (blue), wrong (underlined)")
    return figure


def _draw_board(axes: Axes, board: Tensor, givens: Tensor, wrong: Tensor) -> None:
    size = math.isqrt(len(board))
    box = math.isqrt(size)
    axes.pcolormesh((givens != 0).view(size, size), cmap=ListedColormap(["white", GIVEN_CELL]), vmin=0, vmax=1)
    for cell, (digit, given, is_wrong) in enumerate(zip(board.tolist(), givens.tolist(), wrong.tolist(), strict=True)):
        axes.text(
            cell % size + 0.5,
            cell // size + 0.53,
            f"{digit}",
            color=GIVEN if given else WRONG if is_wrong else RIGHT,
            fontsize=72 * PANEL / size * 0.5,
            fontweight="bold" if given else "normal",
            ha="center",
            va="center",
        )
        if is_wrong:
            place = (cell % size + 0.2, cell % size + 0.8)
            axes.plot(place, [cell // size + 0.93] * 2, color=WRONG, linewidth=1.5)
    for line in range(size + 1):
        width = 1.4 if line % box == 0 else 0.4
        axes.axhline(line, color="black", linewidth=width)
        axes.axvline(line, color="black", linewidth=width)
    axes.set(xlim=(0, size), ylim=(size, 0), aspect="equal", xticks=[], yticks=[])


def solved_figure(curves: Mapping[int, Float[Tensor, " step"]]) -> Figure:
    """Puzzles solved against the steps that were taken, by the number of givens.

    Args:
        curves: for each number of givens the share of the puzzles that are solved after each step.
    """
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    axes = figure.subplots()
    givens = sorted(curves)
    is_named = len(givens) <= MOST_NAMED
    colours = (
        [ordered_colour(place, len(givens)) for place in range(len(givens))]
        if is_named
        else ordered_bar(figure, axes, givens, label="givens")
    )
    for number, colour in zip(givens, colours, strict=True):
        steps = torch.arange(1, len(curves[number]) + 1)
        axes.plot(steps, 100 * curves[number].cpu(), color=colour, marker=".", label=f"{number} givens")
    _steps_axis(axes, len(next(iter(curves.values()))))
    axes.set(ylabel="puzzles solved (%)", ylim=(-3, 103))
    open_axes(axes)
    if is_named:
        legend_beside(figure)
    figure.set_label("Share of the puzzles that are solved after each step, by the number of their givens")
    return figure


def step_figure(accuracy: Float[Tensor, "kind step"], kinds: Sequence[str]) -> Figure:
    """The accuracy of each kind of questions after each step, as a picture with numbers.

    Args:
        accuracy: shares; NaN where nothing is known.
        kinds: their names.
    """
    rows, steps = accuracy.shape
    figure = Figure(figsize=(2.8 + 0.75 * steps, 1.2 + 0.32 * rows), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * accuracy.cpu(), cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for row, shares in enumerate(accuracy.tolist()):
        for column, share in enumerate(shares):
            if not math.isnan(share):
                colour = "white" if share < 0.6 else "black"
                axes.text(column, row, f"{100 * share:.1f}", color=colour, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(steps), [f"{step}" for step in range(1, steps + 1)])
    axes.set_yticks(range(rows), [kind.replace("_", " ") for kind in kinds])
    axes.set_xlabel("step")
    figure.colorbar(image, ax=axes, label="accuracy (%)", pad=0.02)
    figure.set_label("Accuracy of each kind of questions when the answer is read after each of the steps")
    return figure


def _steps_axis(axes: Axes, steps: int) -> None:
    axes.set_xlabel("steps")
    if steps >= LOGARITHMIC_STEPS:
        ticks = [2**power for power in range(steps.bit_length())]
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
