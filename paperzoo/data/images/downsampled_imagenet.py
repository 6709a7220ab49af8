"""Down-sampled ImageNet, 32 x 32 and 64 x 64; two releases that must not be mixed up.

- imagenet32, imagenet64 (van den Oord et al. 2016, section 5.1): 1,281,149 images for training, 49,999 for evaluation,
  without labels; what RealNVP, Glow and most papers on density report on. Its official address answers no longer; the
  archives are still passed on (academic torrents), and are recognised by their checksums.
- imagenet32_chrabaszcz, imagenet64_chrabaszcz (Chrabaszcz et al. 2017, "box" filter): 1,281,167 / 50,000 images with
  labels, smoother, so that the same model reaches fewer bits per dimension. From image-net.org; its archives of `.npz`
  files, not the pickled ones.

Nobody published checksums beside the files. Those used here are the ones that TensorFlow Datasets recorded when it
downloaded the files from the official addresses.
"""

import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from paperzoo.batches import Images, LabelledImages
from paperzoo.data.images.module import ImageData
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.decoding import Picture, append_decoded, decode, pixels
from paperzoo.data.prepared.downloads import SafeZip, Source, tar_files
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.errors import UserError

CLASSES = 1000
TERMS = "ImageNet's: non-commercial research and education"


def convert_pixelrnn(files: Path, writer: ArrayWriter, size: int) -> None:
    """Two tar archives of PNG files; the images keep the order of the archive."""
    for part, prefix in (("train", "train"), ("test", "valid")):
        archive = files / f"{prefix}_{size}x{size}.tar"
        pictures = ((f"{archive}: {name}", content) for name, content in tar_files(archive) if name.endswith(".png"))
        if not append_decoded(writer, f"{part}_images", pictures, partial(_decode, size=size)):
            raise UserError(f"{archive}: holds no PNG files")


def _decode(name: str, content: bytes, size: int) -> Picture:
    image = decode(content, name, channels=3)
    if image.size != (size, size):
        raise UserError(f"{name}: {image.width} x {image.height} pixels, expected {size} x {size}")
    return pixels(image)


def convert_chrabaszcz(files: Path, writer: ArrayWriter, size: int, parts: dict[str, list[str]]) -> None:
    """Zip archives of npz files, each with `data`, rows of planes of red, green, blue, and `labels` from 1 to 1000."""
    for part, archives in parts.items():
        for archive in archives:
            for batch, labels in _npz_batches(files / archive, writer.folder):
                if batch.ndim != 2 or batch.shape[1] != 3 * size * size or batch.dtype != np.uint8:
                    what = f"{batch.dtype} of shape {batch.shape}, expected rows of {3 * size * size} bytes"
                    raise UserError(f"{files / archive}: holds {what}")
                numbers = np.asarray(labels).reshape(-1).astype(np.int64) - 1
                if len(numbers) != len(batch) or not np.isin(numbers, np.arange(CLASSES)).all():
                    raise UserError(f"{files / archive}: its labels are no numbers from 1 to {CLASSES}, one an image")
                writer.append(f"{part}_images", batch.reshape(-1, 3, size, size))
                writer.append(f"{part}_labels", numbers)


def _npz_batches(archive: Path, scratch: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with SafeZip(archive) as members:
        names = sorted((name for name in members.names() if name.endswith(".npz")), key=lambda name: (len(name), name))
        if not names:
            raise UserError(f"{archive}: holds no npz files")
        for name in names:
            with members.extracted(name, scratch) as path:
                yield _read_npz(path, f"{archive}: {name}")


def _read_npz(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as content:
            return content["data"], content["labels"]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{name}: not a readable npz file with the arrays `data` and `labels` ({error})") from error


def _pixelrnn(size: int, train: str, valid: str) -> FileSet:
    sources = tuple(
        Source(
            f"{part}_{size}x{size}.tar", (f"http://image-net.org/small/{part}_{size}x{size}.tar",), f"sha256:{checksum}"
        )
        for part, checksum in (("train", train), ("valid", valid))
    )
    convert = partial(convert_pixelrnn, size=size)
    return FileSet(f"imagenet{size}", convert, sources, (3, size, size), terms=TERMS, is_withdrawn=True)


def _chrabaszcz(size: int, train: dict[str, str], val: dict[str, str]) -> FileSet:
    sources = tuple(
        Source(file, (f"https://image-net.org/data/downsample/{file}",), f"sha256:{checksum}")
        for file, checksum in (train | val).items()
    )
    convert = partial(convert_chrabaszcz, size=size, parts={"train": list(train), "test": list(val)})
    classes = tuple(f"class {number}" for number in range(1, CLASSES + 1))  # their names are in map_clsloc.txt
    return FileSet(f"imagenet{size}_chrabaszcz", convert, sources, (3, size, size), classes, terms=TERMS)


class ImageNet32(ImageData):
    """Down-sampled ImageNet of van den Oord et al. 2016, 32 x 32: 1,281,149 / 49,999."""

    yields = Images
    file_set = _pixelrnn(
        32,
        train="244a323d48f8d72f65ad8b54658c01fed68d2d7bdc77ccb43da58c11e94224e5",
        valid="862e559462b24cf736212a19f6b0d47b55c2dc8ebdaa95ccecfe71260124c8f7",
    )


class ImageNet64(ImageData):
    """Down-sampled ImageNet of van den Oord et al. 2016, 64 x 64: 1,281,149 / 49,999."""

    yields = Images
    file_set = _pixelrnn(
        64,
        train="e2a2c1947a748d0d256e98e6d82800d855441dc9e4de2e71a773f1324c4524d7",
        valid="eeac03ec4f585baf871d2b4cb9c974bfe345e74878a74e5820fe6eb1041629cd",
    )


class ImageNet32Chrabaszcz(ImageData):
    """Down-sampled ImageNet of Chrabaszcz et al. 2017, 32 x 32: 1,281,167 / 50,000."""

    yields = LabelledImages
    file_set = _chrabaszcz(
        32,
        train={"Imagenet32_train_npz.zip": "94226337ecc1b0309d9fcd0167127aaadc931587035fbcb53925235edbaec4fc"},
        val={"Imagenet32_val_npz.zip": "013990e6dec1237dcd1f9beadbab81ead6604cc119af5cacbfb59ae28148377a"},
    )


class ImageNet64Chrabaszcz(ImageData):
    """Down-sampled ImageNet of Chrabaszcz et al. 2017, 64 x 64: 1,281,167 / 50,000."""

    yields = LabelledImages
    file_set = _chrabaszcz(
        64,
        train={
            "Imagenet64_train_part1_npz.zip": "9422dc1dc5d092e9814a70a1cb7fc74880d2db5d88a0cb8a34ee363b12bde3f1",
            "Imagenet64_train_part2_npz.zip": "9fafc115afb7e6c301e66dc16b2d737152b427bd5dab26e1293487a6819c7f30",
        },
        val={"Imagenet64_val_npz.zip": "e1e75133158a1924135a9c6f97a80d2d237b158945e0b34074e58e6c8430eeb8"},
    )
