"""Line charts as plain numbers and text, which `chart.html` draws as SVG in the colours of the page they stand on."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Number = float | int
Point = tuple[Number, Number]

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 26, 12, 48
MOST_POINTS = 250
MOST_NAMED = 6
SHADES = 8  # --o0 ... --o7 of the style sheet, for curves that have an order
STAGES = ("train", "val", "test")  # each has its colour, on every chart of every page
NO_VALUE = "No finite value was logged."


@dataclass(frozen=True)
class Curve:
    """(x, value) pairs joined by a line, or, with `level`, one value as a horizontal line.

    Attributes:
        label: its name.
        points: in the order of x.
        level: instead of points.
        colour: its class in the style sheet: a stage, `earlier`, `published`, or a shade.
        job: what a table of the same page calls it.
    """

    label: str
    points: Sequence[Sequence[Number]] = ()
    level: Number | None = None
    colour: str = "train"
    job: int | None = None


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn.

    Attributes:
        curve: what is drawn.
        points: the places, as SVG writes them.
        values: the (x, value) pairs of the same places, as text: what a reader who points there is told.
        level: the height, of a horizontal line.
        last: the last value, in words.
    """

    curve: Curve
    points: Sequence[str] = ()
    values: str = ""
    level: Number | None = None
    last: str = ""


@dataclass(frozen=True)
class Axes:
    """The part of the plane that a chart shows, and the size of the picture."""

    first: Number
    last: Number
    low: Number
    high: Number

    def x(self, value: Number) -> Number:
        return round(LEFT + (value - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: Number) -> Number:
        up = (value - self.low) / (self.high - self.low)
        return round(TOP + (1 - min(max(up, -1.0), 2.0)) * (HEIGHT - TOP - BOTTOM), 1)


@dataclass(frozen=True)
class Chart:
    """All that `chart.html` needs.

    Attributes:
        title: what the values are.
        lines: back to front.
        x_ticks: place and text.
        y_ticks: place and text.
        x_title: what the curves run over.
        is_cut: whether values lie outside of the axes.
        ends: what the first and the last shade stand for, if the curves are too many for a name each.
        note: said in place of a chart that has nothing to show.
    """

    title: str
    lines: Sequence[Line] = ()
    x_ticks: Sequence[tuple[Number, str]] = ()
    y_ticks: Sequence[tuple[Number, str]] = ()
    x_title: str = "step"
    is_cut: bool = False
    ends: tuple[str, str] | None = None
    note: str = ""
    width: int = field(default=WIDTH, init=False)
    height: int = field(default=HEIGHT, init=False)
    left: int = field(default=LEFT, init=False)
    right: int = field(default=WIDTH - RIGHT, init=False)
    top: int = field(default=TOP, init=False)
    bottom: int = field(default=HEIGHT - BOTTOM, init=False)


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    x_title: str = "step",
    from_zero: bool = True,
    most_points: int = MOST_POINTS,
    most_named: int = MOST_NAMED,
) -> Chart:
    """The curves on common axes. NaN and infinite values are left out.

    Long curves are thinned to means of neighbouring points. Where the first values of a training dwarf all others, the
    axis shows the range of the others, and the chart says so.

    Args:
        title: what the values are.
        curves: back to front.
        x_title: what they run over.
        from_zero: whether the axis of x begins at 0.
        most_points: of a curve.
        most_named: curves with a legend each; of more, a bar of their shades is shown, and the names at its ends.
    """
    finite = [(curve, _thinned([(x, y) for x, y in curve.points if math.isfinite(y)], most_points)) for curve in curves]
    drawn = [(curve, points) for curve, points in finite if points or curve.level is not None]
    points = [point for _, line in drawn for point in line]
    if not points:
        return Chart(title, note=NO_VALUE)
    low, high, is_cut = _limits([y for _, y in points], [c.level for c, _ in drawn if c.level is not None])
    places = [x for x, _ in points]
    first = min(0, *places) if from_zero else min(places)
    axes = Axes(first, max(max(places), first + 1), low, high)
    named = [curve for curve, _ in drawn if curve.level is None]
    return Chart(
        title,
        [_line(curve, line, axes) for curve, line in drawn],
        [(axes.x(tick), short(tick)) for tick in ticks(axes.first, axes.last) if tick == int(tick)],
        [(axes.y(tick), short(tick)) for tick in ticks(axes.low, axes.high)],
        x_title,
        is_cut,
        (named[0].label, named[-1].label) if len(named) > most_named else None,
    )


def shade(place: int, count: int) -> str:
    """The class of a curve that is number `place` of `count` in an order."""
    return f"o{round(place / max(count - 1, 1) * (SHADES - 1))}"


def _line(curve: Curve, points: Sequence[Point], axes: Axes) -> Line:
    if curve.level is not None:
        return Line(curve, level=axes.y(curve.level), last=f"{curve.level:.6g}")
    places = [f"{axes.x(x)},{axes.y(y)}" for x, y in points]
    values = ";".join(f"{_tidy(x)} {y:.5g}" for x, y in points)
    return Line(curve, places, values, last=f"{points[-1][1]:.5g}")


def _tidy(x: Number) -> str:
    return f"{round(x)}" if abs(x) >= 100 else f"{x:.4g}"


def _thinned(points: Sequence[Point], most: int) -> Sequence[Point]:
    """At most so many points: means of equally many neighbours; the first and the last point stay as they are."""
    if len(points) <= most:
        return points
    size = math.ceil(len(points) / (most - 2))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return [points[0], *means, points[-1]]


def _limits(values: Iterable[Number], levels: Sequence[Number]) -> tuple[Number, Number, bool]:
    """Lowest and highest value to show, and whether values lie outside."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    most = ordered[len(ordered) // 20 : len(ordered) - len(ordered) // 20]  # nine tenths
    is_cut = high - low > 5 * (most[-1] - most[0]) > 0
    low, high = (most[0], most[-1]) if is_cut else (low, high)
    low, high = min([low, *levels]), max([high, *levels])
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin, is_cut


def ticks(low: Number, high: Number) -> list[Number]:
    """Round numbers from `low` to `high`, about five."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def short(value: Number) -> str:
    """A number for an axis: `10k`, `1.5M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1000 if letter == 'k' else size):.6g}{letter}"
    return f"{value:.6g}"


def families(names: Iterable[str], numbered: int = 3, worded: int = 4) -> Iterator[tuple[str, list[str]]]:
    """Quantities that begin alike and belong on one chart: `solved_givens17`, `solved_givens18`, ...

    Those that end in a number count first, in the order of their numbers; then those with the same first word.

    Args:
        names: of quantities.
        numbered: so many make a family.
        worded: so many make a family, of those without numbers.

    Yields:
        What the members share, and the members.
    """
    left = list(dict.fromkeys(names))
    for key, most in ((_stem, numbered), (_first_word, worded)):
        groups: dict[str, list[str]] = {}
        for name in left:
            if beginning := key(name):
                groups.setdefault(beginning, []).append(name)
        for beginning, members in groups.items():
            if len(members) >= most:
                left = [name for name in left if name not in members]
                yield beginning, sorted(members, key=lambda name: member_number(name) or 0)


def _stem(name: str) -> str:
    return name.rstrip("0123456789") if name[-1:].isdigit() else ""


def member_number(name: str) -> int | None:
    """The number in which a member of a family ends; None without one."""
    stem = _stem(name)
    return int(name[len(stem) :]) if stem else None


def _first_word(name: str) -> str:
    word, underscore, _ = name.partition("_")
    return word + underscore if underscore else ""


def pattern(beginning: str) -> str:
    """What families that differ in a number share: `solved_n#_rounds`."""
    return re.sub(r"\d+", "#", beginning)
