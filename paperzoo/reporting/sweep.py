"""What a multirun leaves: one table of its jobs, best first, and means of them beside the published number.

It stands on the terminal, in `sweep.html` and in `sweep.csv`. To make it again, of a sweep's folder or of one that
holds several sweeps:

    python -m paperzoo.reporting.sweep FOLDER
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from paperzoo.errors import UserError
from paperzoo.files import write_text
from paperzoo.reporting.results import TEMPLATES, TERMINAL_ROWS, Number, difference, number
from paperzoo.reporting.sweep_jobs import ABSENT, ENDED, Average, Sweep, SweepJob, read_jobs, sweep_of

TERMINAL_METRICS = 3
PAGE_METRICS = 12
PUBLISHED = "published"
AVERAGE_HEADINGS = ("jobs", "mean", "sd", PUBLISHED, "difference")
TERMINAL_WIDTH = 80
GAP = 2  # between columns
UNBROKEN = 12  # letters that are worth no second line


class Column(NamedTuple):
    """A column of the table of jobs.

    Attributes:
        name: in full.
        raw: the value of a job, for `sweep.csv` and for sorting.
        shown: the same, for people.
        is_number: whether it is a quantity.
    """

    name: str
    raw: Callable[[SweepJob], Any]
    shown: Callable[[SweepJob], str]
    is_number: bool = False


def columns(jobs: Sequence[SweepJob], sweep: Sweep, metrics: Iterable[str]) -> list[Column]:
    """All that differs between these jobs, and what came out; published values where they differ too."""
    found = [_text_column("job", lambda job: place_of(job, sweep))]
    if any(job.state != "finished" for job in jobs):
        found.append(_text_column("state", lambda job: job.state))
    found += [_text_column(key, partial(SweepJob.setting, key=key)) for key in sweep.varied]
    for metric in metrics:
        found.append(_number_column(metric, partial(_measured, metric=metric)))
        published = partial(_published, metric=metric)
        if len({published(job) for job in jobs} - {None}) > 1:
            found.append(_number_column(f"{PUBLISHED} {metric}", published))
    return [*found, Column("time", lambda job: job.hours, lambda job: clock(job.hours), is_number=True)]


def _measured(job: SweepJob, metric: str) -> Number | None:
    return job.metrics.get(metric)


def _published(job: SweepJob, metric: str) -> Number | None:
    return job.published.get(metric, {}).get("value")


def _text_column(name: str, text: Callable[[SweepJob], str]) -> Column:
    return Column(name, text, lambda job: _rounded(text(job)))


def _rounded(words: str) -> str:
    try:
        return number(float(words))
    except ValueError:
        return words.replace(",", ", ")  # of a list, to wrap at


def _number_column(name: str, value: Callable[[SweepJob], Number | None]) -> Column:
    return Column(name, value, lambda job: number(value(job)), is_number=True)


def clock(hours: Number | None) -> str:
    """Hours as `1:05:20`."""
    if hours is None:
        return ABSENT
    seconds = round(hours * 3600)
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"


def place_of(job: SweepJob, sweep: Sweep) -> str:
    """The job's folder, seen from the sweep's."""
    return job.folder.relative_to(sweep.folder).as_posix()


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Each key by its last parts, as many as tell it from the others: `lr` for `model.optimizer.lr`."""

    def ends(key: str) -> list[str]:
        return [key[start:] for start in sorted({0, *(m.end() for m in re.finditer(r"[./]", key))}, reverse=True)]

    def is_clear(end: str, key: str) -> bool:
        return not any(end in ends(other) for other in keys if other != key)

    return {key: next((end for end in ends(key) if is_clear(end, key)), key) for key in keys}


def _short(sweep: Sweep) -> Callable[[str], str]:
    short = short_names([*sweep.varied, *sweep.metrics])

    def shortened(name: str) -> str:
        return PUBLISHED if name.startswith(f"{PUBLISHED} ") else short.get(name, name)

    return shortened


def terminal_parts(sweep: Sweep) -> Iterator[Table | str]:
    """What a multirun prints in the end: its jobs, or of a choice those that were chosen; averages; what went wrong."""
    jobs = sweep.chosen or sweep.jobs
    yield f"{sweep.title}; chosen were" if sweep.chosen else sweep.title
    short = _short(sweep)
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
            *map(_rounded, average.settings.values()),
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


def averages_title(sweep: Sweep) -> str:
    """What the averages are of, and where the published numbers stand."""
    sources = ", ".join(dict.fromkeys(average.row.source for average in sweep.averages if average.row.source))
    return "Mean and standard deviation" + (f"; published: {sources}" if sources else "")


def average_headings(sweep: Sweep) -> Sequence[str]:
    """Of the columns that have something in them."""
    is_published = any(average.row.published is not None for average in sweep.averages)
    return AVERAGE_HEADINGS if is_published else AVERAGE_HEADINGS[:3]


def average_cells(average: Average) -> tuple[str, ...]:
    """In words, under `AVERAGE_HEADINGS`."""
    jobs = f"{average.count}" if average.count == average.planned else f"{average.count} of {average.planned}"
    row = average.row
    return jobs, number(row.measured), number(average.deviation), number(row.published), difference(row)


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


def page(sweep: Sweep) -> str:
    """`sweep.html`: self-contained, without a request to anywhere."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown = columns(sweep.jobs, sweep, sweep.metrics[:PAGE_METRICS])
    return environment.get_template("sweep.html").render(
        sweep=sweep,
        columns=shown,
        rows=[_page_row(job, sweep, shown) for job in sweep.jobs],
        short=_short(sweep),
        averages_title=averages_title(sweep),
        headings=average_headings(sweep),
        average_cells=average_cells,
    )


def _page_row(job: SweepJob, sweep: Sweep, shown: Sequence[Column]) -> dict[str, Any]:
    report = job.folder / "report.html"
    return {
        "cells": [(column, column.shown(job), column.raw(job)) for column in shown],
        "link": report.relative_to(sweep.folder).as_posix() if report.is_file() else None,
        "state": job.state,
        "message": job.message,
        "chosen": job in sweep.chosen,
    }


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
