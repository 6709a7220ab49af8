"""Pictures in a folder for each class: Office-31, Office-Home, ImageCLEF-DA, VisDA-2017, and your own."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import PositiveInt

from paperzoo.batches import HIDDEN
from paperzoo.data.domains.image_domains import ImageDomain
from paperzoo.data.images.fitting import Fit
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.decoding import (
    Picture,
    Tell,
    append_decoded,
    decode,
    has_pictures,
    list_pictures,
    pixels,
    read_files,
)
from paperzoo.data.prepared.file_set import FileSet, find_place
from paperzoo.data.prepared.own_pictures import append_own, fingerprint
from paperzoo.errors import UserError
from paperzoo.files import is_text, no_folder, printable
from paperzoo.text import read_text

log = logging.getLogger(__name__)

# The published code squeezes every picture to this size, whatever its proportions, and cuts later (Ganin et al. 2016:
# ddtm/caffe, scripts/convert_data.py).
SIDE = 256


class Labelled(NamedTuple):
    """A picture's file and its class."""

    path: Path
    label: int


def in_class_folders(folder: Path, classes: tuple[str, ...]) -> list[Labelled]:
    """The pictures in the sub-folders that are called like the classes, sub-folder by sub-folder.

    Raises:
        UserError: a sub-folder is missing.
    """
    if absent := [name for name in classes if not (folder / name).is_dir()]:
        raise UserError(f"{folder}: has no folder for {len(absent)} of {len(classes)} classes: {', '.join(absent)}")
    return [Labelled(path, label) for label, name in enumerate(classes) for path in list_pictures(folder / name)]


def in_list_file(listing: Path, classes: tuple[str, ...]) -> list[Labelled]:
    """The pictures that a file names in lines of `path label`, in its order.

    Paths are found from the list's own folder or the one above. What stands in a path before the folder that the list
    is called after (`b` for `bList.txt`) may be where its author had the pictures.

    Raises:
        UserError: a line is something else, or its picture is not there, or elsewhere.
    """
    domain = listing.name.removesuffix("List.txt")
    found = []
    for number, line in enumerate(read_text(listing).split("\n"), start=1):
        if not line.strip():
            continue
        *name, label = line.rsplit(maxsplit=1)
        if not name or not label.isdecimal() or int(label) >= len(classes):
            raise UserError(f"{listing}, line {number}: not a path and a class from 0 to {len(classes) - 1}: {line}")
        parts = PurePosixPath(name[0].replace("\\", "/")).parts
        inside = Path(*parts[parts.index(domain) :]) if domain in parts else Path(domain, *parts)
        if ".." in inside.parts:
            raise UserError(f"{listing}, line {number}: {name[0]} leads out of the folder")
        places = [folder / inside for folder in (listing.parent, listing.parent.parent)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise UserError(f"{listing}, line {number}: there is no picture {places[-1]}")
        found.append(Labelled(path, int(label)))
    return found


def squeeze(name: str, content: bytes, tell: Tell = log.warning) -> Picture:
    """A picture scaled to `SIDE` x `SIDE`, its proportions not kept."""
    return pixels(decode(content, name, 3, tell).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def append(writer: ArrayWriter, pictures: list[Labelled]) -> None:
    append_decoded(writer, "train_images", read_files(picture.path for picture in pictures), squeeze)
    writer.append("train_labels", np.array([picture.label for picture in pictures], dtype=np.int64))


class Part(NamedTuple):
    """A domain of a published set: how many pictures, and where they may lie in its folder."""

    pictures: int
    places: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """A set of pictures from several domains, published under terms of its own.

    Attributes:
        title: what it is called.
        page: where it is offered.
        classes: its classes.
        parts: its domains, by the names that configs use.
        find: lists the pictures of a domain from its place.
    """

    title: str
    page: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    find: Callable[[Path, tuple[str, ...]], list[Labelled]] = in_class_folders


PUBLISHED = {
    "office31": Published(
        "Office-31",
        "https://faculty.cc.gatech.edu/~judy/domainadapt",
        (
            "back_pack", "bike", "bike_helmet", "bookcase", "bottle", "calculator", "desk_chair", "desk_lamp",
            "desktop_computer", "file_cabinet", "headphones", "keyboard", "laptop_computer", "letter_tray",
            "mobile_phone", "monitor", "mouse", "mug", "paper_notebook", "pen", "phone", "printer", "projector",
            "punchers", "ring_binder", "ruler", "scissors", "speaker", "stapler", "tape_dispenser", "trash_can",
        ),
        {
            "amazon": Part(2817, ("amazon/images", "amazon")),
            "webcam": Part(795, ("webcam/images", "webcam")),
            "dslr": Part(498, ("dslr/images", "dslr")),
        },
    ),
    "office_home": Published(
        "Office-Home",
        "https://www.hemanthdv.org/officeHomeDataset.html",
        (
            "Alarm_Clock", "Backpack", "Batteries", "Bed", "Bike", "Bottle", "Bucket", "Calculator", "Calendar",
            "Candles", "Chair", "Clipboards", "Computer", "Couch", "Curtains", "Desk_Lamp", "Drill", "Eraser",
            "Exit_Sign", "Fan", "File_Cabinet", "Flipflops", "Flowers", "Folder", "Fork", "Glasses", "Hammer",
            "Helmet", "Kettle", "Keyboard", "Knives", "Lamp_Shade", "Laptop", "Marker", "Monitor", "Mop", "Mouse",
            "Mug", "Notebook", "Oven", "Pan", "Paper_Clip", "Pen", "Pencil", "Postit_Notes", "Printer", "Push_Pin",
            "Radio", "Refrigerator", "Ruler", "Scissors", "Screwdriver", "Shelf", "Sink", "Sneakers", "Soda",
            "Speaker", "Spoon", "TV", "Table", "Telephone", "ToothBrush", "Toys", "Trash_Can", "Webcam",
        ),
        {
            "art": Part(2427, ("Art",)),
            "clipart": Part(4365, ("Clipart",)),
            "product": Part(4439, ("Product",)),
            "real_world": Part(4357, ("Real World", "Real_World")),
        },
    ),
    "image_clef": Published(
        "ImageCLEF-DA",
        "https://www.imageclef.org/2014/adaptation",
        (
            "aeroplane", "bike", "bird", "boat", "bottle", "bus", "car", "dog", "horse", "monitor", "motorbike",
            "people",
        ),
        {
            domain: Part(600, (f"list/{domain}List.txt", f"{domain}List.txt"))
            for domain in ("b", "c", "i", "p")  # Bing, Caltech-256, ImageNet, Pascal VOC
        },
        in_list_file,
    ),
    "visda": Published(
        "VisDA-2017",
        "https://ai.bu.edu/visda-2017",
        (
            "aeroplane", "bicycle", "bus", "car", "horse", "knife", "motorcycle", "person", "plant", "skateboard",
            "train", "truck",
        ),
        {"train": Part(152_397, ("train",)), "validation": Part(55_388, ("validation",))},
    ),
}  # fmt: skip


def convert_published(files: Path, writer: ArrayWriter, published: str, domain: str, only: int | None) -> None:
    """The pictures of a domain: of its first so many classes `only`, or all.

    Raises:
        UserError: there are fewer or more of them than in the official set, or one cannot be read.
    """
    whole = PUBLISHED[published]
    expected, places = whole.parts[domain]
    place = find_place(files, places)
    assert place is not None
    pictures = whole.find(place, whole.classes)
    if len(pictures) != expected:
        raise UserError(
            f"{place}: {len(pictures)} pictures, but {whole.title} has {expected} of the domain {domain}; "
            f"unpack the official files again, from {whole.page}"
        )
    append(writer, [picture for picture in pictures if only is None or picture.label < only])


class PublishedDomain(ImageDomain):
    """A domain of Office-31, Office-Home, ImageCLEF-DA or VisDA-2017, 3 x 256 x 256: tested on what it is trained on.

    Args:
        name: the published set.
        domain: which of its domains, see `PUBLISHED`.
        classes: only pictures of the first so many classes, for a target that lacks some of the source's (Pei et al.
            2018, 31 to 25 classes of Office-31; that it is the first 25 is uncertain); None: of all.
        path: the folder with the unpacked files; None: `raw` in the set's folder below the data root.
        fit: see `ImageDomain`.
    """

    transductive = True

    def __init__(
        self,
        name: Literal["office31", "office_home", "image_clef", "visda"],
        domain: str,
        classes: PositiveInt | None,
        path: str | None,
        fit: Fit,
    ) -> None:
        whole = PUBLISHED[name]
        file_set = FileSet(
            f"{name}/{domain}" if classes is None else f"{name}/{domain}_{classes}_classes",
            partial(convert_published, published=name, domain=domain, only=classes),
            shape=(3, SIDE, SIDE),
            classes=whole.classes,
            official_files=Path(path).expanduser() if path is not None else None,
            home=name,
            places=whole.parts[domain].places,
            title=whole.title,
            page=whole.page,
            otherwise=", or name the folder that has it: data.source.path or data.target.path",
        )
        super().__init__(file_set, fit)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        name, domain, path = arguments["name"], arguments["domain"], arguments["path"]
        whole = PUBLISHED[name]
        if domain not in whole.parts:
            yield f"domain={domain}: {name} has {', '.join(whole.parts)}"
        if (arguments["classes"] or 0) > len(whole.classes):
            yield f"classes={arguments['classes']}: {name} has {len(whole.classes)}"
        if path is not None and not Path(path).expanduser().is_dir():
            yield f"path={path}: {no_folder(Path(path).expanduser())}"


def convert_folder(files: Path, writer: ArrayWriter, classes: tuple[str, ...]) -> None:
    """All readable pictures in the sub-folders of the classes.

    Raises:
        UserError: a class has none.
    """
    left = append_readable(writer, in_class_folders(files, classes), files)
    if empty := [name for label, name in enumerate(classes) if label not in left]:
        raise UserError(*(f"{files / name}: none of its pictures can be read; replace or delete it" for name in empty))


def append_readable(writer: ArrayWriter, pictures: list[Labelled], root: Path) -> set[int]:
    """The user's pictures but for those that cannot be read, which are noted; gives the labels that are left.

    Raises:
        UserError: there is none left.
    """
    kept = append_own(writer, "train_images", [picture.path for picture in pictures], root, squeeze)
    labels = [pictures[place].label for place in kept]
    writer.append("train_labels", np.array(labels, dtype=np.int64))
    return set(labels)


class FolderDomain(ImageDomain):
    """The user's own pictures, 3 x 256 x 256, in one sub-folder a class: tested on what it is trained on.

    The classes are called like the sub-folders and counted in the order of their names.

    Args:
        path: the folder.
        fit: see `ImageDomain`.
    """

    transductive = True

    def __init__(self, path: str, fit: Fit) -> None:
        folder = Path(path).expanduser().resolve()
        classes = _class_folders(folder)
        pictures = in_class_folders(folder, classes)
        super().__init__(_file_set(folder, pictures, classes, partial(convert_folder, classes=classes)), fit)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        folder = Path(arguments["path"]).expanduser()
        if not folder.is_dir():
            yield f"path={folder}: {no_folder(folder)}"
        elif not (names := _class_folders(folder)):
            yield f"path={folder}: has no sub-folders; put the pictures of each class into one, named after it"
        elif empty := [name for name in names if not has_pictures(folder / name)]:
            yield f"path={folder}: no pictures (.png, .jpg, .webp, ...) of {', '.join(empty)}"
        elif garbled := [printable(name) for name in names if not is_text(name)]:
            yield f"path={folder}: {', '.join(garbled)}: the name of a class that is not UTF-8; rename the folder"
        elif alike := [name for name in names if [other.casefold() for other in names].count(name.casefold()) > 1]:
            yield f"path={folder}: classes that differ only in capital and small letters: {', '.join(alike)}; join them"


class FolderTarget(ImageDomain):
    """The user's own pictures as a target, 3 x 256 x 256, wherever they lie in a folder.

    Nobody has to know their classes. Those in a sub-folder that is called like a class of the source are measured by
    it; where there is no such sub-folder, or `labelled` is false, none are.

    Args:
        path: the folder.
        labelled: whether sub-folders may be classes.
        fit: see `ImageDomain`.
    """

    transductive = True
    unlabelled_without = True

    def __init__(self, path: str, labelled: bool, fit: Fit) -> None:
        folder = Path(path).expanduser().resolve()
        classes, pictures = in_tree(folder)
        self.labelled = labelled
        super().__init__(_file_set(folder, pictures, classes, convert_tree), fit)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        folder = Path(arguments["path"]).expanduser()
        if not folder.is_dir():
            yield f"path={folder}: {no_folder(folder)}"
        elif not has_pictures(folder):
            yield f"path={folder}: no pictures (.png, .jpg, .webp, ...) in it or below"

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {}


def in_tree(folder: Path) -> tuple[tuple[str, ...], list[Labelled]]:
    """The sub-folders that hold pictures, and all pictures, by the one they are in; `HIDDEN` if in none."""
    paths = list_pictures(folder)
    inside = [path.relative_to(folder).parts for path in paths]
    folders = sorted({first for first, *rest in inside if rest})
    numbers = {name: number for number, name in enumerate(folders)}
    labels = (numbers[first] if rest else HIDDEN for first, *rest in inside)
    return tuple(map(printable, folders)), [Labelled(path, label) for path, label in zip(paths, labels, strict=True)]


def convert_tree(files: Path, writer: ArrayWriter) -> None:
    """All readable pictures of a folder and below."""
    append_readable(writer, in_tree(files)[1], files)


def _class_folders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _file_set(
    folder: Path, pictures: list[Labelled], classes: tuple[str, ...], convert: Callable[[Path, ArrayWriter], None]
) -> FileSet:
    """A folder that changed is another set, prepared beside the old one."""
    state = fingerprint((path for path, _ in pictures), [label for _, label in pictures])
    name = f"folder/{folder.name}-{state}"
    return FileSet(name, convert, shape=(3, SIDE, SIDE), classes=classes, official_files=folder)
