"""The language of CLEVR (Johnson et al. 2017): words, answers and kinds of questions, in the order of their numbers."""

import difflib
import re
from collections.abc import Sequence

from paperzoo.errors import UserError

# In lower case. All words of the 90 question templates of CLEVR 1.0 and of their synonyms, and two marks.
WORDS = (
    ",", ";", "a", "an", "and", "another", "any", "anything", "are", "as", "ball", "balls", "behind", "big", "block",
    "blocks", "blue", "both", "brown", "color", "cube", "cubes", "cyan", "cylinder", "cylinders", "do", "does",
    "either", "else", "equal", "fewer", "front", "gray", "greater", "green", "has", "have", "how", "in", "is", "it",
    "its", "large", "left", "less", "made", "many", "material", "matte", "metal", "metallic", "more", "number",
    "object", "objects", "of", "on", "or", "other", "purple", "red", "right", "rubber", "same", "shape", "shiny",
    "side", "size", "small", "sphere", "spheres", "than", "that", "the", "there", "thing", "things", "tiny", "to",
    "visible", "what", "yellow",
)  # fmt: skip

COLOURS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
SHAPES = ("cube", "sphere", "cylinder")
MATERIALS = ("rubber", "metal")
SIZES = ("small", "large")
ANSWERS = (*(str(number) for number in range(11)), "yes", "no", *COLOURS, *SHAPES, *MATERIALS, *SIZES)

# By the last function of a question's program; Table 1 of Santoro et al. 2017 reports the groups.
KIND_GROUPS = {
    "count": ("count",),
    "exist": ("exist",),
    "compare_numbers": ("equal_integer", "less_than", "greater_than"),
    "query_attribute": ("query_color", "query_material", "query_shape", "query_size"),
    "compare_attribute": ("equal_color", "equal_material", "equal_shape", "equal_size"),
}
KINDS = tuple(kind for kinds in KIND_GROUPS.values() for kind in kinds)

WORD_NUMBERS = {word: number for number, word in enumerate(WORDS, start=1)}
_TOKEN = re.compile(r"[^\s?.;,]+|[;,]")


def numbers_of(question: str) -> list[int]:
    """The numbers of the words, from 1; semicolons and commas are words, question marks and full stops nothing.

    Raises:
        UserError: there is no word, or there are unknown ones; names them and the known ones that are close.
    """
    words = _TOKEN.findall(question.lower())
    if not any(word not in ";," for word in words):
        raise UserError(f"{question!r}: is no question; ask with the words of CLEVR: How many red cubes are there?")
    if unknown := [word for word in dict.fromkeys(words) if word not in WORD_NUMBERS]:
        raise UserError(f"{question!r}: not in the vocabulary of CLEVR: {'; '.join(map(_with_likes, unknown))}")
    return [WORD_NUMBERS[word] for word in words]


def _with_likes(word: str) -> str:
    close = difflib.get_close_matches(word, WORDS)
    return f"{word!r} (did you mean {' or '.join(map(repr, close))}?)" if close else repr(word)


def text_of(numbers: Sequence[int]) -> str:
    """The question that the words make, as a reader would write it; zeros are nothing."""
    text = " ".join(WORDS[number - 1] for number in numbers if number)
    return f"{text[:1].upper()}{text[1:]}?".replace(" ;", ";").replace(" ,", ",")
