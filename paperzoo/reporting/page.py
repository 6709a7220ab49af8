"""`report.html`: a run on one self-contained page, without a request to anywhere."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from paperzoo.files import write_text
from paperzoo.reporting.charts import families, pattern
from paperzoo.reporting.figure_files import StoredFigure, read_figures
from paperzoo.reporting.metrics_csv import FILE_NAME, read_metrics
from paperzoo.reporting.rendering import render
from paperzoo.reporting.results import Number, Row, budget, difference, number
from paperzoo.reporting.run_charts import run_charts
from paperzoo.reporting.summary import Summary, environment, git_commit

MOST_ROWS = 12  # of a table that is read at a glance


def write_report(folder: Path, summary: Summary) -> Path:
    """Writes `report.html` from a run's summary, its `metrics.csv` and its `figures/*.png`; returns the path.

    The paper's title and claim and the earlier measured results come from `summary.config`.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    paper = summary.config.get("paper") or {}
    head, *tables = result_tables(summary.rows)
    html = render(
        "report.html",
        scripts=("charts.js", "copy.js"),
        summary=summary,
        title=paper.get("title") or summary.name,
        paper=paper,
        authors=_authors(paper.get("authors")),
        figures=[_page_figure(figure) for figure in read_figures(folder)],
        headline=_headline(summary),
        rows=head[1],
        more_rows=tables,
        measured=[{**row, "budget": budget(row)} for row in summary.config.get("measured") or []],
        facts=_facts(summary),
        charts=run_charts(read_metrics(folder / FILE_NAME), summary),
        commands=_commands(folder, summary),
        is_dirty=(git_commit() or "").endswith("-dirty"),
        config=yaml.safe_dump(_plain(summary.config), sort_keys=False, allow_unicode=True),
        environment="\n".join(f"{name} {value}" for name, value in environment().items()),
        number=number,
        difference=difference,
    )
    return write_text(folder / "report.html", html)


def _authors(authors: Any) -> str:
    is_list = isinstance(authors, Sequence) and not isinstance(authors, str)
    return ", ".join(map(str, authors)) if is_list else str(authors or "")


def _headline(summary: Summary) -> Row | None:
    """What the run was judged by, on its test set if that was measured."""
    if summary.objective is None:
        return None
    quantity = summary.objective.metric.partition("/")[2]
    measured = {row.metric: row for row in summary.rows if row.measured is not None}
    return measured.get(f"test/{quantity}") or measured.get(summary.objective.metric)


def result_tables(rows: Sequence[Row]) -> list[tuple[str, Sequence[Row]]]:
    """The table of results, which has no name, then one for each family of metrics where there are many rows."""
    if len(rows) <= MOST_ROWS:
        return [("", rows)]
    tables: list[tuple[str, Sequence[Row]]] = []
    for stage in dict.fromkeys(row.metric.partition("/")[0] for row in rows):
        own = {row.metric.partition("/")[2]: row for row in rows if row.metric.startswith(f"{stage}/")}
        alike: dict[str, list[Row]] = {}
        for beginning, members in families(own):
            alike.setdefault(pattern(beginning), []).extend(own[name] for name in members)
        tables += [(f"{stage}/{name}".rstrip("_"), members) for name, members in alike.items()]
    folded = {row.metric for _, members in tables for row in members}
    return [("", [row for row in rows if row.metric not in folded]), *tables]


def _facts(summary: Summary) -> dict[str, str]:
    """What ran, in words; what is not known is left out."""
    data = ", ".join(f"{part} {amount}" for part, amount in summary.data.items())
    facts = {
        "weights tested": summary.tested,
        "seed": str(summary.config.get("seed", "")),
        "ended": date(summary.ended),
        "data": data,
        "steps": f"{summary.steps:,}",
        "epochs": f"{summary.epochs:,}",
        "parameters": f"{summary.parameters:,}",
        "time": duration(summary.hours),
        "device": summary.device,
    }
    return {name: value for name, value in facts.items() if value}


def date(text: str) -> str:
    """`2026-11-25 10:30` of a moment in ISO's form; whatever else stays as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def duration(hours: Number) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    seconds = round(hours * 3600)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


def _page_figure(figure: StoredFigure) -> dict[str, Any]:
    return {
        "source": f"data:image/png;base64,{base64.b64encode(figure.content).decode()}",
        **{name: getattr(figure, name) for name in ("caption", "width", "height")},
    }


def _commands(folder: Path, summary: Summary) -> dict[str, str]:
    """How to do it again, and what can be done with the checkpoints that there are."""
    commit = git_commit()
    checkout = f"git checkout {commit.removesuffix('-dirty')}\n" if commit else ""
    commands = {"Again from the start": f"{checkout}{summary.command}"}
    if (folder / "checkpoints" / "last.ckpt").is_file():
        longer = " trainer.max_epochs=..." if summary.status == "finished" else ""
        title = "Train it longer" if longer else "Continue where it stopped"
        commands[title] = f"python train.py {shlex.quote(f'resume={folder}')}{longer}"
    if any((folder / "checkpoints").glob("*.ckpt")):
        checkpoint = shlex.quote(f"checkpoint={folder}")
        commands["Test these weights again"] = f"python train.py mode=test {checkpoint}"
        commands["Predict with them"] = f"python train.py mode=predict {checkpoint}"
    return commands


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
