"""Small files that would take a whole machine, or that cannot be named, beside good ones; made for real."""

import bz2
import csv
import gzip
import lzma
import os
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.attacks import start

MB = 1 << 20
GOOD = b"p cnf 3 2\n1 2 0\n-1 3 0\n"
NOT_TEXT = os.fsdecode(b"caf\xe9.cnf")
"""A name that is not UTF-8, as old systems wrote them."""


def packed(opener: Callable[..., Any], head: bytes, block: bytes, count: int, path: Path) -> None:
    with opener(path, "wb") as stream:
        stream.write(head)
        for _ in range(count):
            stream.write(block)


def sparse(path: Path, size: int = 1 << 40, head: bytes = b"p cnf 3 1\n") -> None:
    """A terabyte that takes a block on the disk."""
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)


def text(content: bytes, path: Path) -> None:
    path.write_bytes(content)


HEAD = b"p cnf 3 1\n"
FORMULAS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "variables.cnf": (partial(text, b"p cnf 999999999 1\n1 0\n"), "announces 999999999 variables"),
    "clauses.cnf": (partial(text, b"p cnf 3 999999999\n1 0\n"), "announces 999999999 clauses"),
    "zeros.cnf.gz": (partial(packed, gzip.open, HEAD, bytes(MB), 200), "goes on without a space or a line end"),
    "comment.cnf.gz": (partial(packed, gzip.open, HEAD + b"c ", b"x" * MB, 200), "unpacks to more than 100 times"),
    "spaces.cnf.bz2": (partial(packed, bz2.open, HEAD, b" " * MB, 200), "unpacks to more than 100 times"),
    "clause.cnf.xz": (partial(packed, lzma.open, HEAD, b"1 " * (MB // 2), 200), "unpacks to more than 100 times"),
    "lines.cnf.lzma": (
        partial(packed, partial(lzma.open, format=lzma.FORMAT_ALONE), HEAD, b"1 0\n" * (MB // 4), 200),
        "unpacks to more than 100 times",
    ),
    "number.cnf": (partial(packed, open, HEAD, b"1" * MB, 4), "goes on without a space or a line end"),
    "heading.cnf": (partial(packed, open, b"", bytes(MB), 4), "stands where the line `p cnf"),
    "large.cnf": (sparse, "this machine has memory for"),
}
"""What makes a file that cannot be a formula, and the words that refuse it, by its name."""


def write_formulas(folder: Path) -> None:
    """All of `FORMULAS`, and two that can be read: `good.cnf` and one with a name that is no text."""
    for name, (make, _) in FORMULAS.items():
        make(folder / name)
    for name in ("good.cnf", NOT_TEXT):
        (folder / name).write_bytes(GOOD)


def answered(folder: Path, run: Path) -> str:
    """Lets a trained NeuroSAT answer all of them, in a process; returns what went wrong, "" if nothing did.

    Args:
        folder: where to do so.
        run: the folder of a run of NeuroSAT, however short.
    """
    (folder / "formulas").mkdir()
    write_formulas(folder / "formulas")
    place = ["data.path=formulas", "hydra.run.dir=answers", "threads=1"]
    result = start(["mode=predict", f"checkpoint={run}", *place], folder, {})
    if result.returncode != 2 or "Traceback" in result.stderr:
        return f"exit code {result.returncode}: {result.stderr[-300:]}"
    told = result.stderr.splitlines()
    for name, (_, words) in FORMULAS.items():
        if not any(f"formulas/{name}" in line and words in line for line in told):
            return f"{name} is not named"
    with (folder / "answers" / "predictions.csv").open(encoding="utf-8") as table:
        items = sorted(row["item"] for row in csv.DictReader(table))
    solutions = sorted(path.name.removesuffix(".solution") for path in (folder / "answers" / "solutions").iterdir())
    if items != solutions or items != ["caf\\udce9.cnf", "good.cnf"]:
        return f"answered are {items}, with solutions for {solutions}"
    return ""


def npy(shape: str, content: bytes = bytes(64), *, dtype: str = "'<f4'") -> bytes:
    """A `.npy` file whose header claims a shape."""
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


ARRAYS = {
    "terabytes": npy("(1000000000000, 64)"),
    "overflow": npy("(9223372036854775807, 64)"),
    "negative": npy("(-1, 64)"),
    "truth": npy("(True, 64)"),
    "text": npy("('a', 64)"),
    "open bracket": npy("((((((((((1, 64)"),
    "objects": npy("(1, 64)", dtype="'|O'"),
    "long header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 4_000_000_000),
    "empty": b"",
}
"""`.npy` files that hold other things than their headers claim."""


def png(side: int) -> bytes:
    """A picture of one colour, `side` x `side` pixels, in few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(np.zeros((side, side + 1), dtype=np.uint8).tobytes(), 9)
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
