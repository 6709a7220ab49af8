"""MNIST-M: MNIST's digits on pieces of photographs (Ganin et al. 2016, section 5.2); released, and made anew."""

from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from paperzoo.batches import LabelledImages
from paperzoo.data.images.module import ImageData
from paperzoo.data.images.small_images import DIGITS, Mnist, read_digits
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.decoding import Picture, append_decoded, decode, pixels
from paperzoo.data.prepared.downloads import Source, tar_files
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.datamodule import stream_seed
from paperzoo.errors import UserError

SIDE = 32
_RELEASE, _PHOTOGRAPHS = "mnist_m.tar.gz", "BSR_bsds500.tgz"
_GROUP = 4096


def convert_release(files: Path, writer: ArrayWriter) -> None:
    """The authors' archive: a folder of PNGs for each part, and a list of their names and labels."""
    path = files / _RELEASE
    members = {name.removeprefix("mnist_m/"): content for name, content in tar_files(path)}
    for part in ("train", "test"):
        lists = members.get(f"mnist_m_{part}_labels.txt", b"").decode(errors="replace").splitlines()
        labels = dict(line.split(maxsplit=1) for line in lists if line.strip())
        absent = [name for name in labels if f"mnist_m_{part}/{name}" not in members]
        if absent or not labels:
            raise UserError(f"{path}: lacks {(absent or ['its lists of labels'])[0]}; it is not the official archive")
        encoded = ((f"{path}: {name}", members[f"mnist_m_{part}/{name}"]) for name in labels)
        append_decoded(writer, f"{part}_images", encoded, _decode_release)
        writer.append(f"{part}_labels", np.array([int(label) for label in labels.values()]))


def _decode_release(name: str, content: bytes) -> Picture:
    image = decode(content, name, channels=3)
    if image.size != (SIDE, SIDE):
        raise UserError(f"{name}: {image.width} x {image.height} pixels, expected {SIDE} x {SIDE}")
    return pixels(image)


def convert_blended(files: Path, writer: ArrayWriter) -> None:
    """Each digit on a random piece of a photograph: training digits on BSDS500's training ones, test on test ones."""
    photographs = _read_photographs(files / _PHOTOGRAPHS)
    for part, images, labels in read_digits(files):
        generator = np.random.default_rng(stream_seed("mnist_m", part))
        for digits in np.array_split(images, max(1, len(images) // _GROUP)):
            writer.append(f"{part}_images", blend(digits, cut_patches(photographs[part], len(digits), generator)))
        writer.append(f"{part}_labels", labels)


def blend(
    digits: UInt8[np.ndarray, "image rows columns"], patches: UInt8[np.ndarray, "image 3 height width"]
) -> UInt8[np.ndarray, "image 3 height width"]:
    """|digit - patch| in each channel, the digit in the middle: ink inverts what it covers.

    Measured on the authors' images: any pixel of MNIST above 0 counts as ink of 255, and the 28 x 28 pixels lie in the
    middle of 32 x 32.
    """
    down, right = (p - d for p, d in zip(patches.shape[2:], digits.shape[1:], strict=True))
    margins = ((0, 0), (down // 2, down - down // 2), (right // 2, right - right // 2))
    ink = np.pad(digits > 0, margins)[:, None]
    return np.where(ink, 255 - patches, patches)


def cut_patches(
    photographs: list[UInt8[np.ndarray, "3 _rows _columns"]], count: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "image 3 32 32"]:
    """`count` pieces, each from a random place of a random photograph."""
    which = generator.integers(len(photographs), size=count)
    corner = generator.random((2, count))
    patches = np.empty((count, 3, SIDE, SIDE), np.uint8)
    for number in np.unique(which):
        mine = which == number
        room = np.array(photographs[number].shape[1:])[:, None] - SIDE + 1
        patches[mine] = _windows(photographs[number], *(corner[:, mine] * room).astype(np.int64))
    return patches


def _windows(
    photograph: UInt8[np.ndarray, "3 rows columns"], top: Int[np.ndarray, " image"], left: Int[np.ndarray, " image"]
) -> UInt8[np.ndarray, "image 3 32 32"]:
    views = np.lib.stride_tricks.sliding_window_view(photograph, (SIDE, SIDE), axis=(1, 2))
    return np.moveaxis(views[:, top, left], 0, 1)


def _read_photographs(path: Path) -> dict[str, list[Picture]]:
    found: dict[str, dict[str, Picture]] = {"train": {}, "test": {}}
    for name, content in tar_files(path):
        *_, folder, file = ("", *name.split("/"))
        if "/data/images/" in name and folder in found and file.endswith(".jpg") and not file.startswith("."):
            found[folder][file] = pixels(decode(content, f"{path}: {name}", channels=3))
    if empty := [part for part, pictures in found.items() if not pictures]:
        raise UserError(f"{path}: lacks the photographs BSDS500/data/images/{empty[0]}; it is not the official archive")
    return {part: [pictures[file] for file in sorted(pictures)] for part, pictures in found.items()}


class MnistM(ImageData):
    """MNIST-M as its authors released it: 32 x 32, 59,001 / 9,001.

    Addresses and checksum are those that the authors' page and two libraries of data sets give.
    """

    yields = LabelledImages
    file_set = FileSet(
        "mnist_m",
        convert_release,
        (
            Source(
                _RELEASE,
                ("https://cornell.box.com/shared/static/jado7quprg6hzzdubvwzh9umr75damwi",),
                "md5:859df31c91afe82e80e5012ba928f279",
                google_drive="0B_tExHiYS-0veklUZHFYT19KYjg",
            ),
        ),
        (3, SIDE, SIDE),
        DIGITS,
    )


class BlendedMnist(ImageData):
    """MNIST-M made anew from MNIST and the photographs of BSDS500 (Arbelaez et al. 2011): 32 x 32, 60,000 / 10,000.

    Not the images of the paper, but made in the same way; the same ones on every machine.
    """

    yields = LabelledImages
    file_set = FileSet(
        "mnist_m_blended",
        convert_blended,
        (
            *Mnist.file_set.sources,
            Source(
                _PHOTOGRAPHS,
                ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",),
            ),
        ),
        (3, SIDE, SIDE),
        DIGITS,
        terms=f"of MNIST: {Mnist.file_set.terms}; of BSDS500: not known here, ask its authors",
        megabytes=82,
    )
