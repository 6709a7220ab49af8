"""`figures/*.png` of a run: pictures that carry their caption and their place."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

FOLDER = "figures"
CAPTION_KEY = "Description"  # of PNG's standard text keywords
ORDER_KEY = "Order"  # of our own: the place among the figures of a model, from 1


class StoredFigure(NamedTuple):
    """A figure as it lies there.

    Attributes:
        place: among those of its model.
        name: of the file.
        caption: in the file, else its name.
        width: in pixels.
        height: in pixels.
        content: the whole file.
    """

    place: int
    name: str
    caption: str
    width: int
    height: int
    content: bytes


def read_figures(folder: Path) -> list[StoredFigure]:
    """The figures of a run's folder in the order in which its model draws them, which is that of the paper's card."""
    return sorted(found for path in (folder / FOLDER).glob("*.png") for found in _read(path))


def _read(path: Path) -> Iterator[StoredFigure]:
    """Nothing if it is somebody else's file."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            caption = str(image.info.get(CAPTION_KEY) or path.stem.replace("_", " "))
            place = str(image.info.get(ORDER_KEY))
            width, height = image.size
    except (UnidentifiedImageError, OSError):
        return
    yield StoredFigure(int(place) if place.isdecimal() else 0, path.name, caption, width, height, content)
