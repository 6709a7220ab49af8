"""Figures of question answering: questions with their answers, and the accuracy of each kind of question."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from torch import Tensor

from paperzoo.batches import UNKNOWN, ImageQuestions, ObjectQuestions, StoryQuestions, Told
from paperzoo.reporting.style import (
    BLUE,
    LIGHT_GREY,
    MEASURED,
    PUBLISHED,
    RIGHT,
    WIDTH,
    WRONG,
    open_axes,
    picture_axes,
)

Box = tuple[float, float, float, float]  # left, bottom, width, height

PANEL_HEIGHT = 2.25  # inches, below the question
LINE_HEIGHT = 0.17  # of a question
COLUMNS = 2
OTHER, UNJUDGED = LIGHT_GREY, BLUE
MOST_ANSWERS = 3  # with a bar each, and the right one if it is not among them
QUESTION_LETTERS, QUESTION_LINES = 56, 4
CONTEXT_LETTERS, CONTEXT_LINES = 36, 16
ANSWER_LETTERS = 13
CONTEXT, BARS = (0.03, 0.04, 0.45, 0.9), (0.76, 0.08, 0.14, 0.82)  # left, bottom, width, height below the question


def answer_figure(
    batch: ImageQuestions | ObjectQuestions | StoryQuestions,
    probabilities: Float[Tensor, "batch answer"],
    told: Sequence[Told],
    answer_names: Sequence[str],
) -> Figure:
    """A panel for each question: the image or what it is about, the question, the answer given and the right one.

    Bars are the likeliest answers: green the one that is given and right, red one that is given and wrong. A tick marks
    the right answer, which has a bar in any case. Of a long story the end is shown.

    Args:
        batch: the questions.
        probabilities: of each answer.
        told: the questions as text, and what each is about; where there is an image, it is shown instead.
        answer_names: what the answers stand for.
    """
    rows = math.ceil(len(told) / COLUMNS)
    questions = [_lines(question, QUESTION_LETTERS) for question, _ in told]
    height = PANEL_HEIGHT + LINE_HEIGHT * min(max(map(len, questions)), QUESTION_LINES)
    context_box, bars_box = (_below_the_question(box, PANEL_HEIGHT / height) for box in (CONTEXT, BARS))
    figure = Figure(figsize=(WIDTH, height * rows))
    panels = figure.subfigures(rows, COLUMNS, squeeze=False).flatten()
    for item, (panel, lines, (_, context)) in enumerate(zip(panels, questions, told, strict=False)):
        _write(panel, lines[:QUESTION_LINES], context_box, more=len(lines) > QUESTION_LINES)
        if isinstance(batch, ImageQuestions):
            _show_image(panel, batch.image[item], context_box)
        else:
            _tell(panel, context, context_box)
        _draw_answers(panel.add_axes(bars_box), probabilities[item], int(batch.answer[item]), answer_names)
    figure.set_label(
        "Questions, and the likeliest answers with their probabilities; the right answer is ticked, the given one is "
        "green where it is right and red where it is wrong"
    )
    return figure


def kind_figure(accuracies: Mapping[str, float], published: Mapping[str, float | None]) -> Figure:
    """A pair of bars for each kind of question: the accuracy of the run and the published one.

    Args:
        accuracies: from 0 to 1, by kind, drawn from top to bottom.
        published: likewise; None, or left out, where nothing is published.
    """
    compared = any(published.get(name) is not None for name in accuracies)
    thickness = 0.38 if compared else 0.66
    figure = Figure(figsize=(WIDTH, 0.9 + (0.42 if compared else 0.28) * len(accuracies)), layout="constrained")
    axes = figure.subplots()
    for row, (name, accuracy) in enumerate(accuracies.items()):
        other = published.get(name)
        shift = thickness / 2 if other is not None else 0
        _draw_accuracy(axes, row - shift, accuracy, thickness, MEASURED)
        if other is not None:
            _draw_accuracy(axes, row + shift, other, thickness, PUBLISHED)
    axes.set_yticks(range(len(accuracies)), [name.replace("_", " ") for name in accuracies])
    axes.set(xlim=(0, 107), ylim=(len(accuracies) - 0.45, -0.55), xlabel="accuracy (%)", xticks=range(0, 101, 20))
    axes.tick_params(axis="y", length=0)
    open_axes(axes, grid="x")
    if compared:
        handles = [Patch(color=MEASURED, label="this run"), Patch(color=PUBLISHED, label="published")]
        figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    figure.set_label("Accuracy by kind of question" + (": of this run, and published" if compared else ""))
    return figure


def _lines(text: str, letters: int, indent: str = "") -> list[str]:
    return [
        line for paragraph in text.splitlines() for line in textwrap.wrap(paragraph, letters, subsequent_indent=indent)
    ]


def _below_the_question(box: Box, share: float) -> Box:
    """The same box of a panel of which only a share lies below the question."""
    left, bottom, width, height = box
    return left, bottom * share, width, height * share


def _write(panel: SubFigure, lines: Sequence[str], box: Box, *, more: bool) -> None:
    """The question, as a heading."""
    text = "\n".join(lines) + (" \N{HORIZONTAL ELLIPSIS}" if more else "")
    left, bottom, _, height = box
    above = bottom + height + 0.03
    panel.text(left, above, text, fontsize=9, fontweight="bold", va="bottom", parse_math=False)


def _show_image(panel: SubFigure, image: Tensor, box: Box) -> None:
    axes = panel.add_axes(box, anchor="NW")
    # few pixels stay the squares they are
    axes.imshow(image.permute(1, 2, 0).cpu().numpy(), cmap="gray", interpolation="nearest")
    picture_axes(axes)


def _tell(panel: SubFigure, context: str, box: Box) -> None:
    """The end of the story."""
    lines = _lines(context, CONTEXT_LETTERS, indent="   ")
    if len(lines) > CONTEXT_LINES:
        lines = ["\N{HORIZONTAL ELLIPSIS}", *lines[1 - CONTEXT_LINES :]]
    left, bottom, _, height = box
    panel.text(left, bottom + height, "\n".join(lines), fontsize=7.5, va="top", linespacing=1.15, parse_math=False)


def _draw_answers(axes: Axes, probability: Tensor, right: int, names: Sequence[str]) -> None:
    shown = probability.argsort(descending=True)[:MOST_ANSWERS].tolist()
    given = shown[0]
    if right not in (UNKNOWN, *shown):
        shown.append(right)
    judged = UNJUDGED if right == UNKNOWN else RIGHT if given == right else WRONG
    heights = [float(probability[answer]) for answer in shown]
    colours = [judged, *[OTHER] * (len(shown) - 1)]
    bars = axes.barh(range(len(shown)), heights, height=0.62, color=colours)
    axes.bar_label(bars, [f"{100 * height:.0f} %" for height in heights], padding=3, fontsize=8)
    labels = [_cut(names[answer]) + " \N{CHECK MARK}" * (answer == right) for answer in shown]
    axes.set_yticks(range(len(shown)), labels, fontsize=9, parse_math=False)
    axes.get_yticklabels()[0].set(color=judged, fontweight="bold")
    axes.set(xlim=(0, 1), ylim=(MOST_ANSWERS + 0.5, -0.5), xticks=[])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color("0.6")


def _cut(name: str) -> str:
    return name if len(name) <= ANSWER_LETTERS else name[: ANSWER_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _draw_accuracy(axes: Axes, row: float | int, accuracy: float | int, thickness: float, colour: str) -> None:
    bars = axes.barh(row, 100 * accuracy, thickness, color=colour)
    axes.bar_label(bars, [f"{100 * accuracy:.1f}"], padding=3, fontsize=8)
