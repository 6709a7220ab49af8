"""Text files as users have them."""

import codecs
import io
from pathlib import Path

import pytest

from paperzoo import text
from paperzoo.errors import UserError
from paperzoo.text import decode_text, plain_stream, read_text

LINES = "1 ä\n\n2 ∞\n"

WRITTEN = {
    "UTF-8": LINES.encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + LINES.encode(),
    "UTF-16, little end first": codecs.BOM_UTF16_LE + LINES.encode("utf-16-le"),
    "UTF-16, big end first": codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
    "UTF-32, little end first": codecs.BOM_UTF32_LE + LINES.encode("utf-32-le"),
    "UTF-32, big end first": codecs.BOM_UTF32_BE + LINES.encode("utf-32-be"),
    "line ends of Windows": LINES.replace("\n", "\r\n").encode(),
    "line ends of Windows in UTF-16": codecs.BOM_UTF16_LE + LINES.replace("\n", "\r\n").encode("utf-16-le"),
    "line ends of old Macs": LINES.replace("\n", "\r").encode(),
    "Ctrl-Z": LINES.encode() + b"\x1a",
    "Ctrl-Z in UTF-16": codecs.BOM_UTF16_LE + (LINES + "\x1a").encode("utf-16-le"),
    "a line of Ctrl-Z": LINES.replace("\n", "\r\n").encode() + b"\x1a\r\n",
    "NULs": LINES.encode() + b"\0" * 512,
    "Ctrl-Z and NULs": LINES.encode() + b"\x1a\0\0\r\n\0",
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("block", [1, 2, 3, 1 << 16])
def test_whatever_wrote_a_file_the_text_is_the_same(
    tmp_path: Path, content: bytes, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_BLOCK_BYTES", block)
    (tmp_path / "file.txt").write_bytes(content)
    assert read_text(tmp_path / "file.txt") == LINES
    stream = plain_stream(io.BytesIO(content))
    assert list(stream) == LINES.encode().splitlines(keepends=True)


@pytest.mark.parametrize("line", ["", "a", "a\n", "a \n\n", "\n", "a\x1ab\n", "\ta\x0b\x85\u2028b\x1c"])
def test_plain_text_is_given_as_it_is(line: str) -> None:
    assert decode_text(line.encode(), "file") == line


def test_a_line_end_and_padding_are_found_where_two_blocks_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_BLOCK_BYTES", 8)
    for shift in range(20):
        start = "x" * shift
        assert decode_text(f"{start}\r\ny\r\rz\r\n\x1a\0\r\n\0".encode(), "file") == f"{start}\ny\n\nz\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\r\rb\xfc\n", "file, line 3: not in UTF-8, nor in UTF-16 with a byte order mark; save the file as UTF-8"),
        (b"a\n\0b", "file, line 2: a NUL character; the file is no text"),
        ("a\nb".encode("utf-16-le"), "file, line 1: a NUL character; the file is no text, or UTF-16 without a byte"),
        (b"\xff\xfea", "file: begins as a text in utf-16-le, but is none; save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        decode_text(content, "file")
    assert str(caught.value).startswith(message)


def test_bytes_that_are_no_text_can_be_marked_instead() -> None:
    assert decode_text(b"a \xfc\n", "file", "replace") == "a \N{REPLACEMENT CHARACTER}\n"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.txt"):
        with pytest.raises(UserError, match=f"^{path}: cannot be read"):
            read_text(path)


def test_padding_without_end_is_not_held_in_memory() -> None:
    stream = plain_stream(io.BytesIO(b"a\n" + b"\0" * (1 << 20)))
    assert stream.read(1 << 17)[:4] == b"a\n\0\0"
