"""Which charts the page of a run has: a quantity each, in the stages' colours, or a family of quantities."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from paperzoo.reporting.charts import STAGES, Chart, Curve, chart, families, member_number, shade
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
        charts += _family(beginning, members, metrics, summary)
    return charts


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


def _family(beginning: str, members: Sequence[str], metrics: Mapping[str, Points], summary: Summary) -> Iterator[Chart]:
    """A chart over the steps for each stage that has some; of numbered members that have one value, over the number."""
    title = beginning.rstrip("_")
    for stage in STAGES:
        known = [name for name in members if metrics.get(f"{stage}/{name}")]
        lines = [name for name in known if len(metrics[f"{stage}/{name}"]) >= LEAST_POINTS]
        if lines:
            curves = [
                Curve(name.removeprefix(beginning), metrics[f"{stage}/{name}"], colour=shade(place, len(lines)))
                for place, name in enumerate(lines)
            ]
            yield chart(f"{stage}/{title}", curves)
        elif len(known) >= LEAST_POINTS and member_number(known[0]) is not None:
            yield _by_number(stage, title, known, metrics, summary)


def _by_number(
    stage: str, title: str, members: Sequence[str], metrics: Mapping[str, Points], summary: Summary
) -> Chart:
    published = {row.metric: row.published for row in summary.rows}
    places = [(member_number(name) or 0, f"{stage}/{name}") for name in members]
    told = [(place, value) for place, metric in places if (value := published.get(metric)) is not None]
    curves = [Curve(stage, [(place, metrics[metric][-1][1]) for place, metric in places], colour=stage)]
    if told:
        curves.append(Curve("published", told, colour="published"))
    return chart(f"{stage}/{title}", curves, x_title=title.rpartition("_")[2], from_zero=False)
