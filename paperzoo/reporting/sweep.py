"""What a multirun leaves: one table of its jobs, best first, and means of them beside the published number.

It stands on the terminal, in `sweep.html` and in `sweep.csv`. To make it again, of a sweep's folder or of one that
holds several sweeps:

    python -m paperzoo.reporting.sweep FOLDER
"""

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from paperzoo.errors import UserError
from paperzoo.files import write_text
from paperzoo.reporting.results import TERMINAL_ROWS
from paperzoo.reporting.sweep_jobs import ENDED, Sweep, SweepJob, read_jobs, sweep_of
from paperzoo.reporting.sweep_page import page
from paperzoo.reporting.sweep_table import (
    Column,
    average_cells,
    average_headings,
    averages_title,
    columns,
    place_of,
    rounded,
    shortened_names,
)

TERMINAL_METRICS = 3
TERMINAL_WIDTH = 80
GAP = 2  # between columns
UNBROKEN = 12  # letters that are worth no second line


def terminal_parts(sweep: Sweep) -> Iterator[Table | str]:
    """What a multirun prints in the end: its jobs, or of a choice those that were chosen; averages; what went wrong."""
    jobs = sweep.chosen or sweep.jobs
    yield f"{sweep.title}; chosen were" if sweep.chosen else sweep.title
    short = shortened_names(sweep)
    table, shown = _table(), _fitting_columns(jobs, sweep, short)
    for column in shown:
        heading, width = short(column.name).replace("_", "_\n"), min(_width(column, jobs, short), UNBROKEN)
        _add_column(table, heading, is_number=column.is_number, width=width)
    for job in jobs[:TERMINAL_ROWS]:
        style = "" if job.state == "finished" else "yellow"
        table.add_row(*(column.shown(job) for column in shown), style=style)
    if len(jobs) > TERMINAL_ROWS:
        table.caption = f"... and {len(jobs) - TERMINAL_ROWS} more in sweep.html"
    yield table
    if sweep.averages:
        yield f"\n{averages_title(sweep)}"
        yield _averages_table(sweep, short)
    yield from _messages(sweep)


def _fitting_columns(jobs: Sequence[SweepJob], sweep: Sweep, short: Callable[[str], str]) -> list[Column]:
    """Those with as many metrics as a terminal has room for."""
    found: list[Column] = []
    for count in range(TERMINAL_METRICS, 0, -1):
        job, *others = columns(jobs, sweep, sweep.metrics[:count])
        found = [job._replace(shown=lambda job: _end(place_of(job, sweep))), *others]
        if sum(_width(column, jobs, short) + GAP for column in found) <= TERMINAL_WIDTH:
            break
    return found


def _width(column: Column, jobs: Iterable[SweepJob], short: Callable[[str], str]) -> int:
    """Of the longest word."""
    heading = short(column.name).replace("_", "_ ")
    return max(len(word) for text in (heading, *map(column.shown, jobs)) for word in text.split())


def _end(place: str) -> str:
    return place if len(place) <= UNBROKEN else f"…{place[1 - UNBROKEN :]}"


def _messages(sweep: Sweep) -> Iterator[str]:
    """Each reason once, with the jobs that have it."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for job in sweep.jobs:
        if job.message and job.state not in ENDED:
            reasons.setdefault((job.state, job.message.splitlines()[0]), []).append(place_of(job, sweep))
    for (state, message), jobs in reasons.items():
        yield f"{state}: {', '.join(jobs)}: {message}"


def _averages_table(sweep: Sweep, short: Callable[[str], str]) -> Table:
    table = _table()
    headings = average_headings(sweep)
    for name in (*map(short, sweep.averages[0].settings), "metric"):
        _add_column(table, name, is_number=False)
    for heading in headings:
        _add_column(table, heading, is_number=True)
    for average in sweep.averages[:TERMINAL_ROWS]:
        table.add_row(
            *map(rounded, average.settings.values()),
            short(average.row.metric),
            *average_cells(average)[: len(headings)],
        )
    return table


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))


def _add_column(table: Table, name: str, *, is_number: bool, width: int | None = None) -> None:
    table.add_column(
        name, overflow="fold", min_width=width, justify="right" if is_number else "left", no_wrap=is_number
    )


def csv_text(sweep: Sweep) -> str:
    """All jobs with all validation and test metrics, keys in full, and why a job has none."""
    measured = dict.fromkeys(name for job in sweep.jobs for name in job.metrics if name.startswith(("val/", "test/")))
    shown = columns(sweep.jobs, sweep, dict.fromkeys([*sweep.metrics, *measured]))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = ["hours" if column.name == "time" else column.name for column in shown]
    writer.writerow([*names, *(["chosen"] if sweep.chosen else []), "message"])
    for job in sweep.jobs:
        chosen = ["yes" if job in sweep.chosen else "no"] if sweep.chosen else []
        writer.writerow([*(column.raw(job) for column in shown), *chosen, job.message])
    return file.getvalue()


def report(jobs: Sequence[SweepJob], folder: Path) -> None:
    """Writes `sweep.html` and `sweep.csv` of a multirun into its folder, and prints its table.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    sweep = sweep_of(jobs, folder)
    write_text(folder / "sweep.csv", csv_text(sweep))
    written = write_text(folder / "sweep.html", page(sweep))
    console = Console()
    for part in terminal_parts(sweep):
        console.print(part, markup=False, highlight=False)
    console.print(f"sweep: {written}", soft_wrap=True, markup=False)


def main() -> int:
    """Makes the table of a sweep again; for jobs that ended after the command that started them."""
    parser = argparse.ArgumentParser(prog="python -m paperzoo.reporting.sweep", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="of a multirun, or of several")
    folder = parser.parse_args().folder
    try:
        jobs = read_jobs(folder)
        if not jobs:
            raise UserError(f"{folder}: holds no jobs of a multirun")
        report(jobs, folder)
    except UserError as error:
        print(f"paperzoo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
