"""Encoded pictures (PNG, JPEG, TIFF, ...) to arrays: uint8, channel x height x width.

The rules, the same for all sets:

- Upright as EXIF says; the first picture of an animation or of several pages.
- What is transparent shows `BACKGROUND`, white.
- 8 bits or fewer as they are, black 0 and white 255.
- Whole numbers of up to 16 bits from the range in which they were taken: 8, 10, 12, 14 or 16 bits, the least that holds
  the greatest value of the picture, become 8 by leaving out the last ones. So 0 ... 255 stays as it is.
- Fractions from 0 to 1 times 255; those up to 255 as they are, rounded.
- Whatever else (negative values, larger ones, some that are no number) is stretched from its least to its greatest
  value to 0 ... 255, what is no number becomes black, and a warning names the file.
"""

import io
import logging
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.errors import UserError
from paperzoo.files import leads_nowhere, visible_files
from paperzoo.machine import memory_of, shown
from paperzoo.text import read_bytes

Picture = UInt8[np.ndarray, "channel height width"]
Tell = Callable[[str], None]
"""Takes a sentence about a picture that a reader should know."""

T = TypeVar("T")

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
    ".tga", ".jp2", ".avif", ".apng", ".heic", ".heif", ".jxl", ".svg",
)  # fmt: skip
"""Of pictures; those in a format that cannot be decoded are named rather than passed over."""

BACKGROUND = 255
SURELY_DECODED = 1 << 24  # pixels
BYTES_A_PIXEL = 45  # of a picture of 16 bits with transparency, with its copies while it is decoded; measured
BITS = (8, 10, 12, 14, 16)

# Pillow's names for how colours of 16 bits lie in a file, and the one under which it takes their second bytes.
_LOW_BYTES = {"LA;16B": "RGBA"}
for _mode in ("RGB", "RGBA", "RGBX"):
    _LOW_BYTES |= {f"{_mode};16B": f"{_mode};16L", f"{_mode};16L": f"{_mode};16B"}
    _LOW_BYTES[f"{_mode};16N"] = _LOW_BYTES[f"{_mode};16{sys.byteorder[0].upper()}"]
_GROUP = 256

# What decoders raise on files that are damaged.
_BROKEN = (
    OSError, EOFError, ValueError, SyntaxError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    struct.error, Image.DecompressionBombError,
)  # fmt: skip

log = logging.getLogger(__name__)


def decode(content: bytes, name: str, channels: int, tell: Tell = log.warning) -> Image.Image:
    """The picture in grey (1 channel) or RGB (3), see above.

    Args:
        content: of the file.
        name: what to call it in messages.
        channels: 1 or 3.
        tell: takes the warning about values that fit none of the rules.

    Raises:
        UserError: it cannot be decoded; names it.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            _refuse_too_large(image)
            plain = _in_8_bits(image, content, lambda problem: tell(f"{name}: {problem}"))
            return ImageOps.exif_transpose(plain).convert({1: "L", 3: "RGB"}[channels])
    except _BROKEN as error:
        reason = "no known picture format" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{name}: not a readable picture ({reason}); replace or delete it") from error


def _refuse_too_large(image: Image.Image) -> None:
    """Refuses a picture without room in memory beside those of the other threads; a small file may be one."""
    if image.width * image.height <= SURELY_DECODED:
        return
    share = memory_of(torch.device("cpu")).total // (os.cpu_count() or 1)
    if (needed := image.width * image.height * BYTES_A_PIXEL) > share:
        raise ValueError(
            f"{image.width} x {image.height} pixels take {shown(needed)} of memory, and each of {os.cpu_count()} "
            f"threads has {shown(share)}; scale it down"
        )


def _in_8_bits(image: Image.Image, content: bytes, tell: Tell) -> Image.Image:
    """The picture without transparency; it keeps what EXIF says."""
    if (low := _low_bytes(image, content)) is not None:
        plain = _from_16_bits(low, image)
    elif image.mode == "F":
        plain = Image.fromarray(_from_fractions(np.asarray(image), tell))
    elif image.mode.startswith("I"):
        plain = Image.fromarray(_from_whole_numbers(image, tell))
    elif image.has_transparency_data:
        plain = _on_background(image.convert("RGBA"))
    else:
        return image
    plain.getexif()[Base.Orientation] = image.getexif().get(Base.Orientation, 1)
    return plain


def _on_background(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return Image.alpha_composite(background, image).convert("RGB")


def _low_bytes(image: Image.Image, content: bytes) -> UInt8[np.ndarray, "height width channel"] | None:
    """The second bytes of colours of 16 bits, of which Pillow gives the first alone; None if there are none.

    Pillow is told that the bytes come the other way round. Grey and alpha together are four bytes, as if of RGBA.
    """
    tiles = image.tile if isinstance(image, ImageFile) else []
    arguments = tiles[0].args if len(tiles) == 1 else None
    layout, *others = arguments if isinstance(arguments, tuple) else (arguments,)
    if layout not in _LOW_BYTES:
        return None
    other_way = (_LOW_BYTES[layout], *others) if others else _LOW_BYTES[layout]
    with Image.open(io.BytesIO(content)) as again:
        assert isinstance(again, ImageFile)
        again.tile = [again.tile[0]._replace(args=other_way)]
        low = np.asarray(again)
    return low[..., 1::2] if layout == "LA;16B" else low


def _from_16_bits(low: UInt8[np.ndarray, "height width channel"], image: Image.Image) -> Image.Image:
    """RGB of colours of 16 bits a channel, their first bytes in `image`; an even number of channels has an alpha."""
    high = np.asarray(image)
    high = high[..., ::3] if low.shape[2] == 2 else high[..., : low.shape[2]]
    values = high.astype(np.uint16) << 8 | low
    colours = values[..., : 1 if values.shape[2] == 2 else 3]
    transparent = image.info.get("transparency")
    eight = _last_bits_left_out(colours).repeat(3 // colours.shape[2], axis=2)
    if values.shape[2] in (2, 4):
        alpha = _last_bits_left_out(values[..., -1:])
    elif transparent is not None:
        alpha = np.where((colours == transparent).all(2, keepdims=True), 0, 255).astype(np.uint8)
    else:
        return Image.fromarray(eight)
    return _on_background(Image.fromarray(np.concatenate([eight, alpha], axis=2)))


def _from_whole_numbers(image: Image.Image, tell: Tell) -> UInt8[np.ndarray, "height width"]:
    values = np.asarray(image)
    sample_format = getattr(image, "tag_v2", {}).get(339, (1,))  # of a TIFF; 1 is unsigned
    if image.format == "TIFF" and values.dtype == np.int32 and sample_format in (1, (1,)):
        values = values.view(np.uint32)
    if values.min() < 0 or values.max() >= 1 << BITS[-1]:
        return _stretched(values, tell)
    # PGM says its greatest value itself, by which Pillow has scaled it
    eight = (values >> 8).astype(np.uint8) if image.format == "PPM" else _last_bits_left_out(values)
    transparent = image.info.get("transparency")
    return eight if transparent is None else np.where(values == transparent, BACKGROUND, eight).astype(np.uint8)


def _last_bits_left_out(values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Whole numbers of up to 16 bits as 8, from the smallest of the ranges that holds them."""
    greatest = int(values.max())
    bits = next(bits for bits in BITS if greatest < 1 << bits)
    return (values.astype(np.uint32) >> (bits - 8)).astype(np.uint8)


def _from_fractions(values: Shaped[np.ndarray, "height width"], tell: Tell) -> UInt8[np.ndarray, "height width"]:
    least, greatest = values.min(), values.max()  # NaN if one is
    if least >= 0 and greatest <= 1:
        return np.rint(values * 255).astype(np.uint8)
    if least >= 0 and greatest <= 255:
        return np.rint(values).astype(np.uint8)
    return _stretched(values, tell)


def _stretched(values: Shaped[np.ndarray, "height width"], tell: Tell) -> UInt8[np.ndarray, "height width"]:
    """Values that fit no rule, from their least to their greatest."""
    numbers = np.isfinite(values)
    if not numbers.any():
        raise ValueError("none of its values is a number")
    least, greatest = (float(end) for end in (values[numbers].min(), values[numbers].max()))
    nowhere = "" if numbers.all() else " and some that are no number"
    tell(
        f"values from {least:g} to {greatest:g}{nowhere}, which is none of the ranges of pictures; stretched to "
        f"0 ... 255, so that it cannot be compared with others"
    )
    stretched = (np.where(numbers, values, least).astype(np.float64) - least) / ((greatest - least) or 1)
    return np.rint(stretched * 255).astype(np.uint8)


def pixels(image: Image.Image) -> Picture:
    values = np.asarray(image, dtype=np.uint8)
    return values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def cover(image: Image.Image, height: int, width: int) -> Image.Image:
    """Scaled, proportions kept, until it just covers `height` x `width`, then cut to that size around its centre."""
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)


def list_pictures(folder: Path) -> list[Path]:
    """All pictures in `folder` and below, by suffix, sorted by their path in it; nothing hidden.

    Links to nothing are among them: reading them says so.
    """
    found = [path for path in visible_files(folder) if path.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture in `folder` or below; stops at the first."""
    return any(path.suffix.lower() in SUFFIXES for path in visible_files(folder))


def append_decoded(
    writer: ArrayWriter, name: str, encoded: Iterable[tuple[str, bytes]], to_pixels: Callable[[str, bytes], Picture]
) -> int:
    """Decodes (name, content) pairs in threads and appends them in order; returns how many there were.

    Raises:
        UserError: some cannot be decoded; names all of them.
    """
    count = 0
    problems: list[str] = []
    for group in in_threads(encoded, lambda pair: to_pixels(*pair)):
        problems += [problem for one in group if isinstance(one, UserError) for problem in one.problems]
        if not problems:
            writer.append(name, np.stack([one for one in group if not isinstance(one, UserError)]))
            count += len(group)
    if problems:
        raise UserError(*problems)
    return count


def in_threads(items: Iterable[T], to_pixels: Callable[[T], Picture]) -> Iterator[list[Picture | UserError]]:
    """`to_pixels` of the items in their order, some hundreds at a time; where it raises one, the error."""
    items = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and scales outside the interpreter's lock
        while group := list(islice(items, _GROUP)):
            yield list(pool.map(partial(_attempted, to_pixels), group))


def _attempted(to_pixels: Callable[[T], Picture], item: T) -> Picture | UserError:
    try:
        return to_pixels(item)
    except UserError as error:
        return error


def read_files(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    return ((str(path), read_picture(path)) for path in paths)


def read_picture(path: Path) -> bytes:
    """The content of a file of `list_pictures`.

    Raises:
        UserError: it cannot be read, or is a link to nothing.
    """
    if leads_nowhere(path):
        raise UserError(f"{path}: a link to {path.readlink()}, which is not there; mend or delete the link")
    return read_bytes(path)
