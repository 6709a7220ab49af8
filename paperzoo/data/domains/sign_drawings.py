"""German traffic signs, drawn as simple pictograms: the 43 classes of GTSRB (Stallkamp et al. 2012), in its order."""

from collections.abc import Callable, Sequence
from functools import partial

from paperzoo.data.domains.drawing import Colour, Drawing, Point

RED, BLUE, YELLOW = (196, 22, 34), (16, 74, 160), (250, 196, 0)
WHITE, BLACK, GREY, GREEN = (245, 245, 245), (18, 18, 20), (110, 110, 112), (0, 130, 70)

_TRIANGLE = ((0.0, -0.80), (0.86, 0.69), (-0.86, 0.69))
_OCTAGON = (
    (-0.4, -0.96),
    (0.4, -0.96),
    (0.96, -0.4),
    (0.96, 0.4),
    (0.4, 0.96),
    (-0.4, 0.96),
    (-0.96, 0.4),
    (-0.96, -0.4),
)


def _prohibition() -> Drawing:
    drawing = Drawing()
    drawing.disc((0, 0), 0.97, RED)
    drawing.disc((0, 0), 0.74, WHITE)
    return drawing


def _end() -> Drawing:
    drawing = Drawing()
    drawing.disc((0, 0), 0.97, GREY)
    drawing.disc((0, 0), 0.93, WHITE)
    return drawing


def _strike(drawing: Drawing) -> Drawing:
    """The black lines across a sign that ends a limit."""
    for offset in (-0.24, -0.12, 0.0, 0.12, 0.24):
        drawing.stroke([(-0.75 + offset, 0.75 + offset), (0.75 + offset, -0.75 + offset)], 0.055, BLACK)
    edge = Drawing()
    edge.disc((0, 0), 0.97, WHITE)
    drawing.keep_inside(edge)
    return drawing


def _order() -> Drawing:
    drawing = Drawing()
    drawing.disc((0, 0), 0.97, WHITE)
    drawing.disc((0, 0), 0.93, BLUE)
    return drawing


def _warning() -> Drawing:
    drawing = Drawing()
    drawing.polygon(_TRIANGLE, RED, rounding=0.13)
    drawing.polygon([(0.68 * x, 0.68 * y + 0.07) for x, y in _TRIANGLE], WHITE, rounding=0.04)
    return drawing


def _speed_limit(limit: int) -> Drawing:
    drawing = _prohibition()
    half = 0.5 if limit < 100 else 0.6
    drawing.text(str(limit), -half, -0.36, half, 0.36, BLACK)
    return drawing


def _end_of_80() -> Drawing:
    drawing = _end()
    drawing.text("80", -0.5, -0.36, 0.5, 0.36, GREY)
    return _strike(drawing)


def _car(drawing: Drawing, x: float, colour: Colour) -> None:
    """A car from behind."""
    drawing.polygon([(x - 0.17, -0.02), (x - 0.11, -0.24), (x + 0.11, -0.24), (x + 0.17, -0.02)], colour, 0.03)
    drawing.box(x - 0.25, -0.03, x + 0.25, 0.17, colour)
    drawing.box(x - 0.25, 0.15, x - 0.12, 0.27, colour)
    drawing.box(x + 0.12, 0.15, x + 0.25, 0.27, colour)
    drawing.polygon([(x - 0.12, -0.05), (x - 0.08, -0.19), (x + 0.08, -0.19), (x + 0.12, -0.05)], WHITE)


def _lorry(drawing: Drawing, x: float, colour: Colour) -> None:
    """A lorry from behind."""
    drawing.box(x - 0.27, -0.36, x + 0.27, 0.14, colour)
    drawing.box(x - 0.25, 0.12, x - 0.10, 0.3, colour)
    drawing.box(x + 0.10, 0.12, x + 0.25, 0.3, colour)


def _no_passing(left: Callable[[Drawing, float, Colour], None]) -> Drawing:
    drawing = _prohibition()
    left(drawing, -0.33, RED)
    _car(drawing, 0.33, BLACK)
    return drawing


def _end_of_no_passing(left: Callable[[Drawing, float, Colour], None]) -> Drawing:
    drawing = _end()
    left(drawing, -0.33, GREY)
    _car(drawing, 0.33, GREY)
    return _strike(drawing)


def _right_of_way() -> Drawing:
    drawing = _warning()
    drawing.stroke([(0, 0.5), (0, -0.15)], 0.15, BLACK)
    drawing.polygon([(0, -0.42), (0.16, -0.1), (-0.16, -0.1)], BLACK)
    drawing.stroke([(-0.27, 0.24), (0.27, 0.24)], 0.1, BLACK)
    return drawing


def _priority_road() -> Drawing:
    drawing = Drawing()
    for size, colour in ((0.94, GREY), (0.91, WHITE), (0.60, YELLOW)):
        drawing.polygon([(0, -size), (size, 0), (0, size), (-size, 0)], colour, 0.03)
    return drawing


def _yield() -> Drawing:
    drawing = Drawing()
    drawing.polygon([(x, -y) for x, y in _TRIANGLE], RED, rounding=0.13)
    drawing.polygon([(0.58 * x, -0.58 * y - 0.09) for x, y in _TRIANGLE], WHITE, rounding=0.04)
    return drawing


def _stop() -> Drawing:
    drawing = Drawing()
    drawing.polygon(_OCTAGON, WHITE)
    drawing.polygon([(0.93 * x, 0.93 * y) for x, y in _OCTAGON], RED)
    drawing.text("STOP", -0.74, -0.31, 0.74, 0.31, WHITE)
    return drawing


def _no_lorries() -> Drawing:
    drawing = _prohibition()
    drawing.box(-0.5, -0.3, 0.16, 0.18, BLACK)
    drawing.polygon([(0.2, 0.18), (0.2, -0.12), (0.36, -0.12), (0.5, 0.04), (0.5, 0.18)], BLACK)
    for x in (-0.34, -0.12, 0.34):
        drawing.disc((x, 0.22), 0.1, BLACK)
        drawing.disc((x, 0.22), 0.04, WHITE)
    return drawing


def _no_entry() -> Drawing:
    drawing = Drawing()
    drawing.disc((0, 0), 0.97, WHITE)
    drawing.disc((0, 0), 0.94, RED)
    drawing.box(-0.7, -0.19, 0.7, 0.19, WHITE)
    return drawing


def _caution() -> Drawing:
    drawing = _warning()
    drawing.polygon([(-0.1, -0.36), (0.1, -0.36), (0.06, 0.2), (-0.06, 0.2)], BLACK, 0.02)
    drawing.disc((0, 0.4), 0.11, BLACK)
    return drawing


def _curve(side: int) -> Drawing:
    """`side`: -1 for a curve to the left, 1 to the right."""
    drawing = _warning()
    bend = [(-0.12, 0.52), (-0.12, 0.22), (-0.06, 0.08), (0.06, -0.04), (0.12, -0.12)]
    drawing.stroke([(side * x, y) for x, y in bend], 0.15, BLACK)
    drawing.polygon([(side * x, y) for x, y in ((0.26, -0.32), (0.26, 0.06), (-0.06, -0.2))], BLACK)
    return drawing


def _double_curve() -> Drawing:
    drawing = _warning()
    drawing.stroke([(0.1, 0.52), (0.1, 0.36), (-0.1, 0.2), (-0.1, 0.06), (0.08, -0.1)], 0.14, BLACK)
    drawing.polygon([(0.2, -0.32), (0.2, 0.02), (-0.06, -0.2)], BLACK)
    return drawing


def _bumps() -> Drawing:
    drawing = _warning()
    for x in (-0.22, 0.22):
        drawing.disc((x, 0.34), 0.2, BLACK)
    drawing.box(-0.52, 0.34, 0.52, 0.46, BLACK)
    drawing.box(-0.5, 0.46, 0.5, 0.56, WHITE)
    return drawing


def _slippery() -> Drawing:
    drawing = _warning()
    drawing.polygon([(-0.08, -0.18), (0.0, -0.34), (0.18, -0.28), (0.18, -0.1)], BLACK, 0.03)
    drawing.polygon([(-0.15, 0.02), (-0.1, -0.16), (0.26, -0.04), (0.2, 0.14)], BLACK, 0.03)
    for x in (-0.12, 0.2):
        wobble = [(x, 0.18), (x - 0.1, 0.28), (x + 0.02, 0.38), (x - 0.12, 0.52)]
        drawing.stroke(wobble, 0.075, BLACK)
    return drawing


def _narrows_on_right() -> Drawing:
    drawing = _warning()
    drawing.stroke([(-0.2, 0.5), (-0.2, -0.14)], 0.11, BLACK)
    drawing.stroke([(0.32, 0.5), (0.32, 0.3), (0.12, 0.08), (0.12, -0.14)], 0.11, BLACK)
    return drawing


def _road_work() -> Drawing:
    drawing = _warning()
    drawing.disc((-0.04, -0.28), 0.09, BLACK)
    drawing.stroke([(-0.06, -0.16), (-0.2, 0.12)], 0.15, BLACK)
    drawing.stroke([(-0.2, 0.12), (-0.06, 0.28), (-0.12, 0.5)], 0.09, BLACK)
    drawing.stroke([(-0.2, 0.12), (-0.3, 0.32), (-0.4, 0.5)], 0.09, BLACK)
    drawing.stroke([(-0.06, -0.14), (0.08, 0.02), (0.18, 0.1)], 0.07, BLACK)
    drawing.stroke([(-0.14, 0.02), (0.3, 0.3)], 0.05, BLACK)
    drawing.polygon([(0.16, 0.54), (0.36, 0.28), (0.54, 0.54)], BLACK)
    return drawing


def _traffic_lights() -> Drawing:
    drawing = _warning()
    drawing.polygon([(-0.12, -0.28), (0.12, -0.28), (0.12, 0.46), (-0.12, 0.46)], BLACK, 0.05)
    for y, colour in ((-0.2, RED), (0.09, YELLOW), (0.38, GREEN)):
        drawing.disc((0, y), 0.11, colour)
    return drawing


def _person(drawing: Drawing, x: float, feet: float, height: float) -> None:
    """Somebody who walks to the left."""

    def at(*points: Point) -> list[Point]:
        return [(x + height * px, feet + height * py) for px, py in points]

    drawing.disc(at((0.02, -0.9))[0], 0.1 * height, BLACK)
    drawing.stroke(at((0.02, -0.72), (0.02, -0.42)), 0.19 * height, BLACK)
    drawing.stroke(at((0.02, -0.42), (-0.14, -0.2), (-0.2, 0)), 0.1 * height, BLACK)
    drawing.stroke(at((0.04, -0.42), (0.14, -0.22), (0.24, 0)), 0.1 * height, BLACK)
    drawing.stroke(at((0.0, -0.72), (-0.2, -0.5)), 0.08 * height, BLACK)
    drawing.stroke(at((0.04, -0.72), (0.22, -0.48)), 0.08 * height, BLACK)


def _pedestrians() -> Drawing:
    drawing = _warning()
    _person(drawing, 0.0, 0.42, 0.8)
    for x in (-0.45, -0.22, 0.01, 0.24):
        drawing.box(x, 0.46, x + 0.15, 0.56, BLACK)
    return drawing


def _children() -> Drawing:
    drawing = _warning()
    _person(drawing, -0.14, 0.54, 0.78)
    _person(drawing, 0.25, 0.54, 0.56)
    return drawing


def _bicycles() -> Drawing:
    drawing = _warning()
    for x in (-0.28, 0.28):
        drawing.ring((x, 0.32), 0.22, 0.07, BLACK)
    drawing.stroke([(-0.28, 0.32), (-0.14, 0.06), (0.16, 0.06), (0.28, 0.32)], 0.06, BLACK)
    drawing.stroke([(-0.14, 0.06), (0.0, 0.32), (0.16, 0.06), (0.14, -0.06)], 0.06, BLACK)
    drawing.stroke([(0.0, 0.32), (-0.28, 0.32)], 0.06, BLACK)
    drawing.stroke([(-0.24, -0.02), (-0.1, -0.02)], 0.07, BLACK)
    drawing.stroke([(0.04, -0.08), (0.2, -0.06)], 0.06, BLACK)
    return drawing


def _snow() -> Drawing:
    drawing = _warning()
    for dx, dy in ((0.0, 0.36), (0.31, 0.18), (0.31, -0.18)):
        drawing.stroke([(-dx, 0.18 - dy), (dx, 0.18 + dy)], 0.07, BLACK)
        for sign in (-1, 1):
            tip, across = (sign * dx * 0.62, 0.18 + sign * dy * 0.62), (-dy * 0.3, dx * 0.3)
            outside = (sign * dx * 0.3, sign * dy * 0.3)
            for turn in (-1, 1):
                end = (tip[0] + outside[0] + turn * across[0], tip[1] + outside[1] + turn * across[1])
                drawing.stroke([tip, end], 0.05, BLACK)
    return drawing


def _deer() -> Drawing:
    drawing = _warning()
    drawing.polygon([(-0.2, 0.04), (0.22, 0.0), (0.26, 0.2), (-0.18, 0.22)], BLACK, 0.04)
    drawing.stroke([(-0.2, 0.08), (-0.3, -0.12)], 0.12, BLACK)
    drawing.stroke([(-0.28, -0.14), (-0.42, -0.06)], 0.09, BLACK)
    drawing.stroke([(-0.27, -0.16), (-0.16, -0.26), (-0.2, -0.4)], 0.04, BLACK)
    drawing.stroke([(-0.16, -0.26), (-0.06, -0.34)], 0.04, BLACK)
    drawing.stroke([(-0.16, 0.2), (-0.34, 0.36), (-0.42, 0.28)], 0.06, BLACK)
    drawing.stroke([(-0.1, 0.2), (-0.22, 0.42), (-0.34, 0.46)], 0.06, BLACK)
    drawing.stroke([(0.22, 0.18), (0.2, 0.36), (0.32, 0.52)], 0.06, BLACK)
    drawing.stroke([(0.26, 0.14), (0.36, 0.34), (0.46, 0.46)], 0.06, BLACK)
    return drawing


def _arrow(drawing: Drawing, points: Sequence[Point]) -> Drawing:
    """A white arrow along `points`, its head at the last."""
    (x, y), (before_x, before_y) = points[-1], points[-2]
    length = ((x - before_x) ** 2 + (y - before_y) ** 2) ** 0.5
    along = ((x - before_x) / length, (y - before_y) / length)
    base = (x - 0.34 * along[0], y - 0.34 * along[1])
    drawing.stroke([*points[:-1], base], 0.22, WHITE)
    across = (-0.33 * along[1], 0.33 * along[0])
    drawing.polygon(
        [(x, y), (base[0] + across[0], base[1] + across[1]), (base[0] - across[0], base[1] - across[1])], WHITE
    )
    return drawing


def _directions(*arrows: Sequence[Point]) -> Drawing:
    drawing = _order()
    for points in arrows:
        _arrow(drawing, points)
    return drawing


_AHEAD = ((0.0, 0.62), (0.0, -0.68))


def _turn(side: int) -> Drawing:
    return _directions([(side * x, y) for x, y in ((-0.28, 0.58), (-0.28, -0.06), (0.62, -0.06))])


def _ahead_or(side: int) -> Drawing:
    up, aside = ((-0.2, 0.62), (-0.2, -0.7)), ((-0.2, 0.2), (0.1, 0.2), (0.66, 0.2))
    return _directions(*([(side * x, y) for x, y in points] for points in (up, aside)))


def _keep(side: int) -> Drawing:
    return _directions([(-0.42 * side, -0.42), (0.5 * side, 0.5)])


def _roundabout() -> Drawing:
    drawing = _order()
    for start, (tip_x, tip_y), (base_x, base_y) in (
        (-160, (0.5, -0.02), (0.5, -0.34)),
        (-40, (-0.24, 0.48), (0.06, 0.6)),
        (80, (-0.3, -0.44), (-0.42, -0.14)),
    ):
        drawing.arc((0, 0), 0.6, 0.18, start, start + 90, WHITE)
        across = ((tip_y - base_y) * 0.75, -(tip_x - base_x) * 0.75)
        points = [(tip_x, tip_y), (base_x + across[0], base_y + across[1]), (base_x - across[0], base_y - across[1])]
        drawing.polygon(points, WHITE)
    return drawing


SIGNS: dict[str, Callable[[], Drawing]] = {
    "speed limit 20": partial(_speed_limit, 20),
    "speed limit 30": partial(_speed_limit, 30),
    "speed limit 50": partial(_speed_limit, 50),
    "speed limit 60": partial(_speed_limit, 60),
    "speed limit 70": partial(_speed_limit, 70),
    "speed limit 80": partial(_speed_limit, 80),
    "end of speed limit 80": _end_of_80,
    "speed limit 100": partial(_speed_limit, 100),
    "speed limit 120": partial(_speed_limit, 120),
    "no passing": partial(_no_passing, _car),
    "no passing for lorries": partial(_no_passing, _lorry),
    "right of way": _right_of_way,
    "priority road": _priority_road,
    "yield": _yield,
    "stop": _stop,
    "no vehicles": _prohibition,
    "no lorries": _no_lorries,
    "no entry": _no_entry,
    "caution": _caution,
    "curve to the left": partial(_curve, -1),
    "curve to the right": partial(_curve, 1),
    "double curve": _double_curve,
    "bumpy road": _bumps,
    "slippery road": _slippery,
    "road narrows on the right": _narrows_on_right,
    "road work": _road_work,
    "traffic lights": _traffic_lights,
    "pedestrians": _pedestrians,
    "children": _children,
    "bicycles": _bicycles,
    "ice and snow": _snow,
    "wild animals": _deer,
    "end of all limits": lambda: _strike(_end()),
    "turn right": partial(_turn, 1),
    "turn left": partial(_turn, -1),
    "ahead only": partial(_directions, _AHEAD),
    "ahead or right": partial(_ahead_or, 1),
    "ahead or left": partial(_ahead_or, -1),
    "keep right": partial(_keep, 1),
    "keep left": partial(_keep, -1),
    "roundabout": _roundabout,
    "end of no passing": partial(_end_of_no_passing, _car),
    "end of no passing for lorries": partial(_end_of_no_passing, _lorry),
}
"""How to draw each class, by its name."""
