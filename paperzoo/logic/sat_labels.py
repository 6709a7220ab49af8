"""What is known of a folder of formulas: which of them are satisfiable."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from paperzoo.errors import UserError
from paperzoo.logic.dimacs import list_formulas
from paperzoo.text import read_text

LABELS = "labels.csv"
DELIMITERS = ",;\t"
_TRUTHS = {"0": False, "false": False, "1": True, "true": True}
_LABEL_IN_NAME = re.compile(r"(?<![A-Za-z0-9])sat=([01])(?![0-9])")


def read_labels(folder: Path) -> dict[str, bool]:
    """What is known of the formulas in `folder` and below: whether they are satisfiable.

    Labels come from `labels.csv` in the folder, with the columns `file,satisfiable` (0 or 1, false or true; comma,
    semicolon or tab between them) and file names relative to it, and from `sat=0` or `sat=1` in the name of a file, as
    NeuroSAT's generator writes it. If `folder` is a file, it is asked about that file alone.

    Returns:
        Whether the formula is satisfiable, by file name relative to the folder (`sub/name.cnf`); unlabelled files are
        not in it.

    Raises:
        UserError: `labels.csv` is malformed, names a file that is not there, or contradicts the name of a file; or as
            `list_formulas`.
    """
    root = folder if folder.is_dir() else folder.parent
    names = [path.relative_to(root).as_posix() for path in list_formulas(folder)]
    labels = {name: match[1] == "1" for name in names if (match := _LABEL_IN_NAME.search(Path(name).name))}
    table = root / LABELS
    if table.is_file():
        for line, name, label in _label_rows(table):
            if labels.get(name, label) != label:
                raise UserError(f"{table}, line {line}: contradicts the name of the file {name}; correct one of them")
            if name in names:
                labels[name] = label
            elif not (root / name).is_file():
                raise UserError(f"{table}, line {line}: there is no file {name} in {root}; correct or remove the line")
    return labels


def _label_rows(table: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, file, satisfiable) of each row of a `labels.csv`; the first line says what stands between the columns."""
    text = read_text(table)
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    try:
        reader = csv.reader(text.split("\n"), delimiter=delimiter)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{table}: cannot be read as a table ({error}); write it anew") from error
    if [cell.casefold() for cell in rows[0][1]] != ["file", "satisfiable"]:
        raise UserError(f"{table}, line 1: the first line must be `file,satisfiable`; it is {header[:80]!r}")
    seen: dict[str, int] = {}
    for line, row in rows[1:]:
        match row:
            case [] | [""]:
                continue
            case [name, value] if name and (satisfiable := _TRUTHS.get(value.casefold())) is not None:
                name = _as_listed(name)
                if name in seen:
                    raise UserError(f"{table}, line {line}: {name} is in line {seen[name]} already; keep one of them")
                seen[name] = line
                yield line, name, satisfiable
            case _:
                raise UserError(
                    f"{table}, line {line}: `{delimiter.join(row)}` must be a file name and 0 or 1 (false or true), "
                    f"with {delimiter!r} between them"
                )


def _as_listed(name: str) -> str:
    """A file name relative to the folder, also as Windows writes it or with `./` before it."""
    return PurePosixPath(name.replace("\\", "/")).as_posix()
