"""Traffic signs drawn as a camera might see them, in the place of SYN SIGNS (Ganin et al. 2016, section 5.2)."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFilter
from pydantic import PositiveInt

from paperzoo.data.domains.drawing import SIDE as DRAWN
from paperzoo.data.domains.image_domains import ImageDomain
from paperzoo.data.domains.sign_drawings import SIGNS
from paperzoo.data.images.fitting import Fit
from paperzoo.data.images.traffic_signs import SIDE
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.file_set import GENERATED, FileSet
from paperzoo.datamodule import stream_seed

_CHUNK = 500

# Images are made this many times finer and averaged down.
_FINER = 2

# What is behind a sign: sky, leaves, walls, roads, bricks, shade.
_SURROUNDINGS = np.array(
    [[150, 180, 215], [215, 222, 230], [70, 95, 50], [110, 120, 90], [150, 140, 125], [110, 75, 60], [50, 50, 55]],
    dtype=np.float32,
)


class SynSigns(ImageDomain):
    """Drawings of GTSRB's 43 signs, seen at random angles in random light: our own, in the place of SYN SIGNS.

    The 100,000 images of Moiseev et al. 2013 that the paper trains on are offered no more. These are generated, from
    the same seed in every run, and a tenth as many for testing.

    Args:
        images: training images.
        fit: see `ImageDomain`.
    """

    def __init__(self, images: PositiveInt, fit: Fit) -> None:
        convert = partial(convert_syn_signs, images=images)
        super().__init__(
            FileSet(f"syn_signs/{images}", convert, shape=(3, SIDE, SIDE), classes=tuple(SIGNS), terms=GENERATED),
            fit,
        )


def convert_syn_signs(files: Path, writer: ArrayWriter, images: int) -> None:
    """Generates the signs, every class equally often, in as many processes as there are processors."""
    sizes = {"train": images, "test": -(-images // 10)}
    chunks = [
        (part, start, min(_CHUNK, size - start)) for part, size in sizes.items() for start in range(0, size, _CHUNK)
    ]
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(chunks))) as pool:
        for (part, start, size), made in zip(chunks, pool.map(_signs, *zip(*chunks, strict=True)), strict=True):
            writer.append(f"{part}_images", made)
            writer.append(f"{part}_labels", _sign_labels(start, size))


def _sign_labels(start: int, size: int) -> Int64[np.ndarray, " size"]:
    return np.arange(start, start + size, dtype=np.int64) % len(SIGNS)


def _signs(part: str, start: int, size: int) -> UInt8[np.ndarray, "size 3 side side"]:
    """Images `start` to `start + size` of a part."""
    rng = np.random.default_rng(stream_seed("syn signs", part, start))
    return np.stack([photograph(_template(label), rng) for label in _sign_labels(start, size).tolist()])


@cache
def _template(label: int) -> Image.Image:
    """The drawing of a class, colours multiplied by opacity."""
    return list(SIGNS.values())[label]().image.convert("RGBa")


def photograph(sign: Image.Image, rng: np.random.Generator) -> UInt8[np.ndarray, "3 side side"]:
    """A drawn sign as a camera might see it: place, angle, weather, surroundings, light, sharpness, noise at random.

    Args:
        sign: the drawing, in mode RGBa.
        rng: the random stream.
    """
    side = SIDE * _FINER
    seen = sign.transform((side, side), Image.Transform.PERSPECTIVE, _view(rng, side), Image.Resampling.BILINEAR)
    layer = np.asarray(seen, dtype=np.float32)
    colour, opacity = layer[..., :3], layer[..., 3:] / 255
    bleached = rng.uniform(0, 0.35)
    colour = (1 - bleached) * colour + bleached * opacity * colour.mean(-1, keepdims=True)
    scene = (colour + (1 - opacity) * _surroundings(rng, side)) * _light(rng, side)
    image = Image.fromarray(scene.clip(0, 255).astype(np.uint8)).reduce(_FINER)
    return _camera(image, rng)


def _view(rng: np.random.Generator, side: int) -> list[float]:
    """The eight coefficients that take places in the image to places in the drawing."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
    angle = np.deg2rad(rng.normal(0, 5))
    turned = corners @ np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    stretched = turned * rng.uniform(0.78, 1.02) * rng.uniform((0.85, 0.95), (1.0, 1.0))
    seen = side * (stretched + rng.normal(0, 0.05, (1, 2)) + rng.normal(0, 0.035, (4, 2)) + 1) / 2
    drawn = DRAWN * (corners + 1) / 2
    rows = [
        row
        for (x, y), (u, v) in zip(seen, drawn, strict=True)
        for row in ((x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y))
    ]
    return [float(value) for value in np.linalg.solve(np.array(rows), drawn.flatten())]


def _surroundings(rng: np.random.Generator, side: int) -> Float[np.ndarray, "side side 3"]:
    """Soft blotches of the colours of a street, perhaps with an edge across."""
    near, far = _SURROUNDINGS[rng.integers(len(_SURROUNDINGS), size=2)]
    blend = rng.uniform(0, 1, (4, 4, 1)) if rng.random() < 0.5 else np.full((4, 4, 1), rng.uniform(0, 1))
    coarse = blend * near + (1 - blend) * far + rng.normal(0, 25, (4, 4, 1)) + rng.normal(0, 8, (4, 4, 3))
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        top, bottom = rng.uniform(0, side, 2)
        edge = side if rng.random() < 0.5 else 0
        other = tuple(int(value) for value in _SURROUNDINGS[rng.integers(len(_SURROUNDINGS))])
        ImageDraw.Draw(image).polygon([(top, 0), (edge, 0), (edge, side), (bottom, side)], fill=other)
    return np.asarray(image, dtype=np.float32)


def _light(rng: np.random.Generator, side: int) -> Float[np.ndarray, "side side 3"]:
    """By what the light multiplies the colours: brightness, tint, a slope across the image, perhaps a shadow."""
    brightness = np.exp(rng.uniform(np.log(0.25), np.log(1.15)))
    tint = rng.normal(1, 0.06, 3)
    direction, steps = rng.normal(0, 0.15, 2), np.linspace(-1, 1, side)
    slope = 1 + direction[0] * steps[:, None] + direction[1] * steps
    if rng.random() < 0.2:
        border = rng.normal(0, 1, 2)
        slope = np.where(border[0] * steps[:, None] + border[1] * steps > rng.normal(0, 0.5), 0.55, 1) * slope
    return (brightness * tint * slope[..., None]).astype(np.float32)


def _camera(image: Image.Image, rng: np.random.Generator) -> UInt8[np.ndarray, "3 side side"]:
    """Far or near, out of focus, noisy."""
    resolution = int(rng.integers(15, SIDE + 1))
    coarse = image.resize((resolution, resolution), Image.Resampling.BOX)
    blurred = coarse.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.7))).resize(image.size, Image.Resampling.BICUBIC)
    haze, contrast = rng.uniform(0, 60), rng.uniform(0.6, 1)
    noise = rng.normal(0, rng.uniform(0, 8), (SIDE, SIDE, 3))
    values = contrast * np.asarray(blurred, dtype=np.float32) + (1 - contrast) * haze + noise
    return np.moveaxis(values.clip(0, 255).astype(np.uint8), -1, 0)
