"""Line charts as inline SVG, in the colours of the page they stand on."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Number = float | int

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 26, 12, 48
MOST_POINTS = 250
COLOURS = 6  # --c0 ... --c5 in the page's style


@dataclass(frozen=True)
class Curve:
    """(step, value) pairs joined by a line, or, with `level`, one value as a horizontal line."""

    label: str
    points: Sequence[Sequence[Number]] = ()
    level: Number | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Axes:
    """The part of the plane that a chart shows."""

    first: Number
    last: Number
    low: Number
    high: Number

    def x(self, step: Number) -> Number:
        return round(LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: Number) -> Number:
        up = (value - self.low) / (self.high - self.low)
        return round(TOP + (1 - min(max(up, -1.0), 2.0)) * (HEIGHT - TOP - BOTTOM), 1)


def chart(curves: Sequence[Curve]) -> str:
    """An SVG of the curves over the training step, and its legend. NaN and infinite values are left out.

    Long curves are thinned to means of neighbouring points. Where the first values of a training dwarf all others, the
    axis shows the range of the others, and the legend says so.
    """
    lines = [_thinned([(x, y) for x, y in curve.points if math.isfinite(y)]) for curve in curves]
    points = [point for line in lines for point in line]
    if not points:
        return '<p class="dim">No finite value was logged.</p>\n'
    low, high, is_cut = _limits([y for _, y in points], [c.level for c in curves if c.level is not None])
    steps = [x for x, _ in points]
    axes = Axes(min(steps), max(max(steps), min(steps) + 1), low, high)
    drawn = "".join(
        _draw(curve, line, axes, i % COLOURS) for i, (curve, line) in enumerate(zip(curves, lines, strict=True))
    )
    keys = "".join(_legend(curve, i % COLOURS) for i, curve in enumerate(curves))
    cut = '<span class="dim">values outside the axis are not shown</span>' if is_cut else ""
    label = escape("; ".join(curve.label for curve in curves), quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{_grid(axes)}'
        f'<svg x="{LEFT}" y="{TOP - 2}" width="{WIDTH - LEFT - RIGHT + 6}" height="{HEIGHT - TOP - BOTTOM + 4}" '
        f'viewBox="{LEFT} {TOP - 2} {WIDTH - LEFT - RIGHT + 6} {HEIGHT - TOP - BOTTOM + 4}">{drawn}</svg></svg>\n'
        f'<div class="legend">{keys}{cut}</div>\n'
    )


def _thinned(points: Sequence[tuple[Number, Number]]) -> list[tuple[Number, Number]]:
    """At most `MOST_POINTS` points: means of equally many neighbours; the first and the last point stay as they are."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / (MOST_POINTS - 2))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return [points[0], *means, points[-1]]


def _limits(values: Sequence[Number], levels: Iterable[Number]) -> tuple[Number, Number, bool]:
    """Lowest and highest value to show, and whether values lie outside."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    most = ordered[len(ordered) // 20 : len(ordered) - len(ordered) // 20]  # nine tenths
    is_cut = high - low > 5 * (most[-1] - most[0]) > 0
    low, high = (most[0], most[-1]) if is_cut else (low, high)
    low, high = min([low, *levels]), max([high, *levels])
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin, is_cut


def _ticks(low: Number, high: Number) -> list[Number]:
    """Round numbers from `low` to `high`, about five."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _short(value: Number) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1000 if letter == 'k' else size):.6g}{letter}"
    return f"{value:.6g}"


def _grid(axes: Axes) -> str:
    parts = []
    for value in _ticks(axes.low, axes.high):
        y = axes.y(value)
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="var(--grid)"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 5}" text-anchor="end">{_short(value)}</text>')
    for step in (tick for tick in _ticks(axes.first, axes.last) if tick == int(tick)):
        parts.append(f'<text x="{axes.x(step)}" y="{HEIGHT - 26}" text-anchor="middle">{_short(step)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">step</text>')
    return "".join(parts)


def _stroke(curve: Curve, colour: int) -> str:
    if curve.level is not None:
        return 'stroke="var(--ink)" stroke-width="1.4" stroke-dasharray="2 4"'
    dashes = ' stroke-dasharray="7 4"' if curve.dashed else ""
    return f'stroke="var(--c{colour})" stroke-width="2" stroke-linejoin="round"{dashes}'


def _draw(curve: Curve, line: Sequence[tuple[Number, Number]], axes: Axes, colour: int) -> str:
    if curve.level is not None:
        return f'<path d="M{LEFT} {axes.y(curve.level)}H{WIDTH}" fill="none" {_stroke(curve, colour)}/>'
    path = " ".join(f"{axes.x(x)},{axes.y(y)}" for x, y in line)
    drawn = f'<polyline points="{path}" fill="none" {_stroke(curve, colour)}/>' if len(line) > 1 else ""
    if len(line) > 30:
        return drawn
    return drawn + "".join(
        f'<circle cx="{axes.x(x)}" cy="{axes.y(y)}" r="3.2" fill="var(--c{colour})">'
        f"<title>step {x:g}: {y:.6g}</title></circle>"
        for x, y in line
    )


def _legend(curve: Curve, colour: int) -> str:
    mark = f'<svg viewBox="0 0 26 10" aria-hidden="true"><path d="M1 5H25" {_stroke(curve, colour)}/></svg>'
    return f"<span>{mark}{escape(curve.label)}</span>"
