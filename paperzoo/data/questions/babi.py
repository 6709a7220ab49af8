"""bAbI: questions about short stories, in 20 tasks (Weston et al. 2015), and questions about your own story."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Unpack

import numpy as np
import torch
from annotated_types import Ge, Interval, Lt
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import UNKNOWN, Names, StoryQuestions, Told
from paperzoo.data.base.module import TEST, TRAIN, VAL, ItemData, Loading
from paperzoo.data.base.order import BatchLoader, hold_out
from paperzoo.data.base.own import OwnData
from paperzoo.data.prepared.cache import ArrayCache, ArrayWriter, checksums
from paperzoo.data.prepared.downloads import Source, tar_files
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.questions.babi_stories import (
    ANSWERS,
    WORDS,
    Stories,
    StoryItems,
    own_lines,
    read_lines,
    stories_of,
    texts_of,
)
from paperzoo.errors import UserError
from paperzoo.text import decode_text

log = logging.getLogger(__name__)

StorySet = Literal["en-10k", "en-valid-10k"]
Task = Annotated[int, Interval(ge=1, le=20)]

_TASKS = (
    "single-supporting-fact two-supporting-facts three-supporting-facts two-arg-relations three-arg-relations "
    "yes-no-questions counting lists-sets simple-negation indefinite-knowledge basic-coreference conjunction "
    "compound-coreference time-reasoning basic-deduction basic-induction positional-reasoning size-reasoning "
    "path-finding agents-motivations"
)
TASKS = tuple(_TASKS.split())
"""Their official names, from task 1 on."""

LONGEST = 11  # words of the longest sentence
SIZES: Mapping[StorySet, Mapping[str, int]] = {
    "en-10k": {"train": 10_000, "test": 1000},
    "en-valid-10k": {"train": 9000, "valid": 1000, "test": 1000},
}
"""The questions of each task, by part."""

_FOLDER = "tasks_1-20_v1-2"
_ARCHIVE = Source(
    f"{_FOLDER}.tar.gz",
    (f"http://www.thespermwhale.com/jaseweston/babi/{_FOLDER}.tar.gz",),
    "sha256:0364ebde659f14d11bc21744516c5ec49d3d06cb692733f66680771244998898",
)


@dataclass(frozen=True)
class StoryFiles(FileSet):
    """The files of one of the official sets: the archive, or the folder that it holds.

    Attributes:
        story_set: which one.
    """

    story_set: StorySet = "en-10k"

    def missing(self, folder: Path) -> list[str]:
        unpacked = _unpacked(folder, self.story_set)
        if unpacked is None:
            return [] if (folder / _ARCHIVE.file).is_file() else [_ARCHIVE.file]
        names = [file for _, _, file in _official(self.story_set)]
        return [f"{unpacked.relative_to(folder)}/{file}" for file in names if not (unpacked / file).is_file()]

    def digests(self, folder: Path) -> dict[str, str]:
        unpacked = _unpacked(folder, self.story_set)
        if unpacked is None:
            # not compared: more than one edition is in circulation, and what is inside is read strictly
            return {_ARCHIVE.file: checksums(folder / _ARCHIVE.file, "sha256")["sha256"]}
        names = [file for _, _, file in _official(self.story_set)]
        return {file: checksums(unpacked / file, "sha256")["sha256"] for file in names}


def _official(story_set: StorySet) -> Iterator[tuple[int, str, str]]:
    """Task (from 0), part and name of each file of a set."""
    for task, name in enumerate(TASKS):
        for part in SIZES[story_set]:
            stem = f"qa{task + 1}_{name}" if story_set == "en-10k" else f"qa{task + 1}"
            yield task, part, f"{stem}_{part}.txt"


def _unpacked(folder: Path, story_set: StorySet) -> Path | None:
    places = (folder / _FOLDER / story_set, folder / story_set)
    return next((place for place in places if place.is_dir()), None)


def convert(files: Path, writer: ArrayWriter, story_set: StorySet) -> None:
    """The arrays of `Stories`, for each part: `train_sentences`, `train_questions`, ..."""
    unpacked = _unpacked(files, story_set)
    archive = files / _ARCHIVE.file
    inside = f"{_FOLDER}/{story_set}/"
    packed = (
        {name.removeprefix(inside): content for name, content in tar_files(archive) if name.startswith(inside)}
        if unpacked is None
        else {}
    )
    before = dict.fromkeys(SIZES[story_set], 0)
    for task, part, file in _official(story_set):
        if unpacked is None and file not in packed:
            raise UserError(f"{archive}: {inside}{file} is missing; fetch the archive again")
        content = packed[file] if unpacked is None else (unpacked / file).read_bytes()
        name = f"{archive}:{inside}{file}" if unpacked is None else str(unpacked / file)
        lines = read_lines(decode_text(content, name), name)
        if long := [line.number for line in lines if len(line.words) > LONGEST]:
            raise UserError(f"{name}:{long[0]}: more than {LONGEST} words; this is not the official file")
        if unanswered := [line.number for line in lines if line.answer == UNKNOWN]:
            raise UserError(f"{name}:{unanswered[0]}: a question without an answer; this is not the official file")
        stories = stories_of(lines, task, LONGEST)
        for field in fields(stories):
            values = getattr(stories, field.name).numpy()
            shift = before[part] if field.name in ("first", "last") else 0
            writer.append(f"{part}_{field.name}", values + np.array(shift, values.dtype))
        before[part] += len(stories.sentences)


def _file_set(name: str, story_set: StorySet) -> StoryFiles:
    return StoryFiles(
        name,
        partial(convert, story_set=story_set),
        (_ARCHIVE,),
        home="babi",
        terms="CC BY 3.0",
        megabytes=12,
        story_set=story_set,
    )


FILE_SETS: Mapping[StorySet, StoryFiles] = {
    "en-10k": _file_set("babi", "en-10k"),
    "en-valid-10k": _file_set("babi_valid", "en-valid-10k"),
}


def opened(cache: ArrayCache, part: str) -> Stories:
    """The prepared stories of a part."""
    return Stories(*(torch.from_numpy(np.array(cache.open(f"{part}_{field.name}"))) for field in fields(Stories)))


def told(batch: StoryQuestions) -> list[Told]:
    """The stories and their questions."""
    questions = [f"{text}?" for text in texts_of(batch.question)]
    stories = ["\n".join(f"{text}." for text in texts_of(story) if text) for story in batch.story]
    return list(map(Told, questions, stories))


class Babi(ItemData):
    """The 20 tasks, or some of them, for one model; a kind is a task, whatever the tasks.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        download: fetch what is missing; False never touches the network.
        story_set: "en-10k", with 10,000 training questions a task, or "en-valid-10k", the same with a tenth of them
            set aside for validation already.
        tasks: numbers of the tasks.
        train_questions: training questions a task, the first ones; None: all.
        validation_fraction: share of the training stories of each task of en-10k that is held out, the same ones in
            every run; 0: validate on the test questions.
        statements: how many of the story are kept, the last ones before the question.
        loading: see `ItemData`.
    """

    yields = StoryQuestions
    follows_model: ClassVar[tuple[str, ...]] = ("statements",)

    def __init__(
        self,
        data_root: str,
        download: bool,
        story_set: StorySet,
        tasks: tuple[Task, ...],
        train_questions: PositiveInt | None,
        validation_fraction: Annotated[float | int, Ge(0), Lt(1)],
        statements: PositiveInt,
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading)
        self.data_root = data_root
        self.download = download
        self.story_set: StorySet = story_set
        self.tasks = sorted(set(tasks))
        self.train_questions = train_questions
        self.validation_fraction = validation_fraction
        self.statements = statements

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if not arguments["tasks"]:
            yield "tasks=[]: name at least one task, from 1 to 20"
        yield from FILE_SETS[arguments["story_set"]].file_problems(
            arguments["data_root"], download=arguments["download"]
        )

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {
            "num_words": len(WORDS),
            "num_answers": len(ANSWERS),
            "num_kinds": len(TASKS),
            "statements": arguments["statements"],
        }

    @property
    def names(self) -> Names:
        return Names(answers=ANSWERS, words=WORDS, kinds=tuple(f"task{task}" for task in range(1, 1 + len(TASKS))))

    def tell(self, batch: StoryQuestions) -> list[Told]:
        return told(batch)

    @property
    def file_sets(self) -> Sequence[FileSet]:
        return [FILE_SETS[self.story_set]]

    def load(self) -> Mapping[str, StoryItems]:
        cache = FILE_SETS[self.story_set].prepared(self.data_root, download=self.download)
        stories = {part: opened(cache, part) for part in SIZES[self.story_set]}
        rows = {part: self._rows_by_task(part, stories[part]) for part in stories}
        test = self._items(stories["test"], rows["test"])
        if self.story_set == "en-valid-10k":
            validation = self._items(stories["valid"], rows["valid"])
            kept = rows["train"]
        else:
            pairs = [self._hold_out(stories["train"], own) for own in rows["train"]]
            kept = [own for own, _ in pairs]
            held = [own for _, own in pairs]
            validation = self._items(stories["train"], held) if self.validation_fraction else test
        train = self._items(stories["train"], [own[: self.train_questions] for own in kept])
        return {TRAIN: train, VAL: validation, TEST: test}

    def _items(self, stories: Stories, rows: Sequence[Tensor]) -> StoryItems:
        return StoryItems(stories, torch.cat(list(rows)), self.statements)

    def _rows_by_task(self, part: str, stories: Stories) -> list[Tensor]:
        by_task = [(stories.kind == task - 1).nonzero().squeeze(1) for task in self.tasks]
        expected = SIZES[self.story_set][part]
        for task, rows in zip(self.tasks, by_task, strict=True):
            if len(rows) < expected:
                log.warning("bAbI task %d: %d %s questions instead of the official %d", task, len(rows), part, expected)
        return by_task

    def _hold_out(self, stories: Stories, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(kept, held out) questions of a task; no story is in both."""
        _, story = stories.first[rows].unique(return_inverse=True)
        count = int(story.max()) + 1
        _, held = hold_out(count, round(self.validation_fraction * count))
        is_held = torch.isin(story, torch.from_numpy(held))
        return rows[~is_held], rows[is_held]


class BabiStory(OwnData):
    """The questions in a file of your own, in bAbI's format and words; to be answered, or tested on if it has answers.

    Args:
        path: the file.
        statements: how many of the story are kept, the last ones before the question; as in the model's training.
        seed: names the random streams.
        workers: processes that gather batches; 0 gathers them in this process.
        eval_batch_size: questions a batch, on each device.
    """

    yields = StoryQuestions
    follows_model: ClassVar[tuple[str, ...]] = ("statements",)
    answered_by = "relation_network/babi_laptop"
    instead = "data=babi_story: has nothing to train on; train with data=babi, then mode=predict answers it"

    def __init__(
        self, path: str, statements: PositiveInt, seed: int, workers: NonNegativeInt, eval_batch_size: PositiveInt
    ) -> None:
        super().__init__(seed, workers, eval_batch_size)
        self.path = Path(path).expanduser()
        self.statements = statements

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        try:
            own_lines(Path(arguments["path"]).expanduser())
        except UserError as error:
            yield from (f"path={problem}" for problem in error.problems)

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {
            "num_words": len(WORDS),
            "num_answers": len(ANSWERS),
            "num_kinds": 1,
            "statements": arguments["statements"],
        }

    @property
    def names(self) -> Names:
        return Names(answers=ANSWERS, words=WORDS, kinds=("story",))

    def tell(self, batch: StoryQuestions) -> list[Told]:
        return told(batch)

    def load(self) -> Mapping[str, StoryItems]:
        stories = stories_of(own_lines(self.path))
        return {TEST: StoryItems(stories, torch.arange(len(stories.questions)), self.statements)}

    def test_dataloader(self) -> BatchLoader:
        unanswered = [line.number for line in own_lines(self.path) if line.answer == UNKNOWN]
        if unanswered:
            raise UserError(f"{self.path}:{unanswered[0]}: has no answer to test on; write it behind a tab, or predict")
        return super().test_dataloader()

    def item_names(self) -> list[str]:
        return [f"line {line.number}" for line in own_lines(self.path) if line.answer is not None]
