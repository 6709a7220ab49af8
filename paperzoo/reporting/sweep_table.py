"""The columns of a multirun's table, whatever it is shown on: what differs between the jobs, and what came out."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from paperzoo.reporting.results import Number, difference, number
from paperzoo.reporting.sweep_jobs import ABSENT, Average, Sweep, SweepJob

PUBLISHED = "published"
AVERAGE_HEADINGS = ("jobs", "mean", "sd", PUBLISHED, "difference")


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
    return Column(name, text, lambda job: rounded(text(job)))


def rounded(words: str) -> str:
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


def shortened_names(sweep: Sweep) -> Callable[[str], str]:
    """What a key or a metric is called in a table."""
    short = short_names([*sweep.varied, *sweep.metrics])

    def shortened(name: str) -> str:
        return PUBLISHED if name.startswith(f"{PUBLISHED} ") else short.get(name, name)

    return shortened


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
