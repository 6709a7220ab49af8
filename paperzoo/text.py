"""Text files that a user brings, read in one way: whatever editor or system wrote them, the same text comes out.

- UTF-8, with a byte order mark or without; UTF-16 and UTF-32 with theirs. No other encoding is guessed.
- Line ends of Windows (CR LF) and of old Macs (CR) become LF.
- What old systems pad a file with, Ctrl-Z and NUL at its end, is cut off.
- No file is read that is larger, or unpacks to more, than this machine can hold.
"""

import codecs
import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from paperzoo.errors import UserError
from paperzoo.machine import room_for_text, shown

# The marks of UTF-32 come first: that of UTF-16 is the beginning of one of them.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MARK_BYTES = 4  # of the longest mark

_PADDING = b"\0\x1a"
_LONGEST_PADDING = _BLOCK_BYTES = 1 << 16

READ_BYTES = 1 << 24
WHOLE_GROWS = 16  # a text that is read as a whole: its lines, its words, their numbers
MOST_PACKED = 100  # times as large as the packed file; real formulas unpack to ten times at most
SURELY_HELD = 1 << 24  # bytes that any packed file may unpack to

Errors = Literal["strict", "replace"]


def read_text(path: Path, errors: Errors = "strict") -> str:
    """The text of a file, see `decode_text`.

    Raises:
        UserError: it is not there, cannot be read, or is no text.
    """
    return decode_text(read_bytes(path), str(path), errors)


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UserError: it is not there, cannot be read, or is larger than what this machine can hold.
    """
    try:
        with path.open("rb") as stream:
            reader = Limited(stream, str(path), size=os.fstat(stream.fileno()).st_size)
            return b"".join(iter(partial(reader.read, READ_BYTES), b""))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); choose a file that can") from error


class Limited:
    """A stream that is read no further than this machine can hold, nor than a packed text can be long.

    Args:
        stream: opened for reading; stays open.
        name: what to call it in messages.
        size: of the file, in bytes.
        grows: how many times its size a text takes in memory while it is read and used.
        is_packed: whether the stream unpacks it.

    Attributes:
        count: bytes that were read.

    Raises:
        UserError: the file is too large.
    """

    def __init__(
        self, stream: io.BufferedIOBase, name: str, size: int, *, grows: int = WHOLE_GROWS, is_packed: bool = False
    ) -> None:
        self.stream, self.name, self.count = stream, name, 0
        self.room = room_for_text(grows)
        self.most = min(self.room, max(SURELY_HELD, MOST_PACKED * size)) if is_packed else self.room
        self.size = size
        if size > self.room:
            self._refuse(size)

    def read(self, size: int) -> bytes:
        block = self.stream.read(size)
        self.count += len(block)
        if self.count > self.most:
            self._refuse(self.count)
        return block

    def _refuse(self, size: int) -> None:
        if size > self.room:
            raise UserError(
                f"{self.name}: has {shown(size)} or more, and this machine has memory for {shown(self.room)} of text; "
                "split the file"
            )
        raise UserError(
            f"{self.name}: unpacks to more than {MOST_PACKED} times its {self.size} bytes, as no text does; replace it"
        )


def line_blocks(stream: io.BufferedReader, size: int) -> Iterator[bytes]:
    """Blocks of whole lines, each with its LF, of about `size` bytes; of a longer line its first so many."""
    while block := stream.read(size) + stream.readline(size):
        more = block
        while not more.endswith(b"\n") and (more := stream.readline(size)):
            pass
        yield block if block.endswith(b"\n") else block + b"\n"


def decode_text(content: bytes, name: str, errors: Errors = "strict") -> str:
    """Text with LF as its line ends, without byte order mark and padding; split it at LF, nothing else is a line end.

    Args:
        content: of the file.
        name: what to call the file in messages.
        errors: "replace" puts a mark for each byte that is no text, where only a comment can have it.

    Raises:
        UserError: it is no text in a known encoding.
    """
    try:
        plain = plain_stream(io.BytesIO(content)).read()
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: begins as a text in {error.encoding}, but is none; save it as UTF-8") from error
    try:
        text = plain.decode(errors=errors)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}, line {_line(plain, error.start)}: not in UTF-8, nor in UTF-16 with a byte order mark; "
            f"save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise UserError(
            f"{name}, line {_line(plain, plain.index(0))}: a NUL character; the file is no text, or UTF-16 without a "
            f"byte order mark; save it as UTF-8"
        )
    return text


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def plain_stream(stream: "io.BufferedIOBase | Limited") -> io.BufferedReader:
    """The text of a file that may be too large to be held at once, as `decode_text` gives it, in UTF-8.

    What is no text is given as it is; padding of more than 64 kB is none. Reading may raise UnicodeDecodeError if the
    file has the byte order mark of UTF-16 or UTF-32.

    Args:
        stream: the file, opened for reading; stays open.
    """
    return io.BufferedReader(_Plain(stream), _BLOCK_BYTES)


class _Plain(io.RawIOBase):
    """Blocks of a stream, each as plain text."""

    def __init__(self, stream: "io.BufferedIOBase | Limited") -> None:
        head = stream.read(_MARK_BYTES)
        mark, encoding = next((known for known in _MARKS if head.startswith(known[0])), (b"", "utf-8"))
        self.stream = stream
        self.decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
        self.block = head[len(mark) :]  # what was read, before it is decoded
        self.held = b""  # ends in what may be the beginning of a line end or of padding
        self.ready = b""
        self.at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready and not self.at_end:
            self._advance()
        given = self.ready[: len(buffer)]
        self.ready = self.ready[len(given) :]
        buffer[: len(given)] = given
        return len(given)

    def _advance(self) -> None:
        read = self.stream.read(_BLOCK_BYTES)
        self.at_end = not read
        block, self.block = self.block + read, b""
        if self.decoder is not None:
            block = self.decoder.decode(block, self.at_end).encode()
        text = self.held + block
        end = _sure_length(text)
        if self.at_end:
            text, end = (text, len(text)) if text[end:] == b"\r" else (text[:end], end)
        if len(text) - end > _LONGEST_PADDING:
            end = len(text)
        self.ready, self.held = text[:end], text[end:]
        if b"\r" in self.ready:
            self.ready = self.ready.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _sure_length(text: bytes) -> int:
    """How much of the text cannot be padding, nor the first half of a line end, whatever follows."""
    kept = len(text.rstrip(_PADDING + b" \t\r\n"))
    padding = [place for mark in _PADDING if (place := text.find(mark, kept)) >= 0]
    return min(padding, default=len(text) - text.endswith(b"\r"))
