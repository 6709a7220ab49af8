"""Encoded pictures become 8 bits by rules that neither blacken nor lose what is drawn."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base

from paperzoo.data.prepared.decoding import decode, has_pictures, list_pictures, pixels
from paperzoo.errors import UserError


def saved(image: Image.Image, suffix: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    return stream.getvalue()


def decoded(content: bytes, channels: int = 1) -> np.ndarray:
    """The pixels of a picture that gives nothing to tell."""
    remarks: list[str] = []
    values = pixels(decode(content, "a.png", channels, remarks.append))
    assert remarks == []
    return values


def png_16(values: np.ndarray, *, transparent: int | None = None) -> bytes:
    """A PNG of 16 bits a channel; `values` are height x width x 1 (grey), 2 (with alpha), 3 (RGB) or 4."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    if transparent is not None:
        parts.append((b"tRNS", struct.pack(">H", transparent) * channels))
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def tiff_16(values: np.ndarray, order: str) -> bytes:
    """A TIFF of 16 bits a channel, `values` height x width x 3, of the byte order "<" or ">"."""
    height, width, _ = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 8 + 2 + 9 * 12 + 4),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 9 * 12 + 4 + 6),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    entries = [
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}Hxx", value) if (kind, count) == (3, 1) else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    ]
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return start + b"".join(entries) + bytes(4) + struct.pack(f"{order}HHH", 16, 16, 16) + pixels


def ramp(greatest: float, dtype: type = np.float64) -> np.ndarray:
    """256 values from 0 to `greatest`, 16 x 16."""
    return np.linspace(0, greatest, 256).round(0 if greatest > 1 else 9).astype(dtype).reshape(16, 16)


EIGHT = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


@pytest.mark.parametrize("greatest", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
def test_16_bits_are_scaled_from_the_range_that_was_used(suffix: str, greatest: int) -> None:
    values = decoded(saved(Image.fromarray(ramp(greatest, np.uint16)), suffix))
    assert np.abs(values.astype(int) - EIGHT).max() <= 1
    assert (values[0, 0, 0], values[0, -1, -1]) == (0, 255)


@pytest.mark.parametrize("greatest", [255, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_pngs_of_all_kinds_are_scaled_and_laid_on_white(channels: int, greatest: int) -> None:
    colour = np.repeat(ramp(greatest)[..., None], 1 if channels < 3 else 3, axis=2)
    alpha = np.full((16, 16, 1), greatest)
    alpha[8:] = 0
    whole = [colour, alpha] if channels in (2, 4) else [colour]
    values = decoded(png_16(np.concatenate(whole, axis=2)), channels=3)
    expected = EIGHT.repeat(3, 0).astype(int)
    if channels in (2, 4):
        expected[:, 8:] = 255
    assert np.abs(values - expected).max() <= 1


@pytest.mark.parametrize("greatest", [255, 4095, 65535])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_of_16_bits_in_a_tiff_are_scaled(order: str, greatest: int) -> None:
    values = ramp(greatest)[..., None] * [1, 0.5, 0]
    red, green, blue = decoded(tiff_16(values, order), channels=3).astype(int)
    assert np.abs(red - EIGHT[0]).max() <= 1
    assert np.abs(green - EIGHT[0] // 2).max() <= 1
    assert not blue.any()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_a_16_bit_png_is_white(channels: int) -> None:
    values = np.full((2, 2, channels), 40000)
    values[0] = 7
    grey = decoded(png_16(values, transparent=7))
    assert grey.tolist() == [[[255, 255], [40000 >> 8] * 2]]


def test_32_bit_whole_numbers_up_to_255_stay_as_they_are() -> None:
    content = saved(Image.fromarray(EIGHT[0].astype(np.int32)), "TIFF")
    np.testing.assert_array_equal(decoded(content), EIGHT)
    np.testing.assert_array_equal(decoded(content, channels=3), EIGHT.repeat(3, 0))


def test_32_bit_whole_numbers_of_16_bits_are_scaled() -> None:
    values = decoded(saved(Image.fromarray(ramp(65535, np.int32)), "TIFF"))
    assert np.abs(values.astype(int) - EIGHT).max() <= 1


@pytest.mark.parametrize("greatest", [1, 255])
def test_fractions_are_of_1_or_of_255(greatest: int) -> None:
    content = saved(Image.fromarray(ramp(greatest, np.float32)), "TIFF")
    np.testing.assert_array_equal(decoded(content), EIGHT)


def test_fractions_up_to_255_are_rounded() -> None:
    content = saved(Image.fromarray(np.array([[0.4, 0.6, 254.7]], dtype=np.float32)), "TIFF")
    assert decoded(content).tolist() == [[[0, 1, 255]]]


@pytest.mark.parametrize(
    ("values", "expected", "told"),
    [
        (np.array([[0, 50_000, 100_000]], dtype=np.int32), [0, 128, 255], "from 0 to 100000"),
        (np.array([[-100, 0, 100]], dtype=np.int32), [0, 128, 255], "from -100 to 100"),
        (np.array([[-1, 0, 1]], dtype=np.float32), [0, 128, 255], "from -1 to 1"),
        (np.array([[0, 600, 300]], dtype=np.float32), [0, 255, 128], "from 0 to 600"),
        (np.array([[0, np.nan, 1]], dtype=np.float32), [0, 0, 255], "from 0 to 1 and some that are no number"),
        (np.array([[np.inf, 2, 4]], dtype=np.float32), [0, 0, 255], "from 2 to 4 and some that are no number"),
    ],
)
def test_values_that_fit_no_rule_are_stretched_and_the_file_is_named(
    values: np.ndarray, expected: list[int], told: str
) -> None:
    remarks: list[str] = []
    grey = decode(saved(Image.fromarray(values), "TIFF"), "folder/a.tiff", 1, remarks.append)
    assert pixels(grey).tolist() == [[expected]]
    (remark,) = remarks
    assert remark.startswith(f"folder/a.tiff: values {told}, which is none of the ranges of pictures; stretched")


def test_whole_numbers_above_31_bits_are_no_negative_ones() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    content = bytearray(saved(Image.fromarray(np.array([[0, 1 << 30, -1]], dtype=np.int32)), "TIFF", tiffinfo=tags))
    place = content.index(struct.pack("<HHIH", 339, 3, 1, 2))  # SampleFormat: from signed to unsigned
    content[place + 8] = 1
    remarks: list[str] = []
    assert pixels(decode(bytes(content), "a", 1, remarks.append)).tolist() == [[[0, 64, 255]]]
    assert "from 0 to 4.29497e+09" in remarks[0]


def test_a_picture_without_a_number_is_refused() -> None:
    content = saved(Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32)), "TIFF")
    with pytest.raises(UserError, match=r"^a.tiff: not a readable picture \(none of its values is a number\)"):
        decode(content, "a.tiff", 1)


def test_a_pgm_says_its_greatest_value_itself() -> None:
    content = b"P5 3 1 4095\n" + np.array([0, 200, 4095], dtype=">u2").tobytes()
    assert decoded(content).tolist() == [[[0, 12, 255]]]


def line_art(mode: str) -> Image.Image:
    """A black line on nothing."""
    art = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    for x in range(6):
        art.putpixel((x, 2), (0, 0, 0, 255))
    return art.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("RGBA", "GIF")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_black_line_art_on_transparency_is_black_on_white(mode: str, suffix: str, channels: int) -> None:
    options = {"lossless": True} if suffix == "WEBP" else {}
    values = decoded(saved(line_art(mode), suffix, **options), channels)
    expected = np.full((channels, 6, 6), 255)
    expected[:, 2] = 0
    np.testing.assert_array_equal(values, expected)


def test_the_transparent_entry_of_a_palette_is_white_whatever_its_colour() -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    picture.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    assert decoded(saved(picture, "PNG", transparency=0), 3)[:, 0].T.tolist() == [
        [255, 255, 255],
        [10, 20, 30],
        [200, 100, 50],
    ]
    assert decoded(saved(picture, "PNG", transparency=b"\x80\xff\x00"), 3)[0, 0].tolist() == [127, 10, 255]
    assert decoded(saved(picture, "PNG"), 3)[0, 0].tolist() == [0, 10, 200]


def test_the_transparent_colour_of_an_8_bit_png_is_white() -> None:
    grey = Image.fromarray(np.array([[0, 9]], dtype=np.uint8))
    assert decoded(saved(grey, "PNG", transparency=0)).tolist() == [[[255, 9]]]
    colour = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], dtype=np.uint8))
    assert decoded(saved(colour, "PNG", transparency=(1, 2, 3)), 3)[:, 0].T.tolist() == [[255] * 3, [9] * 3]


def test_what_is_half_transparent_is_mixed_with_white() -> None:
    half = Image.new("RGBA", (1, 1), (0, 100, 200, 128))
    values = decoded(saved(half, "PNG"), 3).ravel().astype(int)
    np.testing.assert_allclose(values, 128 / 255 * np.array([0, 100, 200]) + 127, atol=1)


def test_an_opaque_alpha_changes_nothing() -> None:
    colours = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
    opaque = np.concatenate([colours, np.full((5, 7, 1), 255, dtype=np.uint8)], axis=2)
    np.testing.assert_array_equal(decoded(saved(Image.fromarray(opaque), "PNG"), 3), np.moveaxis(colours, -1, 0))


@pytest.mark.parametrize("suffix", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_black_or_white(suffix: str) -> None:
    bits = Image.fromarray(np.array([[0, 255, 0]], dtype=np.uint8)).convert("1")
    assert decoded(saved(bits, suffix)).tolist() == [[[0, 255, 0]]]


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    np.testing.assert_array_equal(decoded(saved(cyan, "TIFF"), 3)[:, 0, 0], [0, 255, 255])
    assert np.abs(decoded(saved(cyan, "JPEG", quality=95), 3)[:, 0, 0].astype(int) - [0, 255, 255]).max() < 4


UPRIGHT = np.array([[10, 20, 30], [40, 50, 60]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (UPRIGHT, "PNG"),
        (UPRIGHT, "TIFF"),
        (UPRIGHT.astype(np.uint16) << 8 | 0xFF, "PNG"),
        (UPRIGHT.astype(np.uint16) << 8 | 0xFF, "TIFF"),
        (UPRIGHT.astype(np.int32), "TIFF"),
        (UPRIGHT.astype(np.float32), "TIFF"),
    ],
)
def test_pictures_of_every_depth_are_turned_as_exif_says(values: np.ndarray, suffix: str) -> None:
    if values.dtype == np.uint16:
        values = values.copy()
        values[0, 0] = 0xFFFF  # all 16 bits are used
    upright = UPRIGHT.copy()
    upright[0, 0] = 255 if values.dtype == np.uint16 else 10
    exif = Image.Exif()
    exif[Base.Orientation] = 6  # taken with the camera turned to the left
    picture = Image.fromarray(values)
    np.testing.assert_array_equal(decoded(saved(picture, suffix, exif=exif))[0], np.rot90(upright, -1))


def test_a_transparent_picture_is_turned_as_exif_says() -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = 3
    art = decoded(saved(line_art("RGBA"), "PNG", exif=exif))[0]
    assert [row.max() for row in art] == [255, 255, 255, 0, 255, 255]


@pytest.mark.parametrize("suffix", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_or_several_pages_the_first_picture_is_taken(suffix: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((200, 200, 200), (0, 0, 0))]
    options = {"lossless": True} if suffix == "WEBP" else {}
    content = saved(frames[0], suffix, save_all=True, append_images=frames[1:], **options)
    assert (decoded(content, 3) == 200).all()


def damaged(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content[: generator.randrange(8, len(content) + 1)])
    for _ in range(generator.randrange(4)):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed)


SAMPLES: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(line_art("RGBA"), "PNG"),
    "16-bit png": lambda: png_16(np.full((9, 9, 3), 1000)),
    "palette": lambda: saved(Image.fromarray(UPRIGHT).convert("P"), "PNG", transparency=0),
    "gif": lambda: saved(line_art("RGBA"), "GIF"),
    "jpeg": lambda: saved(Image.fromarray(EIGHT[0]), "JPEG"),
    "float": lambda: saved(Image.fromarray(ramp(1, np.float32)), "TIFF"),
    "packed float": lambda: saved(Image.fromarray(ramp(1, np.float32)), "TIFF", compression="tiff_lzw"),
    "integer": lambda: saved(Image.fromarray(ramp(70_000, np.int32)), "TIFF"),
    "pgm": lambda: b"P5 2 2 4095\n" + bytes(8),
    "webp": lambda: saved(line_art("RGBA"), "WEBP"),
    "bmp": lambda: saved(Image.fromarray(UPRIGHT), "BMP"),
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_decoded_or_named(sample: Callable[[], bytes]) -> None:
    generator = random.Random(0)
    content = sample()
    decode(content, "a", 3, lambda _: None)
    for _ in range(60):
        try:
            assert decode(damaged(content, generator), "folder/a", 3, lambda _: None).mode == "RGB"
        except UserError as error:
            assert str(error).startswith("folder/a: not a readable picture")


def test_pictures_are_listed_with_links_to_nothing_and_formats_that_cannot_be_decoded(tmp_path: Path) -> None:
    names = ["a.JPG", "b/c.png", "b/d.heic", "e.jfif"]
    for name in [*names, ".hidden.png", "._a.JPG", ".b/c.png", "notes.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path)]
    assert found == [*names, "gone.png"]
    assert not has_pictures(tmp_path / "folder.png")
