"""The official files of CLEVR 1.0 (Johnson et al. 2017), and the arrays that are prepared from them."""

import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from PIL import Image

from paperzoo.data.prepared.cache import BLOCK_BYTES, ArrayWriter, checksums
from paperzoo.data.prepared.decoding import Picture, append_decoded, decode, pixels
from paperzoo.data.prepared.downloads import SafeZip
from paperzoo.data.prepared.file_set import IMPORT_COMMAND, FileSet
from paperzoo.data.questions.clevr_words import ANSWERS, KINDS, MATERIALS, SHAPES, SIZES, numbers_of
from paperzoo.errors import UserError
from paperzoo.text import plain_stream

Content = Literal["images", "scenes"]

SIDE = 128
OBJECTS = 10  # in a scene, at most
LONGEST = 64  # words kept room for; the official questions are shorter
LONGEST_ITEM = 1 << 26  # characters of JSON; the official ones have thousands
FOLDER = "CLEVR_v1.0"
ARCHIVE = f"{FOLDER}.zip"
ADDRESS = f"https://dl.fbaipublicfiles.com/clevr/{ARCHIVE}"
QUESTIONS = {"train": 699_989, "val": 149_991}

RGB = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
OBJECT_SIZE = 3 + 3 + len(SHAPES) + len(MATERIALS) + len(SIZES)

log = logging.getLogger(__name__)


def squeeze(name: str, content: bytes) -> Picture:
    """A picture scaled to `SIDE` x `SIDE`, its proportions not kept."""
    return pixels(decode(content, name, channels=3).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def object_row(thing: Mapping[str, Any]) -> Float32[np.ndarray, " feature"]:
    """An object of a scene: x, y, z; red, green, blue from 0 to 1; one-hot shape, material and size.

    The paper lists these fields (section 5.1) but not their codes; one-hot is our choice.
    """
    colour = np.array(RGB[thing["color"]]) / 255
    places = ((SHAPES, "shape"), (MATERIALS, "material"), (SIZES, "size"))
    codes = [np.eye(len(names))[names.index(thing[field])] for names, field in places]
    return np.concatenate([thing["3d_coords"], colour, *codes]).astype(np.float32)


class Unpacked:
    """The unpacked archive, to be read as `SafeZip` reads the archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        return [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def extracted(self, name: str, folder: Path) -> AbstractContextManager[Path]:
        return nullcontext(self.folder / name)


@dataclass(frozen=True)
class ClevrFiles(FileSet):
    """The official archive, or the folder that it holds.

    Attributes:
        content: what is asked about.
    """

    content: Content = "images"

    def missing(self, folder: Path) -> list[str]:
        home = _home(folder)
        if home is None:
            return [] if (folder / ARCHIVE).is_file() else [ARCHIVE]
        needed = [*self._texts(), *(f"images/{part}" for part in QUESTIONS if self.content == "images")]
        return [str((home / name).relative_to(folder)) for name in needed if not (home / name).exists()]

    def digests(self, folder: Path) -> dict[str, str]:
        # not compared: nobody published checksums, and what is inside is read strictly
        home = _home(folder)
        if home is None:
            return {ARCHIVE: checksums(folder / ARCHIVE, "sha256")["sha256"]}
        return {name: checksums(home / name, "sha256")["sha256"] for name in self._texts()}

    def _texts(self) -> list[str]:
        names = [f"questions/CLEVR_{part}_questions.json" for part in QUESTIONS]
        if self.content == "scenes":
            names += [f"scenes/CLEVR_{part}_scenes.json" for part in QUESTIONS]
        return names


def _home(folder: Path) -> Path | None:
    return next((place for place in (folder / FOLDER, folder) if (place / "questions").is_dir()), None)


def convert(files: Path, writer: ArrayWriter, content: Content) -> None:
    """For both parts `words`, `row` of the image or scene, `answer` and `kind` by question, and what is asked about.

    That is `images`, or `objects` and `object_count`.
    """
    home = _home(files)
    with nullcontext(Unpacked(home)) if home else SafeZip(files / ARCHIVE) as source:
        inside = "" if home else f"{FOLDER}/"
        names = set(source.names())
        for part, expected in QUESTIONS.items():
            texts = [f"{inside}questions/CLEVR_{part}_questions.json", f"{inside}scenes/CLEVR_{part}_scenes.json"]
            if absent := [name for name in texts[: 1 + (content == "scenes")] if name not in names]:
                raise UserError(f"{files / ARCHIVE}: {', '.join(absent)} is missing; fetch the archive again")
            if content == "images":
                folder = PurePosixPath(f"{inside}images/{part}")
                encoded = sorted(name for name in names if PurePosixPath(name).parent == folder and name[-4:] == ".png")
                rows = {PurePosixPath(name).name: row for row, name in enumerate(encoded)}
            else:
                with source.extracted(texts[1], writer.folder) as path:
                    rows = append_scenes(path, part, writer)
            with source.extracted(texts[0], writer.folder) as path:
                count = append_questions(path, part, rows, writer)
            if count != expected:
                log.warning("CLEVR: %d %s questions instead of the official %d", count, part, expected)
            if content == "images":
                append_decoded(writer, f"{part}_images", ((name, source.read(name)) for name in encoded), squeeze)


def append_scenes(path: Path, part: str, writer: ArrayWriter) -> dict[str, int]:
    """The scenes of a file; returns the row of each by the name of its image."""
    rows: dict[str, int] = {}
    for number, scene in enumerate(json_items(path, "scenes")):
        with _complaining(path, f"scene {number}"):
            things = [object_row(thing) for thing in scene["objects"]]
            objects = np.zeros((1, OBJECTS, OBJECT_SIZE), dtype=np.float32)
            objects[0, : len(things)] = things
            rows[scene["image_filename"]] = number
        writer.append(f"{part}_objects", objects)
        writer.append(f"{part}_object_count", np.array([len(things)], dtype=np.uint8))
    return rows


def append_questions(path: Path, part: str, rows: Mapping[str, int], writer: ArrayWriter) -> int:
    """The questions of a file; returns how many there were.

    Args:
        path: the file.
        part: "train" or "val".
        rows: by the names of the images, where they or their scenes are.
        writer: takes the arrays.
    """
    parsed = _parsed_questions(path, rows)
    count = 0
    while block := list(islice(parsed, 10_000)):
        for (name, dtype), column in zip(_DTYPES.items(), zip(*block, strict=True), strict=True):
            writer.append(f"{part}_{name}", np.array(column, dtype))
        count += len(block)
    return count


_DTYPES = {"words": np.uint8, "row": np.int32, "answer": np.uint8, "kind": np.uint8}


def _parsed_questions(path: Path, rows: Mapping[str, int]) -> Iterator[tuple[list[int], int, int, int]]:
    for number, question in enumerate(json_items(path, "questions")):
        with _complaining(path, f"question {number}"):
            words = numbers_of(question["question"])
            if len(words) > LONGEST:
                raise ValueError(f"{len(words)} words")
            last = question["program"][-1]
            parsed = (
                words + [0] * (LONGEST - len(words)),
                rows[question["image_filename"]],
                ANSWERS.index(question["answer"]),
                KINDS.index(last["function"]),
            )
        yield parsed


@contextmanager
def _complaining(path: Path, entry: str) -> Iterator[None]:
    """Names the place in a file whose entry is not what it should be."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {entry}: {error}; this is not the official file") from error
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"{path}: {entry}: {type(error).__name__} {error}, which CLEVR 1.0 does not have or lacks here; "
            "fetch the file again, with all images"
        ) from error


def json_items(path: Path, key: str) -> Iterator[dict[str, Any]]:
    """The items of the list `key` of a large JSON file, one at a time: the whole would fill 10 GB of memory.

    Raises:
        UserError: it is not such a file, or it ends early.
    """
    decoder = json.JSONDecoder()
    damaged = f"{path}: damaged or cut short; fetch it again"
    try:
        with path.open("rb") as content, io.TextIOWrapper(plain_stream(content), encoding="utf-8") as stream:
            text = stream.read(BLOCK_BYTES)
            start = re.search(rf'"{key}"\s*:\s*\[', text)
            if start is None:
                raise UserError(f"{path}: has no {key}; this is not the official file")
            position = start.end()
            while True:
                position = _skip(text, position)
                if text[position : position + 1] == "]":
                    return
                try:
                    item, position = decoder.raw_decode(text, position)
                except (json.JSONDecodeError, RecursionError) as error:
                    more = stream.read(BLOCK_BYTES) if len(text) - position < LONGEST_ITEM else ""
                    if not more:
                        raise UserError(damaged) from error
                    text, position = text[position:] + more, 0
                    continue
                yield item
    except UnicodeDecodeError as error:
        raise UserError(damaged) from error


_BETWEEN = re.compile(r"[\s,]*")


def _skip(text: str, position: int) -> int:
    between = _BETWEEN.match(text, position)
    assert between is not None
    return between.end()


def _file_set(name: str, content: Content) -> ClevrFiles:
    return ClevrFiles(
        name,
        partial(convert, content=content),
        home="clevr",
        title="CLEVR",
        page=f"{ADDRESS} (18 GB)",
        terms="CC BY 4.0",
        megabytes=18_000,
        otherwise=f", or leave it packed there, or run `{IMPORT_COMMAND} {name} FOLDER` with the folder that has it",
        content=content,
    )


FILE_SETS: Mapping[Content, ClevrFiles] = {
    "images": _file_set("clevr", "images"),
    "scenes": _file_set("clevr_state", "scenes"),
}
