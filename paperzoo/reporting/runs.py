"""All runs below a folder, those of multiruns too, on one page: `index.html`."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from paperzoo.errors import UserError
from paperzoo.files import printable, write_text
from paperzoo.reporting.figure_files import FOLDER
from paperzoo.reporting.rendering import render
from paperzoo.reporting.sweep_jobs import FAILURE

PAGE = "index.html"
SUMMARY, CONFIG, REPORT, SWEEP = "summary.json", ".hydra", "report.html", "sweep.html"
PREDICTIONS = "predictions.csv"
DAMAGED = f"a damaged {SUMMARY}"
FOREIGN = "no run"
UNREADABLE = "no permission to read"
BESIDE_THE_PAGE = "'self' file: data:"


class RunRow(NamedTuple):
    """A run as the page shows it. Links are relative to the page; empty if there is nothing to lead to."""

    folder: str
    paper: str
    preset: str
    state: str
    ended: str
    metric: str
    direction: str
    measured: float | None
    published: float | None
    report: str
    sweep: str
    thumbnail: str


@dataclass
class Runs:
    """What lies below a folder.

    Attributes:
        rows: the newest first.
        skipped: how many folders were left out, by what they hold.
    """

    rows: list[RunRow] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def in_words(self) -> str:
        """`12 runs; left out: 1 folder with no run`."""
        count = f"{len(self.rows):,} run{'s' * (len(self.rows) != 1)}"
        left_out = ", ".join(f"{n} folder{'s' * (n > 1)} with {what}" for what, n in sorted(self.skipped.items()))
        return f"{count}; left out: {left_out}" if left_out else count


def write_index(root: Path) -> tuple[Path, Runs]:
    """Writes `index.html` of all runs below `root`; returns its path and what it holds.

    Raises:
        UserError: there is no such folder, or it is not writable.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the one in which runs lie (output_root)")
    runs = read_runs(root)
    html = render(
        "index.html", scripts=("index.js",), images=BESIDE_THE_PAGE, title=printable(root.resolve().name), runs=runs
    )
    return write_text(root / PAGE, html), runs


def read_runs(root: Path) -> Runs:
    """Every run below `root`. What is damaged, or somebody else's, is counted and left out."""
    runs = Runs()
    for folder, names in _candidates(root, root, runs.skipped):
        row = _row(folder, names, root)
        if isinstance(row, str):
            runs.skipped[row] += 1
        else:
            runs.rows.append(row)
    runs.rows.sort(key=lambda row: (row.ended, row.folder), reverse=True)
    return runs


def _candidates(folder: Path, root: Path, skipped: Counter[str]) -> Iterator[tuple[Path, set[str]]]:
    """The folders of runs and the names in them. Nothing hidden is looked into, nor what a link leads to."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        skipped[UNREADABLE] += 1
        return
    names = {entry.name for entry in entries}
    if names & {SUMMARY, CONFIG, FAILURE}:
        yield folder, names
        return
    inside = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    if names and not inside and folder != root:
        skipped[FOREIGN] += 1
    for name in sorted(inside):
        yield from _candidates(folder / name, root, skipped)


def _row(folder: Path, names: set[str], root: Path) -> RunRow | str:
    """The run of a folder, or why it is left out."""
    summary = _read(folder / SUMMARY) if SUMMARY in names else {}
    failure = _read(folder / FAILURE) if FAILURE in names and not summary else {}
    if summary is None or failure is None:
        return DAMAGED
    place = folder.relative_to(root)
    name = _text(summary.get("name")) or "/".join(place.parts[:2] if len(place.parts) > 2 else ())
    paper, _, preset = name.partition("/")
    result = _result(summary)
    return RunRow(
        folder=printable(place.as_posix()),
        paper=paper,
        preset=preset,
        state=_text(summary.get("status")) or _text(failure.get("status")) or _without_summary(names),
        ended=_ended(summary, folder),
        metric=_text(result.get("metric")),
        direction=_text(result.get("direction")),
        measured=_number(result.get("measured")),
        published=_number(result.get("published")),
        report=_link(place / REPORT) if REPORT in names else "",
        sweep=_link(place.parent / SWEEP) if place.parts and (folder.parent / SWEEP).is_file() else "",
        thumbnail=_thumbnail(folder, place, summary.get("figures")) if FOLDER in names else "",
    )


def _without_summary(names: set[str]) -> str:
    """The state of what leaves none, or has not come so far."""
    return "answered" if PREDICTIONS in names else "unfinished"


def _read(path: Path) -> dict[str, Any] | None:
    """A table of JSON; None if it is something else."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _result(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of the comparison that the run was judged by, on the test set if that was measured."""
    rows = summary.get("comparison")
    known = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    measured = {_text(row.get("metric")): row for row in reversed(known) if _number(row.get("measured")) is not None}
    objective = summary.get("objective")
    metric = _text(objective.get("metric")) if isinstance(objective, dict) else ""
    tested = f"test/{metric.partition('/')[2]}"
    first: Mapping[str, Any] = next((row for row in known if _text(row.get("metric")) in measured), {})
    return measured.get(tested) or measured.get(metric) or first


def _ended(summary: Mapping[str, Any], folder: Path) -> str:
    """`2026-11-25 10:30`, in this machine's time: what the run says, else when its folder was changed last."""
    try:
        moment = datetime.fromisoformat(_text(summary.get("ended"))).astimezone()
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(folder.stat().st_mtime)
    return moment.strftime("%Y-%m-%d %H:%M")


def _thumbnail(folder: Path, place: Path, named: Any) -> str:
    """A link to the first figure."""
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    with os.scandir(folder / FOLDER) as entries:
        there = sorted(e.name for e in entries if e.name.endswith(".png") and e.is_file(follow_symlinks=False))
    shown = next((name for name in names if name in there), there[0] if there else None)
    return _link(place / FOLDER / shown) if shown else ""


def _link(place: Path) -> str:
    return f"./{quote(os.fsencode(place.as_posix()))}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(f"{value:.6g}") if is_number and abs(value) < 1e300 and math.isfinite(value) else None
