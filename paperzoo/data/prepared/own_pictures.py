"""A user's own pictures as prepared arrays: those that cannot be read are left out and named, in every run."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from paperzoo.data.prepared.cache import ArrayCache, ArrayWriter
from paperzoo.data.prepared.decoding import Picture, Tell, in_threads, read_picture
from paperzoo.errors import UserError
from paperzoo.files import leads_nowhere, printable

NAMES, LEFT_OUT, REMARKS = "names", "left_out", "remarks"

# Another number for other rules of decoding: what was prepared by the old ones is prepared anew.
_RULES = 1


ToPixels = Callable[[str, bytes, Tell], Picture]
"""Makes the pixels of a picture, all of one shape, of its name, its content and what takes a warning."""


def append_own(writer: ArrayWriter, images: str, paths: Sequence[Path], root: Path, to_pixels: ToPixels) -> list[int]:
    """Appends the pictures that can be read to the array `images`; gives their places in `paths`.

    Beside them it notes the files' names relative to `root` and what there is to tell: `NAMES`, `LEFT_OUT`, `REMARKS`.

    Raises:
        UserError: none of them can be read; names all.
    """
    kept: list[int] = []
    left_out: list[str] = []
    remarks: list[str] = []
    first = 0
    for group in in_threads(paths, lambda path: to_pixels(str(path), read_picture(path), remarks.append)):
        readable = [(place, one) for place, one in enumerate(group, start=first) if not isinstance(one, UserError)]
        left_out += [problem for one in group if isinstance(one, UserError) for problem in one.problems]
        kept += [place for place, _ in readable]
        if readable:
            writer.append(images, np.stack([picture for _, picture in readable]))
        first += len(group)
    if not kept:
        raise UserError(*left_out)
    writer.append(NAMES, np.array([printable(paths[place].relative_to(root).as_posix()) for place in kept]))
    for array, sentences in ((LEFT_OUT, left_out), (REMARKS, sorted(remarks))):
        if sentences:
            writer.append(array, np.array(sentences))
    return kept


def noted(cache: ArrayCache, array: str) -> list[str]:
    """The sentences or names that `append_own` noted; none in a set that it did not make."""
    return [str(sentence) for sentence in cache.open(array)] if array in cache.manifest()["arrays"] else []


def fingerprint(paths: Iterable[Path], *choices: object) -> str:
    """Changes when one of the files does, or one of the choices of how they are prepared."""
    state = hashlib.sha256(repr((_RULES, *choices)).encode())
    for path in paths:
        found = path.lstat() if leads_nowhere(path) else path.stat()
        readable = os.access(path, os.R_OK)
        state.update(repr((str(path), found.st_size, found.st_mtime_ns, readable)).encode())
    return state.hexdigest()[:12]
