"""CLEVR 1.0 (Johnson et al. 2017), from its images or from descriptions of its scenes, and questions about own images.

The answers to the official test questions are not public: here, the validation questions validate and test.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import UNKNOWN, ImageQuestions, Names, ObjectQuestions, Told
from paperzoo.data.base.items import ArrayItems, Gather, Index
from paperzoo.data.base.module import PREDICT, TEST, TRAIN, VAL, Augmentation, ItemData, Loading
from paperzoo.data.base.own import OwnData
from paperzoo.data.prepared.cache import ArrayCache
from paperzoo.data.prepared.decoding import Picture, has_pictures, list_pictures, read_picture
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.prepared.stored import StoredArray
from paperzoo.data.questions.clevr_files import FILE_SETS, OBJECT_SIZE, OBJECTS, RGB, SIDE, squeeze
from paperzoo.data.questions.clevr_words import (
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
from paperzoo.data.questions.items import Shared
from paperzoo.errors import UserError
from paperzoo.files import printable

WORD_FACTS = {"num_words": len(WORDS), "num_answers": len(ANSWERS), "num_kinds": len(KINDS)}


def about_images(
    image: UInt8[Tensor, "batch 3 128 128"], words: UInt8[Tensor, "batch symbol"], answer: Index, kind: Index
) -> ImageQuestions:
    """A batch as wide as the longest of its questions."""
    return ImageQuestions(image, _trimmed(words), answer, kind)


def about_objects(
    objects: Float32[Tensor, "batch object feature"],
    count: Index,
    words: UInt8[Tensor, "batch symbol"],
    answer: Index,
    kind: Index,
) -> ObjectQuestions:
    """What `about_images` is, about the first `count` of the objects."""
    present = torch.arange(OBJECTS, device=count.device) < count[:, None]
    return ObjectQuestions(objects, present, _trimmed(words), answer, kind)


def _trimmed(words: UInt8[Tensor, "batch symbol"]) -> Int64[Tensor, "batch kept"]:
    return words.long()[:, : int((words != 0).sum(1).max())]


def _questions(cache: ArrayCache, part: str) -> tuple[Int64[Tensor, " question"], dict[str, Gather]]:
    """The prepared questions of a part: the row of the image or scene of each, and the columns of a batch."""
    names = ("row", "words", "answer", "kind")
    row, words, answer, kind = (StoredArray(cache, f"{part}_{name}").read() for name in names)
    return row.long(), {"words": words, "answer": answer.long(), "kind": kind.long()}


class Clevr(ItemData):
    """CLEVR from its images, scaled to 128 x 128; trained on train, validated and tested on val.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        augment: random changes of training batches; the paper's images are cropped and turned (section 4).
        loading: see `ItemData`.
    """

    yields = ImageQuestions

    def __init__(self, data_root: str, augment: Sequence[Augmentation], **loading: Unpack[Loading]) -> None:
        super().__init__(**loading, augment=augment)
        self.data_root = data_root

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from FILE_SETS["images"].file_problems(arguments["data_root"], download=True)

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"image_shape": (3, SIDE, SIDE), **WORD_FACTS}

    @property
    def names(self) -> Names:
        return Names(answers=ANSWERS, words=WORDS, kinds=KINDS, kind_groups=KIND_GROUPS)

    def tell(self, batch: ImageQuestions) -> list[Told]:
        return [Told(text_of(numbers)) for numbers in batch.question.tolist()]

    @property
    def file_sets(self) -> Sequence[FileSet]:
        return [FILE_SETS["images"]]

    def load(self) -> Mapping[str, ArrayItems]:
        cache = FILE_SETS["images"].prepared(self.data_root, download=True)
        train, val = (self._items(cache, part) for part in ("train", "val"))
        return {TRAIN: train, VAL: val, TEST: val}

    def _items(self, cache: ArrayCache, part: str) -> ArrayItems:
        row, columns = _questions(cache, part)
        return ArrayItems(about_images, {"image": Shared(StoredArray(cache, f"{part}_images"), row), **columns})


class ClevrState(ItemData):
    """CLEVR from descriptions of its scenes, 3 to 10 objects each; trained on train, validated and tested on val.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        loading: see `ItemData`.
    """

    yields = ObjectQuestions

    def __init__(self, data_root: str, **loading: Unpack[Loading]) -> None:
        super().__init__(**loading)
        self.data_root = data_root

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from FILE_SETS["scenes"].file_problems(arguments["data_root"], download=True)

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"object_size": OBJECT_SIZE, "num_objects": OBJECTS, **WORD_FACTS}

    @property
    def names(self) -> Names:
        return Names(answers=ANSWERS, words=WORDS, kinds=KINDS, kind_groups=KIND_GROUPS)

    def tell(self, batch: ObjectQuestions) -> list[Told]:
        """The question, and a line for each object: what it is and where."""
        scenes = zip(batch.question.tolist(), batch.objects, batch.present, strict=True)
        return [
            Told(text_of(numbers), "\n".join(map(_described, rows[: int(present.sum())].tolist())))
            for numbers, rows, present in scenes
        ]

    @property
    def file_sets(self) -> Sequence[FileSet]:
        return [FILE_SETS["scenes"]]

    def load(self) -> Mapping[str, ArrayItems]:
        cache = FILE_SETS["scenes"].prepared(self.data_root, download=True)
        train, val = (self._items(cache, part) for part in ("train", "val"))
        return {TRAIN: train, VAL: val, TEST: val}

    def _items(self, cache: ArrayCache, part: str) -> ArrayItems:
        row, columns = _questions(cache, part)
        objects, count = (StoredArray(cache, f"{part}_{name}").read() for name in ("objects", "object_count"))
        scenes = {"objects": Shared(objects, row), "count": Shared(count.long(), row)}
        return ArrayItems(about_objects, {**scenes, **columns})


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


class OwnImages(OwnData):
    """The user's own questions about the user's own images, in the words of CLEVR; to be answered only.

    Args:
        path: an image, or a folder of them; they are scaled to 128 x 128.
        question: a question, or several, asked about every image.
        seed: names the random streams.
        workers: processes that gather batches; 0 gathers them in this process.
        eval_batch_size: questions a batch, on each device.

    Attributes:
        unreadable: what is wrong with each image that was left out.
    """

    yields = ImageQuestions
    answered_by = "relation_network/clevr"
    instead = "data=image_questions: has no answers; train with data=clevr, then mode=predict answers it"

    def __init__(
        self,
        path: str,
        question: str | list[str],
        seed: int,
        workers: NonNegativeInt,
        eval_batch_size: PositiveInt,
    ) -> None:
        super().__init__(seed, workers, eval_batch_size)
        self.path = Path(path).expanduser()
        self.questions = _as_list(question)
        self.files: list[str] = []

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        path = Path(arguments["path"]).expanduser()
        if not path.exists():
            yield f"path={path}: there is no such file or folder"
        elif path.is_dir() and not has_pictures(path):
            yield f"path={path}: no pictures (.png, .jpg, .webp, ...) in this folder or below"
        questions = _as_list(arguments["question"])
        if not questions:
            yield "question=[]: ask at least one question"
        for question in questions:
            try:
                numbers_of(question)
            except UserError as error:
                yield from (f"question={problem}" for problem in error.problems)

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"image_shape": (3, SIDE, SIDE), **WORD_FACTS, "num_kinds": 1}

    @property
    def names(self) -> Names:
        return Names(answers=ANSWERS, words=WORDS, kinds=("image",))

    def tell(self, batch: ImageQuestions) -> list[Told]:
        return [Told(text_of(numbers)) for numbers in batch.question.tolist()]

    def load(self) -> Mapping[str, ArrayItems]:
        images = torch.from_numpy(self._images())
        words = [torch.tensor(numbers_of(question)) for question in self.questions]
        padded = torch.nn.utils.rnn.pad_sequence(words, batch_first=True)
        columns: dict[str, Gather] = {
            "image": Shared(images, torch.arange(len(images)).repeat_interleave(len(words))),
            "question": padded.repeat(len(images), 1),
            "answer": torch.full((len(images) * len(words),), UNKNOWN),
            "kind": torch.zeros(len(images) * len(words), dtype=torch.int64),
        }
        return {PREDICT: ArrayItems(ImageQuestions, columns)}

    def _images(self) -> UInt8[np.ndarray, "image 3 128 128"]:
        """The readable images; notes their names, and what is wrong with the others."""
        found = list_pictures(self.path) if self.path.is_dir() else [self.path]
        root = self.path if self.path.is_dir() else self.path.parent
        images: list[Picture] = []
        self.unreadable, self.files = [], []
        for file in found:
            try:
                images.append(squeeze(str(file), read_picture(file)))
            except UserError as error:
                self.unreadable += error.problems
            else:
                self.files.append(printable(file.relative_to(root).as_posix()))
        if not images:
            raise UserError(*self.unreadable)
        return np.stack(images)

    def item_names(self) -> list[str]:
        """The image of each question."""
        self.setup("predict")
        return [name for name in self.files for _ in self.questions]


def _as_list(question: Any) -> list[str]:
    return [question] if isinstance(question, str) else list(question)
