"""`report.html`: a run on one self-contained page, without scripts and without a request to anywhere."""

import base64
import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, UnidentifiedImageError

from paperzoo.files import write_text
from paperzoo.reporting.charts import Curve, chart
from paperzoo.reporting.metrics_csv import FILE_NAME, read_metrics
from paperzoo.reporting.results import TEMPLATES, Number, budget, difference, number
from paperzoo.reporting.summary import Summary, environment, git_commit

STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")


def write_report(folder: Path, summary: Summary) -> Path:
    """Writes `report.html` from a run's summary, its `metrics.csv` and its `figures/*.png`; returns the path.

    The paper's title and claim and the earlier measured results come from `summary.config`.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    paper = summary.config.get("paper") or {}
    title = f"{paper.get('title') or summary.name}: {summary.name}"
    sections = [
        _head(paper, summary),
        _results(summary),
        _measured(summary),
        _curves(read_metrics(folder / FILE_NAME), summary),
        _figures(folder / "figures"),
        _again(folder, summary),
        _details("Resolved config", yaml.safe_dump(_plain(summary.config), sort_keys=False, allow_unicode=True)),
        _details("Environment", "\n".join(f"{name} {value}" for name, value in environment().items())),
    ]
    html = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{''.join(sections)}</body>\n</html>\n"
    )
    return write_text(folder / "report.html", html)


def _head(paper: Mapping[str, Any], summary: Summary) -> str:
    authors = paper.get("authors") or ""
    authors = (
        ", ".join(map(str, authors)) if isinstance(authors, Sequence) and not isinstance(authors, str) else authors
    )
    byline = ", ".join(escape(str(part)) for part in (authors, paper.get("year")) if part)
    if arxiv := paper.get("arxiv"):
        byline += f' · <a href="https://arxiv.org/abs/{escape(str(arxiv))}">arXiv:{escape(str(arxiv))}</a>'
    claim = f'<p class="claim">{escape(str(paper["claim"]))}</p>' if paper.get("claim") else ""
    message = f'<p class="{summary.status}">{escape(summary.message)}</p>' if summary.message else ""
    return (
        f'<header>\n<p class="kicker"><code>{escape(summary.name)}</code> '
        f'<span class="badge {summary.status}">{summary.status}</span></p>\n'
        f"<h1>{escape(str(paper.get('title') or summary.name))}</h1>\n<p>{byline}</p>\n{claim}{message}</header>\n"
    )


def _results(summary: Summary) -> str:
    if summary.rows:
        has_bounds = any(row.bound is not None for row in summary.rows)
        lines = "".join(
            f'<tr><td><code>{escape(row.metric)}</code></td><td class="n big">{number(row.published)}</td>'
            f'<td class="n big">{number(row.measured)}</td>'
            + (f'<td class="n">{number(row.bound)}</td>' if has_bounds else "")
            + f'<td class="n {row.verdict}">{difference(row)}</td>'
            f'<td class="dim">{escape(row.source) or "-"}</td></tr>\n'
            for row in summary.rows
        )
        bound = '<th class="n">bound</th>' if has_bounds else ""
        numbers = f'<th class="n">published</th><th class="n">this run</th>{bound}<th class="n">difference</th>'
        headings = f"<th>metric</th>{numbers}"
        table = f'<div class="scroll"><table>\n<tr>{headings}<th>source</th></tr>\n{lines}</table></div>\n'
        if has_bounds:
            table += f'<p class="dim">Bound: what a predictor reaches that {escape(summary.bound)}.</p>\n'
        table += "".join(f'<p class="dim">{escape(note)}</p>\n' for note in summary.notes)
    else:
        table = '<p class="dim">Nothing was measured.</p>\n'
    facts = {
        "steps": f"{summary.steps:,}",
        "epochs": f"{summary.epochs:,}",
        "parameters": f"{summary.parameters:,}",
        "time": duration(summary.hours),
        "device": summary.device,
    }
    boxes = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<section>\n<h2>Published and measured</h2>\n{table}<dl class="facts">{boxes}</dl>\n</section>\n'


def duration(hours: Number) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    seconds = round(hours * 3600)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


def _measured(summary: Summary) -> str:
    rows = summary.config.get("measured") or []
    if not rows:
        return ""
    lines = "".join(
        f'<tr><td><code>{escape(str(row["metric"]))}</code></td><td class="n">{number(row["value"])}</td>'
        f"<td>{escape(budget(row))}</td><td><code>{escape(str(row['commit']))}</code></td>"
        f'<td class="dim">{escape(str(row.get("note") or ""))}</td></tr>\n'
        for row in rows
    )
    return (
        '<section>\n<h2>Measured earlier with this preset</h2>\n<div class="scroll"><table>\n'
        '<tr><th>metric</th><th class="n">value</th><th>budget</th><th>commit</th><th>note</th></tr>\n'
        f"{lines}</table></div>\n</section>\n"
    )


def _curves(metrics: Mapping[str, Sequence[tuple[Number, Number]]], summary: Summary) -> str:
    quantities = dict.fromkeys(metric.partition("/")[2] for metric in metrics if "/" in metric)
    important = {row.metric.partition("/")[2]: None for row in summary.rows}
    ordered = [q for q in important if q in quantities] + [q for q in quantities if q not in important]
    charts = "".join(
        f"<figure>\n<h3>{escape(quantity)}</h3>\n{chart(list(_curves_of(quantity, metrics, summary)))}</figure>\n"
        for quantity in ordered
    )
    return f'<section>\n<h2>Curves</h2>\n<div class="charts">\n{charts}</div>\n</section>\n' if charts else ""


def _curves_of(
    quantity: str, metrics: Mapping[str, Sequence[tuple[Number, Number]]], summary: Summary
) -> Iterator[Curve]:
    for stage in ("train", "val", "test"):
        if points := metrics.get(f"{stage}/{quantity}"):
            yield Curve(f"{stage} {number(points[-1][1])}", points)
    for row in summary.config.get("measured") or []:
        if row["metric"].partition("/")[2] == quantity and row.get("curve"):
            yield Curve(f"earlier: {row['metric']}, {budget(row)}", row["curve"], dashed=True)
    for row in summary.rows:
        if row.metric.partition("/")[2] == quantity and row.published is not None:
            yield Curve(f"published {row.metric} {number(row.published)}", [], level=row.published)


def _figures(folder: Path) -> str:
    figures = "".join(_figure(path) for path in sorted(folder.glob("*.png")))
    return f'<section>\n<h2>Figures</h2>\n<div class="charts">\n{figures}</div>\n</section>\n' if figures else ""


def _figure(path: Path) -> str:
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            caption = str(image.info.get("Description") or path.stem.replace("_", " "))
            width, height = image.size
    except (UnidentifiedImageError, OSError):  # somebody else's file in our folder
        return ""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    text = escape(caption)
    shape = "wide" if width > 2.5 * height else "normal"
    return (
        f'<figure class="{shape}">\n<img src="{source}" alt="{text}" width="{width}" height="{height}">\n'
        f"<figcaption>{text}</figcaption>\n</figure>\n"
    )


def _again(folder: Path, summary: Summary) -> str:
    commit = git_commit()
    checkout = f"git checkout {commit.removesuffix('-dirty')}\n" if commit else ""
    dirty = '<p class="dim">The source tree had changes that are not in this commit.</p>\n'
    commands = {"Again from the start": f"{checkout}{summary.command}", **_commands_with_checkpoints(folder, summary)}
    blocks = "".join(f"<p>{name}</p>\n<pre>{escape(command)}</pre>\n" for name, command in commands.items())
    note = dirty if commit and commit.endswith("-dirty") else ""
    identity = f'<p class="dim">Identity of the config: <code>{summary.identity}</code></p>\n'
    return f"<section>\n<h2>Reproduce</h2>\n{blocks}{note}{identity}</section>\n"


def _commands_with_checkpoints(folder: Path, summary: Summary) -> dict[str, str]:
    """What can be done with the checkpoints that there are."""
    commands = {}
    if (folder / "checkpoints" / "last.ckpt").is_file():
        longer = " trainer.max_epochs=..." if summary.status == "finished" else ""
        title = "Train it longer" if longer else "Continue where it stopped"
        commands[title] = f"python train.py {shlex.quote(f'resume={folder}')}{longer}"
    if any((folder / "checkpoints").glob("*.ckpt")):
        checkpoint = shlex.quote(f"checkpoint={folder}")
        commands["Test, or predict with, these weights"] = "\n".join(
            f"python train.py mode={mode} {checkpoint}" for mode in ("test", "predict")
        )
    return commands


def _details(title: str, text: str) -> str:
    return f"<details>\n<summary>{escape(title)}</summary>\n<pre>{escape(text)}</pre>\n</details>\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
