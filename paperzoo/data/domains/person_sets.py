"""Published sets of people seen by two cameras: VIPeR, PRID 2011, CUHK (Ganin et al. 2016, section 5.2.6)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.decoding import Picture, append_decoded, decode, pixels, read_files
from paperzoo.data.prepared.file_set import FileSet, find_place
from paperzoo.errors import UserError

SHAPE = (3, 128, 48)
PROBE, GALLERY = 0, 1

SetName = Literal["viper", "prid", "cuhk", "cuhk_p1"]


class Shot(NamedTuple):
    """A picture of somebody."""

    person: str
    camera: int
    path: Path


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in (".bmp", ".png"))


def find_viper(cam_a: Path) -> list[Shot]:
    """`cam_a/000_45.bmp` and `cam_b/000_90.bmp`: the number of the person, then the angle."""
    return [
        Shot(path.stem.split("_")[0], camera, path)
        for camera, folder in enumerate((cam_a, cam_a.with_name("cam_b")))
        for path in _pictures(folder)
    ]


def find_prid(cam_a: Path) -> list[Shot]:
    """`cam_a/person_0001.png`, `cam_b/person_0001.png`: the same person up to 200, different ones above."""
    shots = []
    for camera, folder in enumerate((cam_a, cam_a.with_name("cam_b"))):
        for path in _pictures(folder):
            number = path.stem.removeprefix("person_")
            shots.append(Shot(number if number <= "0200" else f"{folder.name}/{number}", camera, path))
    return shots


def find_cuhk(place: Path, pairs: tuple[str, ...]) -> list[Shot]:
    """CUHK02's `P1/cam1/001_1.png`, `P1/cam2/001_1.png`, ...: persons and pictures of five pairs of cameras.

    Or CUHK01, which is the first pair: `campus/0001001.png`, the number of the person, then 1 and 2 for the pictures of
    one camera, 3 and 4 for those of the other.
    """
    if place.name == "campus":
        return [Shot(path.stem[:4], int(path.stem[4:] > "002"), path) for path in _pictures(place)]
    return [
        Shot(f"{pair}/{path.stem.split('_')[0]}", camera, path)
        for pair in pairs
        for camera, folder in enumerate(("cam1", "cam2"))
        for path in _pictures(place.parent.with_name(pair) / folder)
    ]


@dataclass(frozen=True)
class Published:
    """What is known of a published set.

    Attributes:
        title: what it is called.
        page: where it is offered.
        places: where the first camera's pictures may lie.
        find: lists all pictures from that place.
        persons: how many the first camera sees, the second one, and both.
        shots: pictures of a person by a camera.
    """

    title: str
    page: str
    places: tuple[str, ...]
    find: Callable[[Path], list[Shot]]
    persons: tuple[int, int, int]
    shots: int = 1


_CUHK_PAGE = "https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html"

PUBLISHED: dict[SetName, Published] = {
    "viper": Published(
        "VIPeR", "https://vision.soe.ucsc.edu/node/178", ("VIPeR/cam_a", "cam_a"), find_viper, (632, 632, 632)
    ),
    "prid": Published(
        "PRID 2011",
        "https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/PRID11",
        ("prid_2011/single_shot/cam_a", "single_shot/cam_a", "cam_a"),
        find_prid,
        (385, 749, 200),
    ),
    "cuhk": Published(
        "CUHK02",
        _CUHK_PAGE,
        ("Dataset/P1/cam1", "P1/cam1"),
        partial(find_cuhk, pairs=("P1", "P2", "P3", "P4", "P5")),
        (1816, 1816, 1816),
        shots=2,
    ),
    "cuhk_p1": Published(
        "The first camera pair of CUHK02, or CUHK01",
        _CUHK_PAGE,
        ("Dataset/P1/cam1", "P1/cam1", "campus"),
        partial(find_cuhk, pairs=("P1",)),
        (971, 971, 971),
        shots=2,
    ),
}


def convert(files: Path, writer: ArrayWriter, name: SetName) -> None:
    """All pictures, scaled to 128 x 48: those of the persons that both cameras see come first, person by person.

    Raises:
        UserError: it is not the whole official set, or a picture cannot be read.
    """
    whole = PUBLISHED[name]
    place = find_place(files, whole.places)
    assert place is not None
    shots = whole.find(place)
    first, second = ({shot.person for shot in shots if shot.camera == camera} for camera in (PROBE, GALLERY))
    found = (len(first), len(second), len(first & second))
    if found != whole.persons or len(shots) != whole.shots * sum(found[:2]):
        expected = "{} persons from the first camera, {} from the second, {} from both".format(*whole.persons)
        raise UserError(
            f"{place}: {len(shots)} pictures of {found[0]}, {found[1]} and {found[2]} persons; {whole.title} has "
            f"{expected}, in {whole.shots} picture(s) each; unpack the official files again, from {whole.page}"
        )
    persons = [*sorted(first & second), *sorted(first - second), *sorted(second - first)]
    number = {person: index for index, person in enumerate(persons)}
    shots = sorted(shots, key=lambda shot: (number[shot.person], shot.camera, shot.path))
    append_decoded(writer, "images", read_files(shot.path for shot in shots), _decode)
    writer.append("persons", np.array([number[shot.person] for shot in shots], dtype=np.int64))
    writer.append("cameras", np.array([shot.camera for shot in shots], dtype=np.int64))
    writer.append("names", np.array([shot.path.relative_to(files).as_posix() for shot in shots]))
    shared = found[2]
    writer.append("views", np.arange(shared * 2 * whole.shots).reshape(shared, 2, whole.shots))


def _decode(name: str, content: bytes) -> Picture:
    _, height, width = SHAPE
    return pixels(decode(content, name, channels=3).resize((width, height), Image.Resampling.BILINEAR))


def person_set(name: SetName) -> FileSet:
    whole = PUBLISHED[name]
    return FileSet(
        f"persons/{name}",
        partial(convert, name=name),
        shape=SHAPE,
        home="cuhk" if name == "cuhk_p1" else name,
        places=whole.places,
        title=whole.title,
        page=whole.page,
    )
