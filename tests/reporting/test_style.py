"""What all figures share."""

import itertools
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from paperzoo.reporting import style
from paperzoo.tasks.adaptation.figures import CLASS_COLOURS

PACKAGE = Path(style.__file__).parents[1]
PALE = 0.5  # of the luminance of white


def luminance(colour):
    """Relative luminance, as WCAG defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("count", "rows", "spare"), [(1, 1, 0), (4, 1, 0), (5, 2, 3), (8, 2, 0)])
def test_panels_stand_four_a_row_and_spare_places_stay_empty(count, rows, spare):
    figure, axes = style.panels(count, width=2, height=3, more_height=1)
    assert len(axes) == count
    assert figure.get_size_inches().tolist() == [2 * min(count, 4), 3 * rows + 1]
    assert sum(not place.axison for place in figure.axes) == spare
    assert all(place.axison for place in axes)


def test_a_figure_of_few_panels_is_as_wide_as_its_title_needs():
    figure, _ = style.panels(1, width=2, height=3, least_width=6.5)
    assert figure.get_size_inches()[0] == 6.5


def test_colours_in_an_order_differ_and_get_lighter():
    colours = [style.ordered_colour(place, 6) for place in range(6)]
    brightness = [sum(colour[:3]) for colour in colours]
    assert brightness == sorted(brightness)
    assert len(set(colours)) == 6
    assert len(style.ordered_colour(0, 1)) == 4


def test_the_colours_of_the_palette_are_far_apart():
    palette = [to_rgb(colour) for colour in (style.BLUE, style.VERMILION, style.GREEN, style.GREY, style.LIGHT_GREY)]
    for one, other in itertools.combinations(palette, 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > 0.05


def test_no_figure_spells_a_colour_of_the_palette_itself():
    palette = (style.BLUE, style.VERMILION, style.GREEN, style.GREY, style.LIGHT_GREY)
    spelled = [path.name for path in PACKAGE.rglob("*.py") if any(colour in path.read_text() for colour in palette)]
    assert spelled == ["style.py"]


def test_what_is_open_has_no_frame_above_and_on_the_right_and_a_picture_no_ticks():
    _, (opened, picture) = style.panels(2, 2, 2)
    style.open_axes(opened)
    style.picture_axes(picture)
    assert [side for side in opened.spines if opened.spines[side].get_visible()] == ["left", "bottom"]
    assert not picture.get_xticks().size and not picture.get_yticks().size


def test_no_curve_and_no_class_is_pale_on_white():
    for colour in (*(style.ordered_colour(place, 21) for place in range(21)), *CLASS_COLOURS):
        assert luminance(colour) < PALE


def test_a_bar_of_colours_gives_each_number_its_own():
    figure = Figure()
    axes = figure.subplots()
    colours = style.ordered_bar(figure, axes, [17, 20, 37], label="givens")
    assert luminance(colours[0]) < luminance(colours[1]) < luminance(colours[2])
    assert figure.axes[1].get_ylabel() == "givens"
