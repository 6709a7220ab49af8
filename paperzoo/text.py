"""Text files that a user brings, read in one way: whatever editor or system wrote them, the same text comes out.

- UTF-8, with a byte order mark or without; UTF-16 and UTF-32 with theirs. No other encoding is guessed.
- Line ends of Windows (CR LF) and of old Macs (CR) become LF.
- What old systems pad a file with, Ctrl-Z and NUL at its end, is cut off.
"""

import codecs
import io
from pathlib import Path
from typing import Any, Literal

from paperzoo.errors import UserError

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
        UserError: it is not there, or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); choose a file that can") from error


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


def plain_stream(stream: io.BufferedIOBase) -> io.BufferedReader:
    """The text of a file that may be too large to be held at once, as `decode_text` gives it, in UTF-8.

    What is no text is given as it is; padding of more than 64 kB is none. Reading may raise UnicodeDecodeError if the
    file has the byte order mark of UTF-16 or UTF-32.

    Args:
        stream: the file, opened for reading; stays open.
    """
    return io.BufferedReader(_Plain(stream), _BLOCK_BYTES)


class _Plain(io.RawIOBase):
    """Blocks of a stream, each as plain text."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
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
