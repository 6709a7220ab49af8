"""Encoded pictures (PNG, JPEG, ...) to arrays: uint8, channel x height x width."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.errors import UserError

Picture = UInt8[np.ndarray, "channel height width"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_GROUP = 256


def decode(content: bytes, name: str, channels: int) -> Image.Image:
    """The picture upright, in grey (1 channel) or RGB (3).

    Raises:
        UserError: it cannot be decoded; names it.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip instead of scale
                upright = Image.fromarray((np.asarray(upright, dtype=np.uint32) >> 8).astype(np.uint8))
            return upright.convert({1: "L", 3: "RGB"}[channels])
    except (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "no known picture format" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{name}: not a readable picture ({reason}); replace or delete it") from error


def pixels(image: Image.Image) -> Picture:
    values = np.asarray(image, dtype=np.uint8)
    return values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def cover(image: Image.Image, height: int, width: int) -> Image.Image:
    """Scaled, proportions kept, until it just covers `height` x `width`, then cut to that size around its centre."""
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)


def list_pictures(folder: Path) -> list[Path]:
    """All pictures in `folder` and below, by suffix, sorted by their path in it; nothing hidden."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(visible, key=lambda path: path.relative_to(folder).as_posix())


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture in `folder` or below; stops at the first."""
    return any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def append_decoded(
    writer: ArrayWriter, name: str, encoded: Iterable[tuple[str, bytes]], to_pixels: Callable[[str, bytes], Picture]
) -> int:
    """Decodes (name, content) pairs in threads and appends them in order; returns how many there were."""
    count = 0
    encoded = iter(encoded)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and scales outside the interpreter's lock
        while group := list(islice(encoded, _GROUP)):
            writer.append(name, np.stack(list(pool.map(lambda pair: to_pixels(*pair), group))))
            count += len(group)
    return count


def read_files(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    return ((str(path), path.read_bytes()) for path in paths)
