"""bAbI: questions about short stories, in 20 tasks (Weston et al. 2015), and questions about your own story.

The tasks are generated from a closed vocabulary, which stands here: whoever trained on them can read other stories.
"""

import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Interval, Lt
from jaxtyping import Int64, UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import UNKNOWN, StoryQuestions
from paperzoo.data.base import BatchLoader
from paperzoo.data.cache import ArrayCache, ArrayWriter, checksums
from paperzoo.data.downloads import Source, tar_files
from paperzoo.data.file_set import FileSet
from paperzoo.data.indexed import QuestionData
from paperzoo.data.splits import hold_out
from paperzoo.errors import UserError

log = logging.getLogger(__name__)

StorySet = Literal["en-10k", "en-valid-10k"]
Task = Annotated[int, Interval(ge=1, le=20)]
Index = Int64[Tensor, " batch"]

_TASKS = (
    "single-supporting-fact two-supporting-facts three-supporting-facts two-arg-relations three-arg-relations "
    "yes-no-questions counting lists-sets simple-negation indefinite-knowledge basic-coreference conjunction "
    "compound-coreference time-reasoning basic-deduction basic-induction positional-reasoning size-reasoning "
    "path-finding agents-motivations"
)
TASKS = tuple(_TASKS.split())
"""Their official names, from task 1 on."""

_WORDS = (
    "a above afraid after afternoon afterwards and antoine apple are back bathroom bedroom before below bernhard "
    "bigger bill blue bored box brian carrying cat cats chest chocolate chocolates cinema color container daniel did "
    "discarded do does down dropped east either emily evening fit fits following football fred frog from garden gave "
    "gertrude get give go got grabbed gray green greg hallway handed he how hungry in inside is jason jeff jessica "
    "john journeyed julie julius kitchen left lily lion longer many mary mice milk morning mouse moved no north not "
    "objects of office or pajamas park passed picked pink put received rectangle red rhino right sandra school she "
    "sheep south sphere square suitcase sumit swan than that the then there they thirsty this tired to took travelled "
    "triangle up was went west what where white who why will winona wolf wolves yann yellow yesterday you"
)
WORDS = tuple(_WORDS.split())
"""Every word of the statements and the questions, in lower case; counted from 1."""

_ANSWERS = (
    "apple bathroom bedroom bill bored cat cinema football fred garden gray green hallway hungry jeff kitchen mary "
    "maybe milk mouse no none nothing office one park school sheep thirsty three tired two white wolf yellow yes "
    "apple,football apple,milk e,e e,n e,s football,apple football,milk milk,apple milk,football n,e n,n n,w s,e s,s "
    "s,w w,n w,s w,w apple,football,milk apple,milk,football football,apple,milk football,milk,apple "
    "milk,apple,football milk,football,apple"
)
ANSWERS = tuple(_ANSWERS.split())
"""Every answer; one of several words is a class of its own."""

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

_WORD_NUMBERS = {word: number for number, word in enumerate(WORDS, start=1)}
_ANSWER_NUMBERS = {answer: number for number, answer in enumerate(ANSWERS)}


@dataclass(frozen=True, eq=False)
class Stories:
    """Stories with questions, as numbers of words, 0 where there is none.

    Attributes:
        sentences: the statements of all stories.
        questions: the questions, in their order.
        first: the first statement of each question's story.
        last: behind the last statement that was made before the question.
        answer: the answers; `UNKNOWN` where none was given.
        kind: the task of each question, from 0.
    """

    sentences: UInt8[Tensor, "sentence word"]
    questions: UInt8[Tensor, "question word"]
    first: Int64[Tensor, " question"]
    last: Int64[Tensor, " question"]
    answer: Int64[Tensor, " question"]
    kind: Int64[Tensor, " question"]


@dataclass(frozen=True, eq=False)
class StoryItems:
    """Some of the questions, gathered a whole batch at a time: `items[index]`.

    Attributes:
        stories: what is asked about.
        rows: the questions that belong to the set.
        facts: statements of the story that are kept, the last ones before the question.
    """

    stories: Stories
    rows: Int64[Tensor, " item"]
    facts: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Index) -> StoryQuestions:
        stories, rows = self.stories, self.rows[index]
        last = stories.last[rows]
        first = torch.maximum(stories.first[rows], last - self.facts)
        sentence = first[:, None] + torch.arange(max(1, int((last - first).max())))
        told = sentence < last[:, None]
        story = stories.sentences[torch.where(told, sentence, 0)] * told[..., None]
        return StoryQuestions(
            _trimmed(story).long(),
            _trimmed(stories.questions[rows]).long(),
            stories.answer[rows],
            stories.kind[rows],
        )


def _trimmed(words: UInt8[Tensor, "*batch word"]) -> UInt8[Tensor, "*batch kept"]:
    """Without the columns behind the longest sentence."""
    return words[..., : max(1, int((words != 0).sum(-1).max()))]


@dataclass(frozen=True)
class Line:
    """A line of a file of stories.

    Attributes:
        number: where in the file it is, from 1.
        starts_story: whether the story begins here.
        words: the numbers of its words.
        answer: the number of the answer, or `UNKNOWN`; None in a statement.
    """

    number: int
    starts_story: bool
    words: list[int]
    answer: int | None


def read_lines(text: str, name: str) -> list[Line]:
    """The lines of a file in bAbI's format: `3 Where is John?`, then tabs with the answer and its supporting facts.

    A story begins where the numbers begin anew. What ends in a question mark or has a tab is a question.

    Args:
        text: the content of the file.
        name: what to call the file in messages.

    Raises:
        UserError: with every line that is not in this format or not in bAbI's words.
    """
    lines: list[Line] = []
    problems: list[str] = []
    previous = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        match = re.fullmatch(r"\s*(\d+)\s+([^\t]*)(?:\t([^\t]*))?(?:\t.*)?", line)
        if match is None:
            problems.append(f"{place}: {line.strip()[:40]!r} has no number in front; a story's lines are 1, 2, 3, ...")
            continue
        own, sentence, answer = int(match[1]), match[2].strip(), match[3]
        if own != 1 and (own <= previous or not lines):
            problems.append(f"{place}: line {own} of a story comes after line {previous}; a story starts with line 1")
        words = re.sub(r"[.?]", "", sentence).lower().split()
        unknown = [f"{word!r} is not a word of bAbI{_like(word, WORDS)}" for word in words if word not in _WORD_NUMBERS]
        question = sentence.endswith("?") or answer is not None
        given = (answer or "").strip().lower()
        if given and given not in _ANSWER_NUMBERS:
            unknown.append(f"{given!r} is not an answer of bAbI{_like(given, ANSWERS)}")
        if not words:
            unknown.append("there is no word")
        problems += [f"{place}: {problem}" for problem in unknown]
        numbers = [_WORD_NUMBERS.get(word, 0) for word in words]
        asked = _ANSWER_NUMBERS.get(given, UNKNOWN) if question else None
        lines.append(Line(number, own == 1, numbers, asked))
        previous = own
    if problems:
        raise UserError(*problems)
    if not any(line.answer is not None for line in lines):
        raise UserError(f"{name}: nothing is asked; end a question with a question mark")
    return lines


def _like(word: str, known: Sequence[str]) -> str:
    """The known words that `word` may have been meant for, as the end of a message."""
    close = difflib.get_close_matches(word, known)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ", nor is one like it"


def stories_of(lines: Sequence[Line], kind: int = 0, longest: int | None = None) -> Stories:
    """The stories that the lines tell.

    Args:
        lines: statements and at least one question.
        kind: of all questions.
        longest: words that a sentence may have; None: as many as it has.
    """
    width = longest or max(len(line.words) for line in lines)
    sentences: list[list[int]] = []
    questions: list[list[int]] = []
    columns: list[tuple[int, int, int, int]] = []
    first = 0
    for line in lines:
        if line.starts_story:
            first = len(sentences)
        padded = line.words + [0] * (width - len(line.words))
        if line.answer is None:
            sentences.append(padded)
        else:
            questions.append(padded)
            columns.append((first, len(sentences), line.answer, kind))
    return Stories(
        torch.tensor(sentences or [[0] * width], dtype=torch.uint8),
        torch.tensor(questions, dtype=torch.uint8),
        *torch.tensor(columns).unbind(1),
    )


@dataclass(frozen=True)
class StoryFiles(FileSet):
    """The files of one of the official sets: the archive, or the folder that it holds.

    Attributes:
        story_set: which one.
    """

    story_set: StorySet = "en-10k"

    def raw(self, data_root: str) -> Path:
        return Path(data_root).expanduser() / "babi" / "raw"

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
    told = dict.fromkeys(SIZES[story_set], 0)
    for task, part, file in _official(story_set):
        if unpacked is None and file not in packed:
            raise UserError(f"{archive}: {inside}{file} is missing; fetch the archive again")
        content = packed[file] if unpacked is None else (unpacked / file).read_bytes()
        name = f"{archive}:{inside}{file}" if unpacked is None else str(unpacked / file)
        lines = read_lines(_decoded(content, name), name)
        if long := [line.number for line in lines if len(line.words) > LONGEST]:
            raise UserError(f"{name}:{long[0]}: more than {LONGEST} words; this is not the official file")
        if unanswered := [line.number for line in lines if line.answer == UNKNOWN]:
            raise UserError(f"{name}:{unanswered[0]}: a question without an answer; this is not the official file")
        stories = stories_of(lines, task, LONGEST)
        for field in fields(stories):
            values = getattr(stories, field.name).numpy()
            shift = told[part] if field.name in ("first", "last") else 0
            writer.append(f"{part}_{field.name}", values + np.array(shift, values.dtype))
        told[part] += len(stories.sentences)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error


FILE_SETS: Mapping[StorySet, StoryFiles] = {
    "en-10k": StoryFiles("babi", partial(convert, story_set="en-10k"), (_ARCHIVE,), story_set="en-10k"),
    "en-valid-10k": StoryFiles(
        "babi_valid", partial(convert, story_set="en-valid-10k"), (_ARCHIVE,), story_set="en-valid-10k"
    ),
}


def opened(cache: ArrayCache, part: str) -> Stories:
    """The prepared stories of a part."""
    return Stories(*(torch.from_numpy(np.array(cache.open(f"{part}_{field.name}"))) for field in fields(Stories)))


def vocabulary_problems(arguments: Mapping[str, Any], kinds: int) -> Iterator[str]:
    """What is wrong with the sizes that a config of stories states."""
    for what, size in {"words": len(WORDS), "answers": len(ANSWERS), "kinds": kinds}.items():
        if arguments[f"num_{what}"] != size:
            yield f"data.num_{what}={arguments[f'num_{what}']}: there are {size} {what}; set that"


class StoryData(QuestionData):
    """Base of the sets of stories in the words of bAbI."""

    yields = StoryQuestions
    follows_model: ClassVar[tuple[str, ...]] = ("facts",)

    @property
    def answer_names(self) -> list[str]:
        return list(ANSWERS)

    def question_texts(self, batch: StoryQuestions) -> list[str]:
        return [f"{text}?" for text in _texts(batch.question)]

    def context_texts(self, batch: StoryQuestions) -> list[str]:
        return ["\n".join(f"{text}." for text in _texts(story) if text) for story in batch.story]


def _texts(rows: Int64[Tensor, "row word"]) -> list[str]:
    return [" ".join(WORDS[number - 1] for number in row if number).capitalize() for row in rows.tolist()]


class Babi(StoryData):
    """The 20 tasks, or some of them, for one model.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        seed: names the random streams.
        download: fetch what is missing; False never touches the network.
        story_set: "en-10k", with 10,000 training questions a task, or "en-valid-10k", the same with a tenth of them
            set aside for validation already.
        tasks: numbers of the tasks.
        train_questions: training questions a task, the first ones; None: all.
        validation_fraction: share of the training stories of each task of en-10k that is held out, the same ones in
            every run; 0: validate on the test questions.
        facts: statements of the story that are kept, the last ones before the question.
        num_words: 145.
        num_answers: 60.
        num_kinds: 20, whatever the tasks.
        batch_size: training questions in a batch, on each device.
        eval_batch_size: questions a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    def __init__(
        self,
        data_root: str,
        seed: int,
        download: bool,
        story_set: StorySet,
        tasks: tuple[Task, ...],
        train_questions: PositiveInt | None,
        validation_fraction: Annotated[float | int, Ge(0), Lt(1)],
        facts: PositiveInt,
        num_words: PositiveInt,
        num_answers: PositiveInt,
        num_kinds: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.data_root = data_root
        self.download = download
        self.story_set: StorySet = story_set
        self.tasks = sorted(set(tasks))
        self.train_questions = train_questions
        self.validation_fraction = validation_fraction
        self.facts = facts

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from vocabulary_problems(arguments, len(TASKS))
        if not arguments["tasks"]:
            yield "data.tasks=[]: name at least one task, from 1 to 20"
        yield from FILE_SETS[arguments["story_set"]].file_problems(
            arguments["data_root"], download=arguments["download"]
        )

    @property
    def kind_names(self) -> list[str]:
        return [f"task{task}" for task in range(1, 1 + len(TASKS))]

    def prepare_data(self) -> None:
        """Downloads and prepares the arrays, once for all processes of the machine.

        Raises:
            UserError: no network, missing, damaged or wrong files, no space.
        """
        FILE_SETS[self.story_set].prepare(self.data_root, download=self.download)

    def load(self) -> Mapping[str, StoryItems]:
        cache = FILE_SETS[self.story_set].cache(self.data_root)
        if not cache.is_prepared:
            self.prepare_data()
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
        return {"train": train, "val": validation, "test": test}

    def _items(self, stories: Stories, rows: Sequence[Tensor]) -> StoryItems:
        return StoryItems(stories, torch.cat(list(rows)), self.facts)

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


class BabiStory(StoryData):
    """The questions in a file of your own, in bAbI's format and words; to be answered, or tested on if it has answers.

    Args:
        path: the file.
        seed: names the random streams.
        facts: statements of the story that are kept, the last ones before the question; those of the model's training.
        num_words: 145.
        num_answers: 60.
        num_kinds: 1.
        batch_size: of no use, there is nothing to train on.
        eval_batch_size: questions a batch, on each device.
        workers: processes that gather batches; 0 gathers them in this process.
    """

    def __init__(
        self,
        path: str,
        seed: int,
        facts: PositiveInt,
        num_words: PositiveInt,
        num_answers: PositiveInt,
        num_kinds: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.path = Path(path).expanduser()
        self.facts = facts

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from vocabulary_problems(arguments, 1)
        try:
            own_lines(Path(arguments["path"]).expanduser())
        except UserError as error:
            yield from error.problems

    @property
    def kind_names(self) -> list[str]:
        return ["story"]

    def load(self) -> Mapping[str, StoryItems]:
        stories = stories_of(own_lines(self.path))
        return {"test": StoryItems(stories, torch.arange(len(stories.questions)), self.facts)}

    def train_dataloader(self) -> BatchLoader:
        raise self._nothing_to_train_on

    val_dataloader = train_dataloader

    def test_dataloader(self) -> BatchLoader:
        unanswered = [line.number for line in own_lines(self.path) if line.answer == UNKNOWN]
        if unanswered:
            raise UserError(f"{self.path}:{unanswered[0]}: has no answer to test on; write it behind a tab, or predict")
        return super().test_dataloader()

    def initial_batch(self, size: int) -> StoryQuestions:
        raise self._nothing_to_train_on

    @property
    def _nothing_to_train_on(self) -> UserError:
        return UserError("data=babi_story: has nothing to train on; train with data=babi, then mode=predict answers it")

    def item_names(self) -> list[str]:
        return [f"line {line.number}" for line in own_lines(self.path) if line.answer is not None]


def own_lines(path: Path) -> list[Line]:
    """The lines of the user's file.

    Raises:
        UserError: it cannot be read, or is not in bAbI's format and words.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"data.path={path}: cannot be read ({error.strerror}); choose a text file") from error
    return read_lines(_decoded(content, str(path)), str(path))
