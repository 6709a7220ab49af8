"""Published against measured: checked, compared, and rendered for the terminal, the README and `summary.json`."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from rich.table import Table

Number = float | int  # YAML has both

DIRECTIONS = ("min", "max")
ARROWS = {"min": " ↓", "max": " ↑"}
UNMEASURED_ROWS = 3
TERMINAL_ROWS = 40  # a screen; a run may have hundreds of metrics
NAME_WIDTH = 30  # leaves room for the numbers and a source in 80 columns
PUBLISHED_KEYS = {"value", "source", "direction"}
MEASURED_KEYS = {"metric", "value", "budget", "hardware", "hours", "commit", "note", "curve"}
AVERAGE_KEYS = {"over", "choose", "direction", "published"}


class Objective(NamedTuple):
    """The metric that says which run is best."""

    metric: str
    direction: Literal["min", "max"]


@dataclass(frozen=True)
class Row:
    """A metric with its published and its measured value, and what a trivial predictor reaches; each may be missing."""

    metric: str
    published: Number | None = None
    source: str = ""
    direction: Literal["min", "max"] | None = None
    measured: Number | None = None
    bound: Number | None = None
    before: Number | None = None
    """What the preset says that it came to when it was measured."""

    @property
    def difference(self) -> Number | None:
        """Measured minus published, in the metric's unit."""
        return None if self.measured is None or self.published is None else self.measured - self.published

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `same` than published; empty if that cannot be said."""
        if self.difference is None or math.isnan(self.difference):
            return ""
        if self.difference == 0:
            return "same"
        return "better" if (self.difference < 0) == (self.direction == "min") else "worse"


def flat(published: Any) -> Any:
    """The published table of a preset as a row for each metric; whatever is no table stays as it is.

    A table says source and direction once, `{source, direction, values: {metric: value}}`; names that begin alike may
    share their beginning: `test/solved_rounds: {16: 0.36, 32: 0.76}`.
    """
    if not isinstance(published, Mapping) or not isinstance(published.get("values"), Mapping):
        return published
    shared = {name: value for name, value in published.items() if name != "values"}
    return {metric: {"value": value, **shared} for metric, value in _joined(published["values"])}


def _joined(values: Mapping[Any, Any], beginning: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _joined(value, f"{beginning}{name}")
        else:
            yield f"{beginning}{name}", value


def problems(published: Any, measured: Any) -> list[str]:
    """What is wrong with the `published` and `measured` of a config, plain or resolved; each names its key."""
    return [*_published_problems(flat(published)), *_measured_problems(measured)]


def average_problems(average: Any) -> list[str]:
    """What is wrong with the `average` of a config, plain or resolved; each names its key.

    It says which jobs of a multirun are one published number: the mean over the values of the keys `over`, and of the
    jobs at each value only the best one by the metric `choose`, if there is one.
    """
    return [] if average is None else list(_average_problems(average))


def _average_problems(average: Any) -> Iterator[str]:
    if not isinstance(average, Mapping):
        yield f"average={average!r}: should be {{over: [keys], choose: metric, direction}}, or null"
        return
    yield from _unknown("average", average, AVERAGE_KEYS)
    over = average.get("over")
    if not isinstance(over, Sequence) or isinstance(over, str) or not over or not all(map(_is_text, over)):
        yield f"average.over={over!r}: should be a list of config keys, such as [seed]"
    if average.get("choose") is not None:
        yield from _metric_problems(f"average.choose={average['choose']!r}", average["choose"])
        if average.get("direction") not in DIRECTIONS:
            yield f"average.direction={average.get('direction')!r}: should say which is best to choose, min or max"
    yield from _published_problems(average.get("published", {}), "average.published")


def _published_problems(published: Any, where: str = "published") -> Iterator[str]:
    if not isinstance(published, Mapping):
        yield f"{where}={published!r}: should be {{metric: {{value, source, direction}}}}"
        return
    for metric, entry in published.items():
        key = f"{where}.{metric}"
        yield from _metric_problems(key, metric)
        if not isinstance(entry, Mapping):
            yield f"{key}={entry!r}: should be {{value, source, direction}}"
            continue
        yield from _unknown(key, entry, PUBLISHED_KEYS)
        if entry.get("value", "") is not None and not _is_number(entry.get("value")):
            yield f"{key}.value={entry.get('value')!r}: should be a number"
        if not _is_text(entry.get("source")):
            yield f'{key}.source={entry.get("source")!r}: should say where the number stands, such as "Table 2"'
        if entry.get("direction") not in DIRECTIONS:
            yield f"{key}.direction={entry.get('direction')!r}: should be min or max"


def _measured_problems(measured: Any) -> Iterator[str]:
    if not isinstance(measured, Sequence) or isinstance(measured, str):
        yield f"measured={measured!r}: should be a list of {{metric, value, budget, commit}}"
        return
    for index, row in enumerate(measured):
        key = f"measured[{index}]"
        if not isinstance(row, Mapping):
            yield f"{key}={row!r}: should be {{metric, value, budget, commit}}"
            continue
        yield from _metric_problems(f"{key}.metric={row.get('metric')!r}", row.get("metric"))
        yield from _unknown(key, row, MEASURED_KEYS)
        if not _is_number(row.get("value")):
            yield f"{key}.value={row.get('value')!r}: should be a number"
        if not (_is_text(row.get("budget")) or (_is_text(row.get("hardware")) and _is_number(row.get("hours")))):
            yield f"{key}: should say what it took: a budget, or hardware and hours"
        if not _is_text(row.get("commit")):
            yield f"{key}.commit={row.get('commit')!r}: should be the commit, as text in quotes"
        yield from _curve_problems(f"{key}.curve", row.get("curve", []))


def _metric_problems(key: str, metric: Any) -> Iterator[str]:
    if not _is_text(metric) or "/" not in metric:
        yield f"{key}: a metric is named <stage>/<quantity>, such as test/accuracy"


def _curve_problems(key: str, curve: Any) -> Iterator[str]:
    pairs: list[Any] = list(curve) if isinstance(curve, Sequence) and not isinstance(curve, str) else [None]
    if not all(isinstance(p, Sequence) and len(p) == 2 and all(map(_is_number, p)) for p in pairs):
        yield f"{key}={curve!r}: should be a list of [step, value]"
    elif any(later[0] <= earlier[0] for earlier, later in pairwise(pairs)):
        yield f"{key}={curve!r}: steps should increase"


def _unknown(key: str, entry: Mapping[str, Any], allowed: set[str]) -> Iterator[str]:
    for name in entry:
        if name not in allowed:
            yield f"{key}.{name}: unknown; allowed are {', '.join(sorted(allowed))}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def comparison(
    published: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, Number],
    bounds: Mapping[str, Number] = MappingProxyType({}),
    before: Sequence[Mapping[str, Any]] = (),
    objective: Objective | None = None,
) -> list[Row]:
    """A row for each published metric, then one for each other validation or test metric of this run.

    What the run was judged by comes first, its test before its validation; then what it can be compared with.

    Args:
        published: `{metric: {value, source, direction}}`, as in a preset.
        metrics: the run's final values by name; training metrics are left out unless they are published.
        bounds: what a trivial predictor reaches, by metric.
        before: the rows of the preset's `measured`; of a metric the last one counts.
        objective: what the run was judged by.
    """
    known = {row["metric"]: row["value"] for row in before}
    quantity = objective.metric.partition("/")[2] if objective else None
    rows = [
        Row(name, e["value"], e["source"], e["direction"], metrics.get(name), bounds.get(name), known.get(name))
        for name, e in published.items()
    ]
    others = [name for name in metrics if name not in published and name.startswith(("test/", "val/"))]
    others.sort(key=lambda name: name.startswith("val/"))  # test first, otherwise as logged
    for name in others:
        direction = objective.direction if objective and name.partition("/")[2] == quantity else None
        rows.append(
            Row(name, direction=direction, measured=metrics[name], bound=bounds.get(name), before=known.get(name))
        )
    return sorted(
        rows,
        key=lambda row: (
            row.metric.partition("/")[2] != quantity,
            row.published is None and row.before is None and row.metric not in published,
        ),
    )


def number(value: Number | None) -> str:
    """`value` with four significant digits at least, `-` for None."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"


def difference(row: Row) -> str:
    """How far a row is from the published value: `+0.26 (worse)`; `-` if nothing can be compared."""
    if row.difference is None:
        return "-"
    sign = "+" if row.difference > 0 else ""
    return f"{sign}{number(row.difference)}" + (f" ({row.verdict})" if row.verdict else "")


def terminal_table(rows: Iterable[Row]) -> Table:
    """The last lines that a run prints; where not all rows have room, those that were measured come first.

    There is a column for what any row has, and an arrow for what is good: up or down.
    """
    colours = {"better": "green", "same": "green", "worse": "yellow", "": ""}
    table = Table(show_edge=False, pad_edge=False)
    rows = list(rows)
    if len(rows) > TERMINAL_ROWS:
        rows.sort(key=lambda row: row.measured is None)
    names = {row.metric: f"{row.metric}{ARROWS[row.direction] if row.direction else ''}" for row in rows}
    # a name has no spaces to wrap at: other columns make room for it, and what is too long even so is folded
    longest = max(map(len, ("metric", *names.values())))
    table.add_column("metric", overflow="fold", width=min(longest, NAME_WIDTH))
    cells: dict[str, Callable[[Row], str]] = {
        "published": lambda row: number(row.published),
        "measured before": lambda row: number(row.before),
        "this run": lambda row: number(row.measured),
        "bound": lambda row: number(row.bound),
        "difference": difference,
        "source": lambda row: row.source or "-",
    }
    shown = {name: cell for name, cell in cells.items() if name == "this run" or any(cell(row) != "-" for row in rows)}
    for heading in shown:
        is_text, may_wrap = heading == "source", heading in ("source", "difference", "measured before")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=not may_wrap, overflow="fold")
    for row in rows[:TERMINAL_ROWS]:
        values = [cell(row) for cell in shown.values()]
        blank = ["" if value == "-" else value for value in values]
        table.add_row(names[row.metric], *blank, style=colours[row.verdict])
    if len(rows) > TERMINAL_ROWS:
        table.caption = f"... and {len(rows) - TERMINAL_ROWS} more in the report"
    return table


@dataclass(frozen=True)
class Preset:
    """What a preset says about its results."""

    name: str
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measured: Sequence[Mapping[str, Any]] = ()


def budget(row: Mapping[str, Any]) -> str:
    """What a measured row took, in words."""
    return row.get("budget") or f"{number(row['hours'])} h, {row['hardware']}"


def markdown_table(presets: Iterable[Preset]) -> str:
    """The results of a paper: a line for each published metric and for each measured row, ordered by experiment.

    Of a preset that publishes a whole grid, only the first metrics that nothing was measured for stand in the table.
    """
    lines = ["| experiment | metric | published (source) | measured | budget | commit |", "|---|---|---:|---:|---|---|"]
    for preset in sorted(presets, key=lambda p: p.name):
        name = preset.name.rpartition("/")[2]
        metrics = dict.fromkeys([*preset.published, *(row["metric"] for row in preset.measured)])
        has_rows = {row["metric"] for row in preset.measured}
        left_out = [metric for metric in metrics if metric not in has_rows][UNMEASURED_ROWS:]
        for metric in metrics:
            if metric in left_out:
                continue
            entry = preset.published.get(metric)
            published = f"{number(entry['value'])} ({entry['source']})" if entry else "-"
            rows: list[Any] = [row for row in preset.measured if row["metric"] == metric]
            for row in rows or [None]:
                measured = (
                    (number(row["value"]), _budget_and_note(row), f"`{row['commit']}`") if row else ("-", "-", "-")
                )
                cells = (f"`{name}`", f"`{metric}`", published, *measured)
                lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        if left_out:
            lines.append(f"| `{name}` | {len(left_out)} more in the preset | | - | - | - |")
    return "\n".join(lines)


def _budget_and_note(row: Mapping[str, Any]) -> str:
    return f"{budget(row)}; {row['note']}" if row.get("note") else budget(row)
