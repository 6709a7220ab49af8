"""Faces: CelebA (Liu et al. 2015) at 64 x 64, and CelebA-HQ (Karras et al. 2018) at 256 x 256."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from torchvision import datasets

from paperzoo.batches import AttributedImages
from paperzoo.data.images.module import ImageData
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.decoding import (
    Picture,
    append_decoded,
    cover,
    decode,
    has_pictures,
    list_pictures,
    pixels,
    read_files,
)
from paperzoo.data.prepared.downloads import SafeZip, Source
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.errors import UserError
from paperzoo.text import read_text

_ARCHIVE, _ATTRIBUTES, _PARTITION = "img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt"
TERMS = "non-commercial research only"
_ALIGNED_SIZE = (178, 218)

# left, top, right, bottom: the 148 x 148 pixels around the face that RealNVP's published code cuts out, 5 rows below
# the middle of the picture
_FACE = (15, 40, 163, 188)
_HQ_SIZE = 256
_HQ_TEST_IMAGES = 3000


def convert_celeba(files: Path, writer: ArrayWriter) -> None:
    """The aligned pictures, cut as in RealNVP (Dinh et al. 2017, section 4.1) and averaged down to 64 x 64.

    The official partition's training images are `train` (162,770), its test images `test` (19,962); its validation
    images (19,867) are left out, as RealNVP and Glow report on the other two.
    """
    attributes = read_attributes(files / _ATTRIBUTES)
    parts = _read_partition(files / _PARTITION)
    with SafeZip(files / _ARCHIVE) as archive:
        members = {name.rsplit("/", 1)[-1]: name for name in archive.names()}
        for part, number in (("train", "0"), ("test", "2")):
            names = [name for name, where in parts.items() if where == number]
            if absent := [name for name in names if name not in members or name not in attributes]:
                raise UserError(f"{archive.path}: lacks {absent[0]} or its attributes; it is not the official archive")
            encoded = ((f"{archive.path}: {name}", archive.read(members[name])) for name in names)
            append_decoded(writer, f"{part}_images", encoded, _decode_aligned)
            writer.append(f"{part}_attributes", np.stack([attributes[name] for name in names]))


def _decode_aligned(name: str, content: bytes) -> Picture:
    image = decode(content, name, channels=3)
    if image.size != _ALIGNED_SIZE:
        raise UserError(f"{name}: {image.width} x {image.height} pixels, expected the aligned 178 x 218")
    return pixels(image.resize((64, 64), Image.Resampling.BOX, box=_FACE))


def read_attributes(path: Path) -> dict[str, Bool[np.ndarray, " attribute"]]:
    """The attributes by file name: a line with the count, a line with the names, then a file name and -1 or 1 for each.

    Raises:
        UserError: the file is not like that.
    """
    lines = read_text(path).split("\n")
    rows = [line.split() for line in lines[2:] if line.strip()]
    names = lines[1].split() if len(lines) > 1 else []
    if not rows or lines[0].strip() != str(len(rows)):
        raise UserError(
            f"{path}: cut short, {len(rows)} rows where its first line promises {lines[0] if lines else 'some'}"
        )
    for row in rows:
        if len(row) != len(names) + 1 or not set(row[1:]) <= {"-1", "1"}:
            raise UserError(f"{path}: the row of {row[0]} is not a file name and {len(names)} times -1 or 1")
    return {row[0]: np.array(row[1:]) == "1" for row in rows}


def _read_partition(path: Path) -> dict[str, str]:
    rows = [line.split() for line in read_text(path).split("\n") if line.strip()]
    if not rows or any(len(row) != 2 or row[1] not in "012" for row in rows):
        raise UserError(f"{path}: not lines of a file name and 0, 1 or 2; delete it and fetch it again")
    return {row[0]: row[1] for row in rows}


def convert_celeba_hq(files: Path, writer: ArrayWriter) -> None:
    """A folder of pictures: the last 3,000 in the order of their names are for testing (Kingma & Dhariwal 2018).

    Smaller collections keep that ratio of 9 to 1. Numbers in names count as numbers, so 10.jpg comes after 9.jpg.
    Attributes are read from a `*attr*.txt` beside the pictures or one folder above; without it there are none.
    """
    paths = sorted(list_pictures(files), key=lambda path: _by_number(path.relative_to(files).as_posix()))
    if not paths:
        raise UserError(f"{files}: no pictures in it")
    attributes = _hq_attributes(files, paths)
    split = len(paths) - min(_HQ_TEST_IMAGES, max(1, len(paths) // 10))
    for part, rows in (("train", slice(0, split)), ("test", slice(split, None))):
        if paths[rows]:
            append_decoded(writer, f"{part}_images", read_files(paths[rows]), _decode_hq)
            writer.append(f"{part}_attributes", attributes[rows])


def _decode_hq(name: str, content: bytes) -> Picture:
    return pixels(cover(decode(content, name, channels=3), _HQ_SIZE, _HQ_SIZE))


def _hq_attributes(files: Path, paths: list[Path]) -> Bool[np.ndarray, "image attribute"]:
    lists = sorted({path for folder in {files, *(p.parent for p in paths)} for path in folder.glob("*attr*.txt")})
    if not lists:
        return np.zeros((len(paths), 0), dtype=bool)
    known = read_attributes(lists[0])
    if absent := [path.name for path in paths if path.name not in known]:
        raise UserError(
            f"{lists[0]}: no row for {absent[0]} (and {len(absent) - 1} more); delete the list or complete it"
        )
    return np.stack([known[path.name] for path in paths])


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", name)]


class PictureFolder(FileSet):
    """A set whose official files are any pictures in a folder."""

    def missing(self, folder: Path) -> list[str]:
        return [] if has_pictures(folder) else ["a folder of pictures"]


def _celeba_sources() -> Iterator[Source]:
    for drive, md5, file in datasets.CelebA.file_list:
        if file in (_ARCHIVE, _ATTRIBUTES, _PARTITION):
            yield Source(file, checksum=f"md5:{md5}", google_drive=drive)


# In the order of list_attr_celeba.txt.
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip


class CelebA(ImageData):
    """CelebA: 162,770 / 19,962 faces, 64 x 64, with 40 yes/no attributes.

    Its official home is Google Drive: downloading needs the package gdown and often fails for its daily limit; the
    message then names the pages to fetch the three files from by hand.
    """

    yields = AttributedImages
    file_set = FileSet(
        "celeba",
        convert_celeba,
        tuple(_celeba_sources()),
        (3, 64, 64),
        attributes=ATTRIBUTES,
        terms=TERMS,
        megabytes=1470,
    )


class CelebAHQ(ImageData):
    """CelebA-HQ: 27,000 / 3,000 faces, 256 x 256; attributes if a list of them lies beside the pictures, else none.

    The set is made from CelebA by its authors' script and has no official download: put the pictures into
    `<data_root>/celeba_hq/raw`, or import them from any folder.
    """

    yields = AttributedImages
    file_set = PictureFolder(
        "celeba_hq",
        convert_celeba_hq,
        shape=(3, _HQ_SIZE, _HQ_SIZE),
        attributes=ATTRIBUTES,
        terms=f"CelebA's: {TERMS}",
    )
