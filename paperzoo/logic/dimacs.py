"""Formulas in DIMACS CNF, the format of the SAT competitions: files, labels, and solutions as solvers print them.

A file that is read is taken literally or refused, never guessed at: a formula that was cut short can have solutions
that the whole one does not have. As solvers do, the reader accepts clauses over several lines, several clauses on a
line and comments anywhere; SATLIB's files may end in a `%`, on a line of its own or behind the last clause, and a `0`.
An empty clause, which nothing satisfies, is legal, and so is a formula without clauses, which everything satisfies.
"""

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64

from paperzoo.errors import UserError
from paperzoo.files import leads_nowhere, visible_files, write_bytes
from paperzoo.logic.cnf import Formula
from paperzoo.text import Limited, plain_stream


class _Compression(NamedTuple):
    open: Callable[..., Any]
    compress: Callable[[bytes], bytes]


COMPRESSIONS = {
    ".gz": _Compression(gzip.open, lambda content: gzip.compress(content, mtime=0)),
    ".bz2": _Compression(bz2.open, bz2.compress),
    ".xz": _Compression(lzma.open, lzma.compress),
    ".lzma": _Compression(lzma.open, partial(lzma.compress, format=lzma.FORMAT_ALONE)),
}
OTHER_PACKING = (".zst", ".zip", ".z", ".7z", ".lz", ".lz4", ".br", ".rar")
SUFFIXES = tuple(plain + packed for plain in (".cnf", ".dimacs") for packed in ("", *COMPRESSIONS))

# How much of a file is read to see whether it is one of DIMACS.
HEAD_BYTES = 1 << 16

# What is held in memory besides the numbers that were read.
CHUNK_BYTES = 1 << 22

# A word, or a line before the clauses, that is longer is none of a formula.
LONGEST = 1 << 20

# Times its size that a formula takes in memory: its numbers as int32 and int64, its clauses as lists.
GROWS = 12

# As many variables as any file may announce, whether its clauses have them or not.
FEW_VARIABLES = 100_000

MAX_NUMBER = int(np.iinfo(np.int32).max)

SPACE, DIGIT, MINUS, OTHER = range(4)
_KIND = np.full(256, OTHER, dtype=np.uint8)
_KIND[list(b" \t\n\r\v\f")] = SPACE
_KIND[list(b"0123456789")] = DIGIT
_KIND[ord("-")] = MINUS

# Begins with the line end before it, which is found much faster than the beginning of a line.
_COMMENT_LINE = re.compile(rb"\n[ \t]*c[^\n]*")
_END = re.compile(rb"(?:^|(?<=[ \t\n]))%[^\n]*")
_HEADER = re.compile(rb"(?:[ \t]*(?:c[^\n]*)?\n)*[ \t]*p[ \t]+cnf[ \t]")
_NUMBER = re.compile(rb"-?[0-9]+")


def read_dimacs(path: Path) -> Formula:
    """Reads a DIMACS CNF file, unpacked as its suffix (.gz, .bz2, .xz, .lzma) says.

    A literal that a clause repeats is read once; a clause with a literal and its negation stays. Both keep the meaning.

    Raises:
        UserError: the file cannot be read, or is not exactly what its line `p cnf VARIABLES CLAUSES` announces: the
            line is missing, malformed or repeated, another format, a token that is no literal, a variable or a number
            of clauses other than announced, a last clause without its 0. Also a formula without variables.
    """
    if leads_nowhere(path):
        raise UserError(f"{path}: a link to {path.readlink()}, which is not there; mend or delete the link")
    try:
        with _opener(path)(path, "rb") as stream:
            is_packed = path.suffix.lower() in COMPRESSIONS
            text = Limited(stream, str(path), path.stat().st_size, grows=GROWS, is_packed=is_packed)
            formula = _read(path, plain_stream(text))
    except (OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); check that it is there, whole and readable") from error
    if formula.variables > max(text.count, FEW_VARIABLES):
        raise UserError(
            f"{path}: the `p cnf` line announces {formula.variables} variables, more than {text.count} characters can "
            f"name; write the number of those that occur"
        )
    return formula


def _opener(path: Path) -> Callable[..., Any]:
    packing = COMPRESSIONS.get(path.suffix.lower())
    return packing.open if packing else open


def _read(path: Path, stream: BufferedReader) -> Formula:
    variables, announced, line = _read_header(path, stream)
    literals: list[Int32[np.ndarray, " _"]] = []
    lengths: list[Int32[np.ndarray, " _"]] = []
    pending = np.empty(0, dtype=np.int64)  # the clause that the last chunk left open
    for text in _chunks(path, stream, line):
        values = _integers(text)
        if values is None or max(int(values.max(initial=0)), -int(values.min(initial=0))) > variables:
            raise UserError(_token_problem(path, text, line, variables))
        values = np.concatenate([pending, values])
        ends = np.flatnonzero(values == 0)
        clause_lengths = np.diff(ends, prepend=-1) - 1
        closed = int(ends[-1]) + 1 if len(ends) else 0
        pending = _shortened(values[closed:])
        clauses = _without_repeats(values[:closed], clause_lengths, variables)
        literals.append(clauses.literals)
        lengths.append(clauses.lengths)
        line += text.count(b"\n")
    if len(pending):
        raise UserError(
            f"{path}: the last clause is not ended by a 0; the file was cut short, or add the 0 if nothing is missing"
        )
    found = sum(map(len, lengths))
    if found != announced:
        raise UserError(
            f"{path}: the line `p cnf {variables} {announced}` announces {announced} clauses, the file has {found}; "
            f"it was cut short or changed, or write {found} there if nothing is missing"
        )
    if not variables:
        raise UserError(f"{path}: has no variables; there is nothing to solve")
    nothing = np.empty(0, dtype=np.int32)
    return Formula(variables, np.concatenate([nothing, *literals]), np.concatenate([nothing, *lengths]))


def _without_repeats(
    values: Int64[np.ndarray, " value"], lengths: Int64[np.ndarray, " clause"], variables: int
) -> Formula:
    """Clauses that end in a 0 each, with each literal once in a clause, at its first place."""
    literals = values[values != 0]
    clause = np.repeat(np.arange(len(lengths)), lengths)
    key = clause * (2 * variables + 1) + literals
    ordered = np.sort(key, kind="stable")  # merges what is nearly in order: ten times as fast
    if (ordered[1:] == ordered[:-1]).any():
        first = np.sort(np.unique(key, return_index=True)[1])
        literals, lengths = literals[first], np.bincount(clause[first], minlength=len(lengths))
    return Formula(variables, literals.astype(np.int32), lengths.astype(np.int32))


def _shortened(clause: Int64[np.ndarray, " literal"]) -> Int64[np.ndarray, " kept"]:
    """A clause that is not ended yet, without repeats if it is so long that it must have some."""
    if len(clause) < CHUNK_BYTES:
        return clause
    return clause[np.sort(np.unique(clause, return_index=True)[1])]


def _read_header(path: Path, stream: BufferedReader) -> tuple[int, int, int]:
    """Reads up to the `p` line; gives its two numbers, and the number of the line that follows."""
    for line, text in enumerate(iter(partial(stream.readline, LONGEST), b""), start=1):
        words = text.split()
        if not words or words[0].startswith(b"c"):
            continue
        if words[0] != b"p":
            raise UserError(
                f"{path}, line {line}: {_shown(text)} stands where the line `p cnf VARIABLES CLAUSES` must be, before "
                f"the first clause; add that line, or convert the file if it is not a DIMACS CNF file"
            )
        if words[1:2] != [b"cnf"] and len(words) > 1:
            raise UserError(
                f"{path}, line {line}: {_shown(text)} announces the format {_shown(words[1])}; only `p cnf` is read, "
                f"convert the file to plain DIMACS CNF"
            )
        numbers = [_number(word) for word in words[2:]]
        match numbers:
            case [int(variables), int(clauses)] if 0 <= variables <= MAX_NUMBER and 0 <= clauses <= MAX_NUMBER:
                return variables, clauses, line + 1
        raise UserError(
            f"{path}, line {line}: {_shown(text)} is malformed; write `p cnf VARIABLES CLAUSES` with two whole "
            f"numbers of 0 ... {MAX_NUMBER}"
        )
    raise UserError(f"{path}: has no line `p cnf VARIABLES CLAUSES`; it is empty or not a DIMACS CNF file")


def _chunks(path: Path, stream: BufferedReader, line: int) -> Iterator[bytes]:
    """The clauses, some millions of bytes at a time, with nothing left of comments but their line ends.

    Every part ends behind a space or line end, also where a whole file is a single line.
    """
    held, is_line, in_comment = b"", True, False  # what was read and not given; whether it begins a line
    while (block := stream.read(CHUNK_BYTES)) or held:
        text = held + (block or b"\n")
        held = b""
        if in_comment:
            text = text[text.index(b"\n") :] if b"\n" in text else b""
            in_comment = not text
        end = text.rfind(b"\n") + 1
        if not end and is_line and _COMMENT_LINE.match(b"\n" + text):
            in_comment = True
            continue
        if not end:
            end = _last_space(text)
            if len(text) - end > LONGEST:
                raise UserError(
                    f"{path}, line {line}: {_shown(text[end:])} goes on without a space or a line end; correct it"
                )
        text, held = text[:end], text[end:]
        if b"c" in text:
            text = _COMMENT_LINE.sub(b"\n", b"\n" + text)[1:] if is_line else _COMMENT_LINE.sub(b"\n", text)
        if b"%" in text and (mark := _END.search(text)):
            _refuse_text_behind(path, line + text.count(b"\n", 0, mark.start()), text[mark.end() :] + held, stream)
            yield text[: mark.start()] + b"\n"
            return
        if text:
            yield text
            line += text.count(b"\n")
            is_line = text.endswith(b"\n") or (is_line and text.isspace())


def _last_space(text: bytes) -> int:
    """Where the last word of `text` begins."""
    return max(text.rfind(space) for space in (b" ", b"\t")) + 1


def _refuse_text_behind(path: Path, line: int, text: bytes, stream: BufferedReader) -> None:
    """Refuses more than a 0 behind the % of SATLIB."""
    words: list[bytes] = []
    for part in chain([text], iter(partial(stream.read, CHUNK_BYTES), b"")):
        words += part.split(maxsplit=2)
        if words not in ([], [b"0"]):
            raise UserError(
                f"{path}, line {line}: a % ends the formula, yet text follows its line; remove one of the two"
            )


def _integers(text: bytes) -> Int64[np.ndarray, " _"] | None:
    """The numbers in `text`, which ends in a space or line end; None if anything else stands there.

    Numbers that int64 cannot hold come out as large ones.
    """
    kind = _KIND[np.frombuffer(text, dtype=np.uint8)]
    if kind.max(initial=SPACE) == SPACE:
        return np.empty(0, dtype=np.int64)
    minus = np.flatnonzero(kind == MINUS)
    if kind.max() == OTHER or (kind[minus + 1] != DIGIT).any() or (kind[minus - 1] != SPACE).any():
        return None
    return np.fromstring(text, dtype=np.int64, sep=" ")


def _tokens(text: bytes, line: int) -> Iterator[tuple[int, bytes]]:
    return ((number, token) for number, words in enumerate(text.split(b"\n"), start=line) for token in words.split())


def _token_problem(path: Path, text: bytes, line: int, variables: int) -> str:
    """What is wrong with the first token of `text` that is no literal of the formula."""
    for number, token in _tokens(text, line):
        value = _number(token)
        if value is None:
            return f"{path}, line {number}: {_token_advice(token)}"
        if abs(value) > variables:
            return (
                f"{path}, line {number}: the literal {_shown(token)} is none of the {variables} variables that the "
                f"`p cnf` line announces; correct the one or the other"
            )
    raise AssertionError("every token is a literal")


def _token_advice(token: bytes) -> str:
    if token == b"p":
        return "a second `p` line; a file holds one formula, split it"
    if token in (b"a", b"e"):
        return f"{_shown(token)} quantifies variables (QDIMACS); only formulas without quantifiers are read"
    return f"{_shown(token)} is no literal; write v or -v for variable v, and 0 at the end of a clause"


def _number(token: bytes) -> int | None:
    """The whole number that `token` is, None if it is none; one that is too long for int64 becomes a large one."""
    if not _NUMBER.fullmatch(token):
        return None
    # Python refuses to convert thousands of digits
    return int(token) if len(token.lstrip(b"-0")) < 19 else MAX_NUMBER + 1


def _shown(text: bytes) -> str:
    """The beginning of `text` for a message, on one line and printable."""
    plain = " ".join(text[:200].decode("ascii", errors="backslashreplace").split())
    plain = "".join(char if char.isprintable() else "?" for char in plain)
    return f"`{plain[:40]}...`" if len(plain) > 40 else f"`{plain}`"


def list_formulas(path: Path) -> list[Path]:
    """The DIMACS files that `path` stands for: itself, or all in the folder and below, in the order of their names.

    Nothing hidden. Links to nothing are among them: reading them says so.

    Raises:
        UserError: there is no such file or folder, or no DIMACS file in the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: there is no such file or folder")
    found = sorted(file for file in visible_files(path) if file.name.lower().endswith(SUFFIXES))
    if not found:
        raise UserError(f"{path}: no DIMACS files ({', '.join(SUFFIXES)}) in this folder or below", *unlisted(path))
    return found


def unlisted(path: Path) -> list[str]:
    """What `list_formulas` leaves out although it seems to hold a formula, and why: by its name or its first lines."""
    if not path.is_dir():
        return []
    others = sorted(file for file in visible_files(path) if not file.name.lower().endswith(SUFFIXES))
    return [problem for file in others if (problem := _unlisted_problem(file))]


def _unlisted_problem(file: Path) -> str | None:
    if file.name.lower().endswith(tuple(plain + packed for plain in (".cnf", ".dimacs") for packed in OTHER_PACKING)):
        return f"{file}: left out, only {', '.join(COMPRESSIONS)} are unpacked; unpack it, or pack it so"
    try:
        with _opener(file)(file, "rb") as stream:
            head = plain_stream(stream).read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError):
        return None
    if _HEADER.match(head) is None:
        return None
    packed = file.suffix if file.suffix.lower() in COMPRESSIONS else ""
    return f"{file}: left out, though it holds a formula; let its name end in .cnf{packed} to have it read"


def write_dimacs(path: Path, formula: Formula, comments: Sequence[str] = ()) -> None:
    """Writes a formula as DIMACS CNF, packed as the suffix (.gz, .bz2, .xz, .lzma) says, whole or not at all.

    Args:
        path: the file.
        formula: at least one variable, or `read_dimacs` refuses the file.
        comments: what to say at the beginning of the file.

    Raises:
        UserError: the file cannot be written.
    """
    lines = [f"c {line}".rstrip() for comment in comments for line in comment.splitlines() or [""]]
    lines.append(f"p cnf {formula.variables} {len(formula.lengths)}")
    lines.extend(" ".join(map(str, [*clause, 0])) for clause in formula.clauses())
    content = "\n".join([*lines, ""]).encode()
    packing = COMPRESSIONS.get(path.suffix.lower())
    write_bytes(path, packing.compress(content) if packing else content)


def solution_text(assignment: Bool[np.ndarray, " variable"] | None) -> str:
    """A solution as the SAT competitions want it printed.

    Args:
        assignment: `assignment[v - 1]` is the value of variable v; None if no solution was found.

    Returns:
        The line `s SATISFIABLE` and the literals that are true, `v 1 -2 ... 0`, in lines of fewer than 80 characters;
        or the line `s UNKNOWN`.
    """
    if assignment is None:
        return "s UNKNOWN\n"
    numbers = np.arange(1, len(assignment) + 1)
    words = [*map(str, np.where(assignment, numbers, -numbers).tolist()), "0"]
    return "s SATISFIABLE\n" + "".join(f"v {line}\n" for line in _filled(words, width=77))


def _filled(words: Iterable[str], width: int) -> Iterator[str]:
    """Lines of at most `width` characters with as many of the `words` as fit."""
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
