"""Stories in the format and the words of bAbI (Weston et al. 2015), and questions about them.

The tasks are generated from a closed vocabulary, which stands here: whoever trained on them can read other stories.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from paperzoo.batches import UNKNOWN, StoryQuestions
from paperzoo.data.base.items import Index
from paperzoo.errors import UserError
from paperzoo.machine import room_for_text
from paperzoo.text import read_text

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

PADDED_GROWS = 16  # bytes for each word of a sentence, and for what it lacks of the longest one
LONGEST = 1000  # words of a sentence; every other one takes as much memory

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
        statements: how many of the story are kept, the last ones before the question.
    """

    stories: Stories
    rows: Int64[Tensor, " item"]
    statements: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Index) -> StoryQuestions:
        stories, rows = self.stories, self.rows[index.to(self.rows.device)]
        last = stories.last[rows]
        first = torch.maximum(stories.first[rows], last - self.statements)
        sentence = first[:, None] + torch.arange(max(1, int((last - first).max())), device=rows.device)
        told = sentence < last[:, None]
        story = stories.sentences[torch.where(told, sentence, 0)] * told[..., None]
        return StoryQuestions(
            _trimmed(story).long(),
            _trimmed(stories.questions[rows]).long(),
            stories.answer[rows],
            stories.kind[rows],
        )

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        return (*_columns(self.stories), self.rows)

    def to(self, device: torch.device) -> "StoryItems":
        stories = Stories(*(column.to(device) for column in _columns(self.stories)))
        return StoryItems(stories, self.rows.to(device), self.statements)


def _columns(stories: Stories) -> tuple[Tensor, ...]:
    return tuple(getattr(stories, field.name) for field in fields(stories))


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


_LINE = re.compile(r"\s*(\d+)[.):]?\s+([^\t]*)(?:\t([^\t]*))?(?:\t.*)?")
# Where an editor has turned the tabs into spaces.
_ANSWERED = re.compile(r"([^?]*\?)\s+([a-z,]+)(?:\s+\d+)*", re.IGNORECASE)


def read_lines(text: str, name: str) -> list[Line]:
    """The lines of a file in bAbI's format: `3 Where is John?`, then tabs with the answer and its supporting facts.

    A story begins where the numbers begin anew, from 1 or 0 as those of the first story do, and with a statement; its
    numbers go on one by one. What ends in a question mark or has an answer is a question. A number may have a dot, a
    colon or a bracket behind it.

    Args:
        text: the content of the file, with LF as its line ends.
        name: what to call the file in messages.

    Raises:
        UserError: with every line that is not in this format or not in bAbI's words.
    """
    lines: list[Line] = []
    problems: list[str] = []
    first, previous, told = 1, 0, False  # `told`: whether the story has a statement yet
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(f"{place}: {line.strip()[:40]!r} has no number in front; a story's lines are 1, 2, 3, ...")
            continue
        own, sentence, answer = int(match[1]), match[2].strip(), match[3]
        if not lines and own == 0:
            first, previous = 0, -1
        if own == first:
            told = False
        elif own != previous + 1 or not lines:
            problems.append(_number_problem(place, own, previous, first))
        if answer is None and (answered := _ANSWERED.fullmatch(sentence)):
            sentence, answer = answered[1], answered[2]
        words = re.sub(r"[.?]", "", sentence).lower().split()
        unknown = [f"{word!r} is not a word of bAbI{_like(word, WORDS)}" for word in words if word not in _WORD_NUMBERS]
        question = sentence.endswith("?") or answer is not None
        given = (answer or "").strip().lower()
        if given and given not in _ANSWER_NUMBERS:
            unknown.append(f"{given!r} is not an answer of bAbI{_like(given, ANSWERS)}")
        if not words:
            unknown.append("there is no word")
        if len(words) > LONGEST:
            unknown = [f"{len(words)} words in a sentence; {LONGEST} are read at most"]
        if question and not told:
            unknown.append("asks before anything is told; a story begins with a statement")
        told = told or not question
        problems += [f"{place}: {problem}" for problem in unknown]
        numbers = [_WORD_NUMBERS.get(word, 0) for word in words]
        asked = _ANSWER_NUMBERS.get(given, UNKNOWN) if question else None
        lines.append(Line(number, own == first, numbers, asked))
        previous = own
    if problems:
        raise UserError(*problems)
    if not any(line.answer is not None for line in lines):
        raise UserError(f"{name}: nothing is asked; end a question with a question mark")
    return lines


def _number_problem(place: str, own: int, previous: int, first: int) -> str:
    """What is wrong with the number of a line that neither begins a story nor is the next one."""
    if own > previous + 1 and previous >= first:
        missing = f"line {previous + 1} is" if own == previous + 2 else f"lines {previous + 1} to {own - 1} are"
        return f"{place}: line {own} of a story comes after line {previous}; {missing} missing, or number them anew"
    return f"{place}: line {own} of a story comes after line {previous}; a story starts with line {first}"


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


def texts_of(rows: Int64[Tensor, "row word"]) -> list[str]:
    """Each sentence as a reader would write it, but for the mark at its end."""
    return [" ".join(WORDS[number - 1] for number in row if number).capitalize() for row in rows.tolist()]


def own_lines(path: Path) -> list[Line]:
    """The lines of the user's file.

    Raises:
        UserError: it cannot be read, is not in bAbI's format and words, or has no room in memory.
    """
    lines = read_lines(read_text(path), str(path))
    longest = max(lines, key=lambda line: len(line.words))
    if len(lines) * len(longest.words) > room_for_text(PADDED_GROWS):
        raise UserError(
            f"{path}:{longest.number}: has {len(longest.words)} words, and {len(lines)} lines as long have no room in "
            "memory; split the file"
        )
    return lines
