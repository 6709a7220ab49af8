"""A multirun as it lies on disk: its jobs, what varied, which is best, and means over those that are one number."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import yaml

from paperzoo.reporting.results import Number, Objective, Row

FAILURE = "failure.json"  # of a job that came to no summary: {status, message, overrides}
STATES = ("finished", "pruned", "stopped", "failed", "refused", "unfinished")
ENDED = STATES[:2]  # nothing is missing of these
ABSENT = "-"
SEEDS: Mapping[str, Any] = {"over": ["seed"]}  # what is averaged over if the preset says nothing


@dataclass(frozen=True)
class SweepJob:
    """A job of a multirun, and what became of it.

    Attributes:
        folder: of the job.
        state: `finished`, `pruned`, `stopped`, `failed`, `refused` or `unfinished`: it still runs, or was killed.
        overrides: what was typed for it, as `{key: text}`.
        name: what ran.
        message: why it stopped, failed or was refused.
        metrics: its final values; those that are no number are left out.
        objective: what it optimised, if anything.
        hours: that it took.
        config: the resolved config; empty if it never came that far.
    """

    folder: Path
    state: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    message: str = ""
    metrics: Mapping[str, Number] = field(default_factory=dict)
    objective: Objective | None = None
    hours: Number | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def published(self) -> Mapping[str, Mapping[str, Any]]:
        """`{metric: {value, source, direction}}`."""
        return self.config.get("published") or {}

    @property
    def measured_before(self) -> Sequence[str]:
        """The metrics of which the preset says what was measured."""
        return [row["metric"] for row in self.config.get("measured") or ()]

    def setting(self, key: str) -> str:
        """The value of a config key, or the option chosen in a group, in words that are equal if the values are."""
        found: Any = self.config
        for part in key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return _words(self.overrides.get(key, ABSENT))
            found = found[part]
        return _words(self.overrides.get(key, ABSENT) if isinstance(found, Mapping) else found)

    def value(self, metric: str) -> Number | None:
        """Of a job that finished: what it would have come to is not known of the others."""
        return self.metrics.get(metric) if self.state == "finished" else None


@dataclass(frozen=True)
class Average:
    """A metric averaged over the jobs that are one published number.

    Attributes:
        settings: what these jobs share of what varied, as `{key: words}`.
        row: the mean beside the published value.
        deviation: standard deviation over the jobs (with n - 1); None for a single one.
        count: jobs in the mean.
        planned: jobs that should be.
    """

    settings: Mapping[str, str]
    row: Row
    deviation: float | None
    count: int
    planned: int


@dataclass(frozen=True)
class Sweep:
    """A multirun.

    Attributes:
        folder: of the multirun.
        jobs: best first.
        varied: the keys that differ between jobs.
        metrics: those to be shown, the most important first.
        averages: best first.
        chosen: the jobs that the averages are of, if they were chosen from several; else none.
    """

    folder: Path
    jobs: Sequence[SweepJob]
    varied: Sequence[str]
    metrics: Sequence[str]
    averages: Sequence[Average]
    chosen: Sequence[SweepJob]

    @property
    def title(self) -> str:
        """`glow/ablation: 18 jobs, 17 finished, 1 failed`."""
        states = [job.state for job in self.jobs]
        counts = ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)
        names = ", ".join(dict.fromkeys(job.name for job in self.jobs if job.name)) or self.folder.name
        return f"{names}: {len(states)} job{'s' if len(states) > 1 else ''}, {counts}"


def sweep_of(jobs: Sequence[SweepJob], folder: Path) -> Sweep:
    """The multirun of these jobs, with the averages that their preset declares (`average`), else over the seeds.

    Args:
        jobs: at least one, in the order of their numbers.
        folder: of the multirun.
    """
    average: Mapping[str, Any] = next((job.config["average"] for job in jobs if job.config.get("average")), SEEDS)
    objective = _objective(jobs, average)
    varied = _varied(jobs)
    metrics = _metrics(jobs, objective)
    groups = _groups(jobs, average, varied)
    averages = [mean for group in groups for mean in _averages(group, average, metrics)]
    return Sweep(
        folder=folder,
        jobs=best_first(jobs, objective),
        varied=varied,
        metrics=metrics,
        averages=_best_average_first(averages, objective) if any(group.planned > 1 for group in groups) else [],
        chosen=[job for group in groups for job in group.jobs] if average.get("choose") else [],
    )


# Reading


def read_jobs(folder: Path) -> list[SweepJob]:
    """The jobs anywhere below `folder`, in the order of their numbers."""
    marks = ("summary.json", FAILURE, ".hydra/overrides.yaml")
    folders = {Path(str(path).removesuffix(mark)) for mark in marks for path in folder.rglob(mark)}
    return [_read_job(job) for job in sorted(folders, key=_numbers_as_numbers)]


def _numbers_as_numbers(path: Path) -> list[tuple[bool, int, str]]:
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", str(path))]


def _read_job(folder: Path) -> SweepJob:
    summary, failure = _content(folder / "summary.json"), _content(folder / FAILURE)
    typed = failure.get("overrides") or _content(folder / ".hydra" / "overrides.yaml") or []
    objective = summary.get("objective")
    return SweepJob(
        folder=folder,
        state=str(summary.get("status") or failure.get("status") or "unfinished"),
        overrides=dict(_key_and_text(override) for override in typed),
        name=str(summary.get("name") or ""),
        message=str(summary.get("message") or failure.get("message") or ""),
        metrics={name: value for name, value in summary.get("metrics", {}).items() if value is not None},
        objective=Objective(objective["metric"], objective["direction"]) if objective else None,
        hours=summary.get("hours"),
        config=summary.get("config") or _content(folder / ".hydra" / "resolved.yaml"),
    )


def _content(path: Path) -> Any:
    """What a JSON or YAML file holds; nothing if it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        return (json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _key_and_text(override: str) -> tuple[str, str]:
    if override.startswith("~"):
        return override[1:].partition("=")[0], "removed"
    key, _, text = override.lstrip("+").partition("=")
    return key, text


def _words(value: Any) -> str:
    """A value of a config, or the text that was typed for it."""
    if isinstance(value, list):
        return f"[{','.join(map(_words, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = re.sub(r"\s*([\[\],])\s*", r"\1", str(value).strip("'\""))
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


# What varied, what was measured, what is best


def _varied(jobs: Sequence[SweepJob]) -> list[str]:
    typed = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in typed if len({job.setting(key) for job in jobs}) > 1]


def _objective(jobs: Iterable[SweepJob], average: Mapping[str, Any]) -> Objective | None:
    """What says which of all jobs is best; None if they optimised different things. Not validated: the test's value."""
    if average.get("choose"):
        return Objective(average["choose"], average["direction"])
    objectives = {job.objective for job in jobs if job.objective}
    if len(objectives) != 1:
        return None
    objective = objectives.pop()
    is_measured = any(objective.metric in job.metrics for job in jobs)
    return objective if is_measured else Objective(_tested(objective.metric), objective.direction)


def _tested(metric: str) -> str:
    return f"test/{metric.partition('/')[2]}"


def _metrics(jobs: Iterable[SweepJob], objective: Objective | None) -> list[str]:
    """What was optimised, what is published or was measured before, the optimised on the test set.

    Without any test metric, all of them.
    """
    objectives = dict.fromkeys([o.metric for o in (objective, *(job.objective for job in jobs)) if o])
    tested = [_tested(metric) for metric in objectives]
    known = [metric for job in jobs for metric in (*job.published, *job.measured_before)]
    measured = dict.fromkeys(metric for job in jobs for metric in job.metrics)
    wanted = [metric for metric in dict.fromkeys([*objectives, *known, *tested]) if metric in measured]
    if any(metric.startswith("test/") for metric in wanted):
        return wanted
    return [*wanted, *(metric for metric in measured if metric.startswith("test/"))]


def best_first(jobs: Iterable[SweepJob], objective: Objective | None) -> list[SweepJob]:
    """`jobs` by their objective; then those that finished without a value of it, then the others, in their order."""

    def place(job: SweepJob) -> tuple[bool, Number]:
        return job.state != "finished", _place(job.value(objective.metric) if objective else None, objective)

    return sorted(jobs, key=place)


def _place(value: Number | None, objective: Objective | None) -> Number:
    if value is None or objective is None:
        return math.inf
    return value if objective.direction == "min" else -value


# Means


class _Group(NamedTuple):
    """The jobs of one mean, and how many they should be."""

    settings: Mapping[str, str]
    jobs: Sequence[SweepJob]
    planned: int


def _groups(jobs: Iterable[SweepJob], average: Mapping[str, Any], varied: Iterable[str]) -> list[_Group]:
    over, choose = average["over"], average.get("choose")
    if choose:
        by = Objective(choose, average["direction"])
        cases = _by_settings(jobs, over)
        best = [best_first(case, by)[0] for case in cases.values()]
        return [_Group({}, [job for job in best if job.value(choose) is not None], len(cases))]
    shared = [key for key in varied if key not in over]
    return [
        _Group(dict(zip(shared, values, strict=True)), [job for job in group if job.state == "finished"], len(group))
        for values, group in _by_settings(jobs, shared).items()
    ]


def _by_settings(jobs: Iterable[SweepJob], keys: Sequence[str]) -> dict[tuple[str, ...], list[SweepJob]]:
    groups: dict[tuple[str, ...], list[SweepJob]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.setting(key) for key in keys), []).append(job)
    return groups


def _averages(group: _Group, average: Mapping[str, Any], metrics: Sequence[str]) -> Iterator[Average]:
    declared = average.get("published") or {}
    published = {metric for job in group.jobs for metric in job.published}
    for metric in declared or [metric for metric in metrics if metric in published] or metrics:
        jobs = [job for job in group.jobs if job.value(metric) is not None]
        if not jobs:
            continue
        values = [job.metrics[metric] for job in jobs]
        entry = declared.get(metric) or _mean_published([job.published.get(metric) for job in jobs])
        row = Row(metric, entry.get("value"), entry.get("source", ""), entry.get("direction"), fmean(values))
        deviation = stdev(values) if len(values) > 1 else None
        yield Average(group.settings, row, deviation, count=len(values), planned=group.planned)


def _mean_published(entries: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any]:
    """What is published of the mean: that of the jobs' own published values, if each has one."""
    found = [entry for entry in entries if entry and entry.get("value") is not None]
    if not found or len(found) < len(entries):
        return {}
    values = [entry["value"] for entry in found]
    if len(set(values)) == 1:
        return found[0]
    return {**found[0], "value": fmean(values), "source": f"{found[0]['source']}, mean of {len(values)}"}


def _best_average_first(averages: Sequence[Average], objective: Objective | None) -> list[Average]:
    """By the mean of the objective, else of the first metric whose direction is published."""
    known = [objective] if objective else []
    known += [Objective(mean.row.metric, mean.row.direction) for mean in averages if mean.row.direction]
    averaged = {mean.row.metric for mean in averages}
    by = next((one for one in known if one.metric in averaged), None)
    values = {_key(mean): mean.row.measured for mean in averages if by and mean.row.metric == by.metric}
    return sorted(averages, key=lambda mean: _place(values.get(_key(mean)), by))


def _key(average: Average) -> tuple[str, ...]:
    return tuple(average.settings.values())
