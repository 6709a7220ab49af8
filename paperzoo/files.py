"""Files written whole or not at all: to a temporary name in the same folder, then renamed; and those of a folder."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paperzoo.errors import UserError

REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota of this disk is used up",
    errno.EFBIG: "it would be larger than a file may be here (ulimit -f)",
    errno.EACCES: "you have no permission",
    errno.EPERM: "you have no permission",
    errno.EROFS: "this disk is read-only",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "a file is where a folder should be",
    errno.ENAMETOOLONG: "the name is too long",
}
"""What a machine may refuse of a file, in words; other errors are no user's business."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes its place when the block ends well.

    Raises:
        OSError: it cannot be written; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """What `atomically` is, for files of a run.

    Raises:
        UserError: the disk is full or the folder is not writable; `path` is as it was.
    """
    try:
        with atomically(path) as temporary:
            yield temporary
    except OSError as error:
        why = REFUSALS.get(error.errno or 0, error.strerror or str(error))
        remedy = "make room or choose another folder" if error.errno in NO_SPACE else "choose another folder"
        raise UserError(f"{path}: cannot be written: {why}; {remedy}") from error


def write_text(path: Path, text: str) -> Path:
    """Writes `text` in UTF-8, whole or not at all; returns `path`.

    File names may hold bytes that are no UTF-8: they are written as `\\udcff`, like Python shows them.

    Raises:
        UserError: as `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Writes `content`, whole or not at all; returns `path`.

    Raises:
        UserError: as `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def is_text(name: str) -> bool:
    """Whether a name of the file system is text: Python hides bytes that are not UTF-8 as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def printable(name: str) -> str:
    """A name of the file system as text, for tables and figures: `caf\\udce9` for bytes that are not UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def no_folder(path: Path) -> str:
    """What is wrong with a path that was to be a folder."""
    return "is a file; give the folder that it lies in" if path.is_file() else "there is no such folder"


def visible_files(folder: Path) -> Iterator[Path]:
    """All files in `folder` and below, in no order: nothing hidden, linked folders too, and links to nothing.

    Whoever reads a link to nothing is told so; who skips it here would never know. A folder that is linked into itself
    is gone through once. What is neither file nor link (a pipe, a device) is left out.
    """
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_loop(here / name)]
        paths = (here / name for name in names if not name.startswith("."))
        yield from (path for path in paths if path.is_file() or leads_nowhere(path))


def leads_nowhere(path: Path) -> bool:
    """Whether it is a link to something that is not there."""
    return path.is_symlink() and not path.exists()


def _is_loop(folder: Path) -> bool:
    return folder.is_symlink() and folder.resolve() in (parent.resolve() for parent in folder.parents)
