"""CLEVR 1.0 (Johnson et al. 2017), from its images or from descriptions of its scenes, and questions about own images.

The answers to the official test questions are not public: here, the validation questions validate and test.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import UNKNOWN, ImageQuestions, ObjectQuestions
from paperzoo.data.base import BatchLoader
from paperzoo.data.cache import BLOCK_BYTES, ArrayCache, ArrayWriter, checksums
from paperzoo.data.clevr_words import (
    ANSWERS,
    COLOURS,
    KIND_GROUPS,
    KINDS,
    MATERIALS,
    SHAPES,
    SIZES,
    WORDS,
    numbers_of,
    text_of,
)
from paperzoo.data.decoding import Picture, append_decoded, decode, has_pictures, list_pictures, pixels
from paperzoo.data.downloads import SafeZip
from paperzoo.data.file_set import IMPORT_COMMAND, FileSet
from paperzoo.data.indexed import QuestionData
from paperzoo.errors import UserError

Content = Literal["images", "scenes"]

SIDE = 128
OBJECTS = 10  # in a scene, at most
LONGEST = 64  # words kept room for; the official questions are shorter
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

Index = Int64[Tensor, " batch"]

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

    def raw(self, data_root: str) -> Path:
        return Path(data_root).expanduser() / "clevr" / "raw"

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

    def file_problems(self, data_root: str, *, download: bool) -> Iterator[str]:
        raw = self.raw(data_root)
        absent = self.missing(raw)
        if self.cache(data_root).is_prepared or not absent:
            yield from super().file_problems(data_root, download=download)
            return
        yield (
            f"{self.name} is not downloaded by itself, and {', '.join(absent)} is missing: fetch {ADDRESS} (18 GB), "
            f"put it or the folder {FOLDER} that it holds into {raw}, or run `{IMPORT_COMMAND} {self.name} FOLDER` "
            "with the folder that has it"
        )

    def _texts(self) -> list[str]:
        names = [f"questions/CLEVR_{part}_questions.json" for part in QUESTIONS]
        if self.content == "scenes":
            names += [f"scenes/CLEVR_{part}_scenes.json" for part in QUESTIONS]
        return names


def _home(folder: Path) -> Path | None:
    return next((place for place in (folder / FOLDER, folder) if (place / "questions").is_dir()), None)


def convert(files: Path, writer: ArrayWriter, content: Content) -> None:
    """For both parts the arrays of `QuestionTable`, and `images` or `objects` and `object_count`."""
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
        with path.open(encoding="utf-8") as stream:
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
                except json.JSONDecodeError as error:
                    more = stream.read(BLOCK_BYTES)
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


FILE_SETS: Mapping[Content, ClevrFiles] = {
    "images": ClevrFiles("clevr", partial(convert, content="images"), content="images"),
    "scenes": ClevrFiles("clevr_state", partial(convert, content="scenes"), content="scenes"),
}


@dataclass(frozen=True, eq=False)
class QuestionTable:
    """The prepared questions of a part.

    Attributes:
        words: numbers of the words, from 1, followed by zeros.
        row: where the image or the scene is.
        answer: index in `ANSWERS`.
        kind: index in `KINDS`.
    """

    words: UInt8[Tensor, "question word"]
    row: Int64[Tensor, " question"]
    answer: Int64[Tensor, " question"]
    kind: Int64[Tensor, " question"]

    @classmethod
    def open(cls, cache: ArrayCache, part: str) -> "QuestionTable":
        words, *columns = (
            torch.from_numpy(np.array(cache.open(f"{part}_{name}"))) for name in ("words", "row", "answer", "kind")
        )
        return cls(words, *(column.long() for column in columns))

    def __len__(self) -> int:
        return len(self.words)

    def asked(self, index: Index) -> tuple[Int64[Tensor, "batch word"], Index, Index]:
        """Words, answers and kinds of the questions; as wide as the longest of them."""
        words = self.words[index].long()
        return words[:, : int((words != 0).sum(1).max())], self.answer[index], self.kind[index]


@dataclass(frozen=True, eq=False)
class ImageItems:
    """Questions about prepared images: `items[index]`."""

    cache: ArrayCache
    part: str
    questions: QuestionTable

    @cached_property
    def images(self) -> np.ndarray:
        return self.cache.open(f"{self.part}_images")

    def __getstate__(self) -> dict[str, Any]:
        # a worker process maps the file itself instead of being sent its contents
        return {"cache": self.cache, "part": self.part, "questions": self.questions}

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: Index) -> ImageQuestions:
        images = torch.from_numpy(self.images.take(self.questions.row[index].numpy(), axis=0))
        return ImageQuestions(images, *self.questions.asked(index))


@dataclass(frozen=True, eq=False)
class SceneItems:
    """Questions about prepared scenes: `items[index]`."""

    objects: Float32[Tensor, "scene object feature"]
    count: Int64[Tensor, " scene"]
    questions: QuestionTable

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: Index) -> ObjectQuestions:
        scene = self.questions.row[index]
        present = torch.arange(OBJECTS) < self.count[scene, None]
        return ObjectQuestions(self.objects[scene], present, *self.questions.asked(index))


def size_problems(arguments: Mapping[str, Any], **sizes: int) -> Iterator[str]:
    """What is wrong with the sizes that a config states."""
    for key, size in {"num_words": len(WORDS), "num_answers": len(ANSWERS), **sizes}.items():
        if arguments[key] != size:
            yield f"data.{key}={arguments[key]}: it is {size} in CLEVR; set that"


class ClevrData(QuestionData):
    """Base of the sets of questions in the words of CLEVR."""

    kind_groups: ClassVar[Mapping[str, tuple[str, ...]]] = KIND_GROUPS

    @property
    def answer_names(self) -> list[str]:
        return list(ANSWERS)

    @property
    def kind_names(self) -> list[str]:
        return list(KINDS)

    def question_texts(self, batch: Any) -> list[str]:
        return [text_of(numbers) for numbers in batch.question.tolist()]


def shifted_and_turned(
    image: UInt8[Tensor, "batch channel height width"], padding: int, rotation: float | int
) -> UInt8[Tensor, "batch channel height width"]:
    """Each image moved by whole pixels, up to `padding` in each axis, and turned by up to `rotation` radians.

    All moves and angles are equally likely. Bilinear interpolation, rounded; what comes in from outside is black.
    """
    batch, _, height, width = image.shape
    angle = rotation * (2 * torch.rand(batch, device=image.device) - 1)
    move = torch.randint(-padding, padding + 1, (2, batch), device=image.device)
    cos, sin = angle.cos(), angle.sin()
    across, down = 2 * move[0] / width, 2 * move[1] / height
    turn = torch.stack([cos, -sin * height / width, across, sin * width / height, cos, down], 1).view(batch, 2, 3)
    grid = F.affine_grid(turn, list(image.shape), align_corners=False)
    return F.grid_sample(image.float(), grid, mode="bilinear", align_corners=False).round_().byte()


class Clevr(ClevrData):
    """CLEVR from its images, scaled to 128 x 128; trained on train, validated and tested on val.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        seed: names the random streams.
        padding: pixels around a training image, of which a random window of the image's size is cut (section 4).
        rotation: radians that a training image is turned, at most; with 0 and no padding it stays as it is.
        image_shape: (3, 128, 128).
        num_words: 82.
        num_answers: 28.
        num_kinds: 13.
        batch_size: training questions in a batch, on each device.
        eval_batch_size: questions a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = ImageQuestions

    def __init__(
        self,
        data_root: str,
        seed: int,
        padding: NonNegativeInt,
        rotation: Annotated[float | int, Ge(0)],
        image_shape: tuple[PositiveInt, PositiveInt, PositiveInt],
        num_words: PositiveInt,
        num_answers: PositiveInt,
        num_kinds: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.data_root = data_root
        self.padding = padding
        self.rotation = rotation

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from size_problems(arguments, num_kinds=len(KINDS))
        if tuple(arguments["image_shape"]) != (3, SIDE, SIDE):
            yield f"data.image_shape={list(arguments['image_shape'])}: the images are [3, {SIDE}, {SIDE}]; set that"
        yield from FILE_SETS["images"].file_problems(arguments["data_root"], download=True)

    def prepare_data(self) -> None:
        """Prepares the arrays, once for all processes of the machine: 4.3 GB, in minutes.

        Raises:
            UserError: missing, damaged or wrong files, no space.
        """
        FILE_SETS["images"].prepare(self.data_root, download=True)

    def load(self) -> Mapping[str, ImageItems]:
        cache = FILE_SETS["images"].cache(self.data_root)
        if not cache.is_prepared:
            self.prepare_data()
        train, val = (ImageItems(cache, part, QuestionTable.open(cache, part)) for part in QUESTIONS)
        return {"train": train, "val": val, "test": val}

    def augment(self, batch: ImageQuestions) -> ImageQuestions:
        if not self.padding and not self.rotation:
            return batch
        return batch._replace(image=shifted_and_turned(batch.image, self.padding, self.rotation))


class ClevrState(ClevrData):
    """CLEVR from descriptions of its scenes, 3 to 10 objects each (see `object_row`); trained on train, tested on val.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        seed: names the random streams.
        object_size: 13.
        num_objects: 10.
        num_words: 82.
        num_answers: 28.
        num_kinds: 13.
        batch_size: training questions in a batch, on each device.
        eval_batch_size: questions a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = ObjectQuestions

    def __init__(
        self,
        data_root: str,
        seed: int,
        object_size: PositiveInt,
        num_objects: PositiveInt,
        num_words: PositiveInt,
        num_answers: PositiveInt,
        num_kinds: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.data_root = data_root

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from size_problems(arguments, num_kinds=len(KINDS), object_size=OBJECT_SIZE, num_objects=OBJECTS)
        yield from FILE_SETS["scenes"].file_problems(arguments["data_root"], download=True)

    def prepare_data(self) -> None:
        """Prepares the arrays, once for all processes of the machine.

        Raises:
            UserError: missing, damaged or wrong files, no space.
        """
        FILE_SETS["scenes"].prepare(self.data_root, download=True)

    def load(self) -> Mapping[str, SceneItems]:
        cache = FILE_SETS["scenes"].cache(self.data_root)
        if not cache.is_prepared:
            self.prepare_data()
        train, val = (self._items(cache, part) for part in QUESTIONS)
        return {"train": train, "val": val, "test": val}

    def _items(self, cache: ArrayCache, part: str) -> SceneItems:
        objects, count = (
            torch.from_numpy(np.array(cache.open(f"{part}_{name}"))) for name in ("objects", "object_count")
        )
        return SceneItems(objects, count.long(), QuestionTable.open(cache, part))

    def context_texts(self, batch: ObjectQuestions) -> list[str]:
        """A line for each object: what it is and where."""
        return [
            "\n".join(map(_described, rows[: int(present.sum())].tolist()))
            for rows, present in zip(batch.objects, batch.present, strict=True)
        ]


def _described(row: list[float]) -> str:
    colours = list(RGB.values())
    distance = [sum((255 * value - part) ** 2 for value, part in zip(row[3:6], rgb, strict=True)) for rgb in colours]
    shape, material, size = row[6:9], row[9:11], row[11:13]
    words = (
        SIZES[size.index(1)],
        COLOURS[distance.index(min(distance))],
        MATERIALS[material.index(1)],
        SHAPES[shape.index(1)],
    )
    return f"{' '.join(words)} at ({row[0]:.1f}, {row[1]:.1f})"


@dataclass(frozen=True, eq=False)
class OwnItems:
    """Every question about every image, image after image: `items[index]`."""

    image: UInt8[Tensor, "image 3 128 128"]
    words: Int64[Tensor, "question word"]

    def __len__(self) -> int:
        return len(self.image) * len(self.words)

    def __getitem__(self, index: Index) -> ImageQuestions:
        questions = len(self.words)
        answer = torch.full_like(index, UNKNOWN)
        return ImageQuestions(
            self.image[index // questions], self.words[index % questions], answer, torch.zeros_like(index)
        )


class OwnImages(ClevrData):
    """The user's own questions about the user's own images, in the words of CLEVR; to be answered only.

    Args:
        path: an image, or a folder of them.
        question: a question, or several, asked about every image.
        seed: names the random streams.
        image_shape: (3, 128, 128), to which images are scaled.
        num_words: 82.
        num_answers: 28.
        num_kinds: 1.
        batch_size: of no use, there is nothing to train on.
        eval_batch_size: questions a batch, on each device.
        workers: processes that gather batches; 0 gathers them in this process.

    Attributes:
        unreadable: what is wrong with each image that was left out.
    """

    yields = ImageQuestions
    follows_model: ClassVar[tuple[str, ...]] = ("image_shape",)
    kind_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init__(
        self,
        path: str,
        question: str | list[str],
        seed: int,
        image_shape: tuple[PositiveInt, PositiveInt, PositiveInt],
        num_words: PositiveInt,
        num_answers: PositiveInt,
        num_kinds: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.path = Path(path).expanduser()
        self.questions = _as_list(question)
        self.names: list[str] = []

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from size_problems(arguments, num_kinds=1)
        if tuple(arguments["image_shape"]) != (3, SIDE, SIDE):
            yield (
                f"data.image_shape={list(arguments['image_shape'])}: questions in words are for models that were "
                f"trained with data=clevr, on images of [3, {SIDE}, {SIDE}]"
            )
        path = Path(arguments["path"]).expanduser()
        if not path.exists():
            yield f"data.path={path}: there is no such file or folder"
        elif path.is_dir() and not has_pictures(path):
            yield f"data.path={path}: no pictures (.png, .jpg, .webp, ...) in this folder or below"
        questions = _as_list(arguments["question"])
        if not questions:
            yield "data.question=[]: ask at least one question"
        for question in questions:
            try:
                numbers_of(question)
            except UserError as error:
                yield from (f"data.question={problem}" for problem in error.problems)

    @property
    def kind_names(self) -> list[str]:
        return ["image"]

    def load(self) -> Mapping[str, OwnItems]:
        files = list_pictures(self.path) if self.path.is_dir() else [self.path]
        root = self.path if self.path.is_dir() else self.path.parent
        self.unreadable = []
        images: list[Picture] = []
        self.names = []
        for file in files:
            try:
                images.append(squeeze(str(file), file.read_bytes()))
            except UserError as error:
                self.unreadable += error.problems
            except OSError as error:
                self.unreadable.append(f"{file}: cannot be read ({error.strerror})")
            else:
                self.names.append(file.relative_to(root).as_posix())
        if not images:
            raise UserError(*self.unreadable)
        words = [torch.tensor(numbers_of(question)) for question in self.questions]
        padded = torch.nn.utils.rnn.pad_sequence(words, batch_first=True)
        return {"predict": OwnItems(torch.from_numpy(np.stack(images)), padded)}

    def train_dataloader(self) -> BatchLoader:
        raise self._only_answered

    val_dataloader = test_dataloader = train_dataloader

    def initial_batch(self, size: int) -> ImageQuestions:
        raise self._only_answered

    @property
    def _only_answered(self) -> UserError:
        return UserError("data=image_questions: has no answers; train with data=clevr, then mode=predict answers it")

    def item_names(self) -> list[str]:
        """The image of each question."""
        self.setup()
        return [name for name in self.names for _ in self.questions]


def _as_list(question: Any) -> list[str]:
    return [question] if isinstance(question, str) else list(question)
