"""Pictures of simple shapes, with transparency."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import matplotlib
from PIL import Image, ImageChops, ImageDraw, ImageFont

Point = tuple[float | int, float | int]
Colour = tuple[int, int, int]

# the side of a drawing, and how much finer it is drawn before it is averaged down
SIDE = 128
_FINER = 3


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf", size)


class Drawing:
    """A picture with transparency of the square from (-1, -1), top left, to (1, 1)."""

    def __init__(self) -> None:
        self._side = SIDE * _FINER
        self._image = Image.new("RGBA", (self._side, self._side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    @property
    def image(self) -> Image.Image:
        """RGBA, `SIDE` x `SIDE`."""
        return self._image.reduce(_FINER)

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [((x + 1) / 2 * self._side, (y + 1) / 2 * self._side) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour, rounding: float | int = 0) -> None:
        """A filled polygon, grown by `rounding` on all sides, with round corners."""
        self._draw.polygon(self._at(points), fill=(*colour, 255))
        if rounding:
            self.stroke([*points, points[0]], 2 * rounding, colour)

    def stroke(self, points: Sequence[Point], width: float | int, colour: Colour) -> None:
        """Lines from point to point with round ends."""
        for start, end in pairwise(self._at(points)):
            self._draw.line([start, end], fill=(*colour, 255), width=round(width / 2 * self._side))
        for point in points:
            self.disc(point, width / 2, colour)

    def disc(self, centre: Point, radius: float | int, colour: Colour) -> None:
        (x, y), r = centre, radius
        self._draw.ellipse([*self._at([(x - r, y - r)])[0], *self._at([(x + r, y + r)])[0]], fill=(*colour, 255))

    def ring(self, centre: Point, radius: float | int, width: float | int, colour: Colour) -> None:
        """A circle; `radius` is its outer one."""
        self.arc(centre, radius, width, 0, 360, colour)

    def arc(self, centre: Point, radius: float | int, width: float | int, start: int, end: int, colour: Colour) -> None:
        """Part of a circle, clockwise in degrees from 3 o'clock."""
        (x, y), r = centre, radius
        box = [*self._at([(x - r, y - r)])[0], *self._at([(x + r, y + r)])[0]]
        self._draw.arc(box, start, end, fill=(*colour, 255), width=round(width / 2 * self._side))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def text(self, text: str, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Text stretched to fill a box."""
        font = _font(self._side // 2)
        corners = font.getbbox(text)
        mask = Image.new("L", (round(corners[2] - corners[0]), round(corners[3] - corners[1])))
        ImageDraw.Draw(mask).text((-corners[0], -corners[1]), text, fill=255, font=font)
        (x0, y0), (x1, y1) = self._at([(left, top), (right, bottom)])
        mask = mask.resize((round(x1 - x0), round(y1 - y0)), Image.Resampling.BILINEAR)
        self._image.paste((*colour, 255), (round(x0), round(y0)), mask)

    def keep_inside(self, shape: "Drawing") -> None:
        """Cuts off what lies outside of another drawing."""
        self._image.putalpha(ImageChops.multiply(self._image.getchannel("A"), shape._image.getchannel("A")))
