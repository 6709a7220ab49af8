"""Facts about the figures of question answering."""

from itertools import pairwise

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from paperzoo.batches import UNKNOWN, ImageQuestions, ObjectQuestions, StoryQuestions, Told
from paperzoo.reporting.figures import to_png
from paperzoo.tasks.question_figures import OTHER, RIGHT, UNJUDGED, WRONG, answer_figure, kind_figure

NAMES = ["yes", "no", "circle", "square", "blue"]
PROBABILITIES = torch.tensor([[0.1, 0.5, 0.05, 0.05, 0.3]])


def asked(answer: int, story: str = "", question: str = "Is it?", names: list[str] = NAMES) -> Figure:
    """One question about a story, to which `names[1]` is answered."""
    symbols = torch.ones(1, 1, dtype=torch.long)
    batch = StoryQuestions(symbols[None], symbols, torch.tensor([answer]), torch.tensor([0]))
    return answer_figure(batch, PROBABILITIES, [Told(question, story)], names)


def bars_of(axes: Axes) -> dict[str, tuple[float, object]]:
    """Length and colour of each bar by its label."""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return {label: (bar.get_width(), bar.get_facecolor()) for label, bar in zip(labels, axes.patches, strict=True)}


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for panel in figure.subfigs for text in panel.texts]


@pytest.mark.parametrize(
    ("answer", "labels", "colour"),
    [
        (1, ["no ✓", "blue", "yes"], RIGHT),
        (4, ["no", "blue ✓", "yes"], WRONG),
        (3, ["no", "blue", "yes", "square ✓"], WRONG),
        (UNKNOWN, ["no", "blue", "yes"], UNJUDGED),
    ],
)
def test_the_likeliest_answers_are_judged_and_the_right_one_is_ticked(answer, labels, colour):
    bars = bars_of(asked(answer).axes[0])
    assert list(bars) == labels
    lengths, colours = zip(*bars.values(), strict=True)
    assert lengths == pytest.approx([0.5, 0.3, 0.1, 0.05][: len(labels)])
    assert same_color(colours[0], colour)
    assert all(same_color(other, OTHER) for other in colours[1:])


def test_two_answers_have_two_bars():
    symbols = torch.ones(1, 1, dtype=torch.long)
    batch = StoryQuestions(symbols[None], symbols, torch.tensor([0]), torch.tensor([0]))
    figure = answer_figure(batch, torch.tensor([[0.8, 0.2]]), [Told("Is it?")], ["yes", "no"])
    assert list(bars_of(figure.axes[0])) == ["yes ✓", "no"]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_pixel_by_pixel(channels):
    image = torch.randint(0, 256, (3, channels, 75, 75), dtype=torch.uint8)
    symbols = torch.zeros(3, 11, dtype=torch.long)
    batch = ImageQuestions(image, symbols, torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.long))
    figure = answer_figure(batch, PROBABILITIES.expand(3, -1), [Told("Is it?")] * 3, NAMES)
    shown = [axes.images[0] for axes in figure.axes if axes.images]
    assert [drawn.get_interpolation() for drawn in shown] == ["nearest"] * 3
    for drawn, pixels in zip(shown, image, strict=True):
        assert torch.equal(torch.as_tensor(drawn.get_array()).reshape(75, 75, channels), pixels.permute(1, 2, 0))
    to_png(figure, "")


def test_objects_are_told():
    symbols = torch.ones(1, 1, dtype=torch.long)
    batch = ObjectQuestions(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), symbols, symbols[0], symbols[0])
    assert "a red circle" in texts_of(answer_figure(batch, PROBABILITIES, [Told("Is it?", "a red circle")], NAMES))


def test_of_a_long_story_the_end_is_told():
    told = texts_of(asked(0, "\n".join(f"Sentence {number}." for number in range(1, 21))))[1].splitlines()
    assert told[0] == "…"
    assert told[-1] == "Sentence 20."
    assert len(told) == 16


def test_a_story_that_fits_is_told_in_full():
    assert texts_of(asked(0, "Mary left.\nJohn came."))[1] == "Mary left.\nJohn came."


def test_no_text_leaves_its_panel_or_runs_into_the_bars():
    figure = asked(
        1, "Sandra went back to the bathroom. " * 30, "what is it " * 40, ["no", "football,apple,milk", *NAMES[2:]]
    )
    to_png(figure, "")
    question, story = figure.subfigs[0].texts
    labels = figure.axes[0].get_yticklabels()
    panel = figure.subfigs[0].bbox
    for text in (question, story, *labels):
        box = text.get_window_extent()
        assert panel.x0 <= box.x0 and box.x1 <= panel.x1
        assert panel.y0 <= box.y0 and box.y1 <= panel.y1
    assert story.get_window_extent().y1 <= question.get_window_extent().y0
    assert story.get_window_extent().x1 <= min(label.get_window_extent().x0 for label in labels)


def test_dollars_are_no_formulas():
    to_png(asked(0, "It costs $3 or $", "Is it $x_$?", ["$\\a$", "$_$", "^", "_", "$"]), "")


def test_a_kind_has_a_bar_for_the_run_and_one_for_what_is_published():
    axes = kind_figure({"non_relational": 0.9, "count": 0.25}, {"non_relational": 0.94, "count": None}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["non relational", "count"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([90, 94, 25])
    assert [text.get_text() for text in axes.texts] == ["90.0", "94.0", "25.0"]
    first, second, alone = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert (first + second) / 2 == pytest.approx(0)
    assert alone == pytest.approx(1)


def test_only_a_comparison_has_a_legend():
    assert kind_figure({"a": 0.5, "b": 1.0}, {"a": 0.4}).legends
    assert not kind_figure({"a": 0.5, "b": 1.0}, {"a": None}).legends


@pytest.mark.parametrize("kinds", [3, 20])
def test_bars_of_few_and_many_kinds_do_not_overlap(kinds):
    names = [f"kind_{number}" for number in range(kinds)]
    axes = kind_figure(dict.fromkeys(names, 0.5), dict.fromkeys(names, 0.6)).axes[0]
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert len(spans) == 2 * kinds
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(spans))
