"""`sweep.html`: a multirun's settings and what came of them, its curves, its jobs, and means of them."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from paperzoo.reporting.charts import Chart, Curve, Number, chart, shade
from paperzoo.reporting.metrics_csv import FILE_NAME, read_metrics
from paperzoo.reporting.rendering import render
from paperzoo.reporting.results import number
from paperzoo.reporting.scales import Scale, scale
from paperzoo.reporting.sweep_jobs import Sweep, SweepJob
from paperzoo.reporting.sweep_table import (
    average_cells,
    average_headings,
    averages_title,
    columns,
    place_of,
    shortened_names,
)

log = logging.getLogger(__name__)

PAGE_METRICS = 12
MOST_AXES = 12
MOST_CURVES, MOST_POINTS = 100, 8000  # of all curves together
LEAST_JOBS = 2
STUDY = "study.db"  # of Optuna


@dataclass(frozen=True)
class Axis:
    """A setting, or the metric, as it is drawn.

    Attributes:
        name: in full.
        title: as short as it is clear.
        scale: where its values are.
    """

    name: str
    title: str
    scale: Scale


@dataclass(frozen=True)
class Track:
    """A job through all axes.

    Attributes:
        job: its row in the table.
        colour: its class: from dark, the best, to light.
        label: what it is, in words.
        places: on each axis, from 0 to 1.
    """

    job: int
    colour: str
    label: str
    places: Sequence[float]


@dataclass(frozen=True)
class Settings:
    """What was varied beside what came of it.

    Attributes:
        axes: the metric is the last one.
        tracks: the worst first, so that the best is drawn over the others.
        means: for each axis but the last, the place of a value and of the mean over its jobs, if it has several.
        importance: of settings for the metric, as shares, if a study lies in the folder.
    """

    axes: Sequence[Axis]
    tracks: Sequence[Track]
    means: Sequence[Sequence[tuple[float, float]]]
    importance: Mapping[str, float]


def page(sweep: Sweep) -> str:
    """`sweep.html`: self-contained, without a request to anywhere."""
    shown = columns(sweep.jobs, sweep, sweep.metrics[:PAGE_METRICS])
    return render(
        "sweep.html",
        scripts=("charts.js", "sweep.js"),
        sweep=sweep,
        columns=shown,
        rows=[_row(job, sweep, shown) for job in sweep.jobs],
        states=list(dict.fromkeys(job.state for job in sweep.jobs)),
        short=shortened_names(sweep),
        averages_title=averages_title(sweep),
        headings=average_headings(sweep),
        average_cells=average_cells,
        settings=settings(sweep),
        curves=curves(sweep),
        number=number,
    )


def _row(job: SweepJob, sweep: Sweep, shown: Sequence[Any]) -> dict[str, Any]:
    report = job.folder / "report.html"
    return {
        "cells": [(column, column.shown(job), column.raw(job)) for column in shown],
        "link": report.relative_to(sweep.folder).as_posix() if report.is_file() else None,
        "state": job.state,
        "message": job.message,
        "chosen": job in sweep.chosen,
    }


def settings(sweep: Sweep) -> Settings | None:
    """What was varied and what came of it, of the jobs that have a value; None if there is nothing to compare."""
    metric = sweep.metrics[0] if sweep.metrics else ""
    measured = [(index, job, value) for index, job in enumerate(sweep.jobs) if (value := job.value(metric)) is not None]
    if len(measured) < LEAST_JOBS or not sweep.varied:
        return None
    short = shortened_names(sweep)
    keys = sweep.varied[:MOST_AXES]
    axes = [Axis(key, short(key), scale([job.setting(key) for _, job, _ in measured])) for key in keys]
    axes.append(Axis(metric, short(metric), scale([repr(value) for _, _, value in measured])))
    tracks = [
        Track(
            index,
            shade(rank, len(measured)),
            f"{place_of(job, sweep)}: {short(metric)} {number(value)}",
            [*(axis.scale.places[job.setting(axis.name)] for axis in axes[:-1]), axes[-1].scale.places[repr(value)]],
        )
        for rank, (index, job, value) in enumerate(measured)
    ]
    means = [list(_means(axis, axes[-1], measured)) for axis in axes[:-1]]
    return Settings(axes, tracks[::-1], means, importance(sweep.folder))


def _means(axis: Axis, metric: Axis, measured: Sequence[tuple[int, SweepJob, Number]]) -> Iterator[tuple[float, float]]:
    for words, place in axis.scale.places.items():
        values = [metric.scale.places[repr(value)] for _, job, value in measured if job.setting(axis.name) == words]
        if len(values) > 1:
            yield place, fmean(values)


def importance(folder: Path) -> dict[str, float]:
    """How much of what came out each setting decides, as Optuna sees it; nothing where no study lies."""
    path = folder / STUDY
    if not path.is_file():
        return {}
    try:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = f"sqlite:///{path.resolve()}"
        studies = optuna.get_all_study_summaries(storage)
        largest = max(studies, key=lambda study: study.n_trials)
        study = optuna.load_study(study_name=largest.study_name, storage=storage)
        return dict(optuna.importance.get_param_importances(study))
    except Exception as error:  # too few trials, all the same, a damaged file, another Optuna: the page does without
        log.info("%s: no importance of settings: %r", path, error)
        return {}


def curves(sweep: Sweep) -> Chart | None:
    """The metric that counts, of all jobs over their steps; of very many the best."""
    if not sweep.metrics:
        return None
    metric, short = sweep.metrics[0], shortened_names(sweep)
    stage, _, quantity = metric.partition("/")
    drawn = []
    for index, job in enumerate(sweep.jobs[:MOST_CURVES]):
        logged = read_metrics(job.folder / FILE_NAME)
        points = logged.get(metric if stage != "test" else f"val/{quantity}", ())
        if len(points) > 1:
            drawn.append((index, job, points))
    if not drawn:
        return None
    lines = [
        Curve(_label(job, sweep, short), points, colour=shade(rank, len(drawn)), job=index)
        for rank, (index, job, points) in enumerate(drawn)
    ]
    title = metric if stage != "test" else f"val/{quantity}"
    shown = chart(title, lines[::-1], most_points=MOST_POINTS // len(lines))
    return replace(shown, ends=(lines[0].label, lines[-1].label)) if shown.ends else shown


def _label(job: SweepJob, sweep: Sweep, short: Callable[[str], str]) -> str:
    varied = ", ".join(f"{short(key)} {job.setting(key)}" for key in sweep.varied)
    return f"job {place_of(job, sweep)}" + (f" ({varied})" if varied else "")
