"""Which charts the page of a run has: a quantity each, in the stages' colours, or a family of quantities."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from paperzoo.reporting.charts import (
    MOST_NAMED,
    SHADES,
    STAGES,
    Chart,
    Curve,
    chart,
    families,
    member_number,
    pattern,
    shade,
)
from paperzoo.reporting.results import Number, budget, number
from paperzoo.reporting.summary import Summary

Points = Sequence[tuple[Number, Number]]
LEAST_POINTS = 2  # of a curve that is worth a chart


def run_charts(metrics: Mapping[str, Points], summary: Summary) -> list[Chart]:
    """Charts of all curves with two points and more; what is published or was measured comes first.

    Args:
        metrics: (step, value) pairs by metric.
        summary: of the same run.
    """
    quantities = list(dict.fromkeys(metric.partition("/")[2] for metric in metrics if "/" in metric))
    grouped = dict(families(quantities))
    important = [row.metric.partition("/")[2] for row in summary.rows]
    single = [name for name in quantities if name not in chain(*grouped.values())]
    single.sort(key=lambda name: important.index(name) if name in important else len(important))
    charts = [_quantity(name, metrics, summary) for name in single if _is_curve(metrics, name)]
    for beginning, members in grouped.items():
        charts += _over_steps(beginning, members, metrics)
    return [*charts, *_over_numbers(grouped, metrics, summary)]


def _is_curve(metrics: Mapping[str, Points], quantity: str) -> bool:
    return any(len(metrics.get(f"{stage}/{quantity}", ())) >= LEAST_POINTS for stage in STAGES)


def _quantity(quantity: str, metrics: Mapping[str, Points], summary: Summary) -> Chart:
    return chart(quantity, list(_curves(quantity, metrics, summary)))


def _curves(quantity: str, metrics: Mapping[str, Points], summary: Summary) -> Iterator[Curve]:
    for stage in STAGES:
        if points := metrics.get(f"{stage}/{quantity}"):
            yield Curve(stage, points, colour=stage)
    for row in summary.config.get("measured") or []:
        if row["metric"].partition("/")[2] == quantity and row.get("curve"):
            yield Curve(f"{row['metric']} earlier, {budget(row)}", row["curve"], colour="earlier")
    for row in summary.rows:
        if row.metric.partition("/")[2] == quantity and row.published is not None:
            yield Curve(f"{row.metric} published, {number(row.published)}", level=row.published, colour="published")


def _over_steps(beginning: str, members: Sequence[str], metrics: Mapping[str, Points]) -> Iterator[Chart]:
    """A family in each stage that logged it while training."""
    for stage in STAGES:
        lines = [name for name in members if len(metrics.get(f"{stage}/{name}", ())) >= LEAST_POINTS]
        if lines:
            curves = [
                Curve(name.removeprefix(beginning), metrics[f"{stage}/{name}"], colour=shade(place, len(lines)))
                for place, name in enumerate(lines)
            ]
            most_named = SHADES if member_number(members[0]) is None else MOST_NAMED
            yield chart(f"{stage}/{beginning.rstrip('_')}", curves, most_named=most_named)


def _over_numbers(
    grouped: Mapping[str, Sequence[str]], metrics: Mapping[str, Points], summary: Summary
) -> Iterator[Chart]:
    """Numbered families that have one value a member, over the number; those that differ in a number share a chart."""
    for stage in STAGES:
        alike: dict[str, dict[str, Points]] = {}
        for beginning, members in grouped.items():
            values = {name: metrics[f"{stage}/{name}"] for name in members if f"{stage}/{name}" in metrics}
            points = [(member_number(name) or 0, logged[-1][1]) for name, logged in values.items()]
            is_numbered = len(points) >= LEAST_POINTS and member_number(members[0]) is not None
            if is_numbered and all(len(logged) < LEAST_POINTS for logged in values.values()):
                alike.setdefault(pattern(beginning), {})[beginning] = points
        for shared, lines in alike.items():
            yield _over_number(stage, shared, lines, summary)


def _over_number(stage: str, shared: str, lines: Mapping[str, Points], summary: Summary) -> Chart:
    quantity, _, counted = shared.rpartition("_")
    title = f"{stage}/{shared if len(lines) == 1 else quantity}"
    if len(lines) > 1:
        ordered = sorted(lines, key=lambda beginning: [int(number) for number in re.findall(r"\d+", beginning)])
        curves = [
            Curve(beginning.rpartition("_")[0], lines[beginning], colour=shade(place, len(ordered)))
            for place, beginning in enumerate(ordered)
        ]
        return chart(title, curves, x_title=counted, from_zero=False)
    ((beginning, points),) = lines.items()
    published = {row.metric: row.published for row in summary.rows}
    told = [(n, value) for n, _ in points if (value := published.get(f"{stage}/{beginning}{n}")) is not None]
    curves = [Curve(stage, points, colour=stage)]
    if told:
        curves.append(Curve("published", told, colour="published"))
    return chart(title, curves, x_title=counted, from_zero=False)
