"""Lists the presets, or those that all of some words fit: `python scripts/presets.py sudoku laptop`."""

import argparse
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from paperzoo.choices import CONFIG_FOLDER, options, presets, with_weights
from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error
from paperzoo.help import paper
from paperzoo.reporting.presets import Composed, composed, head
from paperzoo.reporting.results import ARROWS, budget, number

WIDE = 110  # columns in which what a run takes has room beside its numbers
FEW = 3  # presets of which everything is told
METRIC_WIDTH = 22
HEADINGS = ("preset", "metric (test)", "published", "measured")
FOOT = (
    "A star: trained weights come with it, checkpoint=pretrained/PAPER/PRESET. Train one: python train.py "
    "experiment=PAPER/PRESET. All metrics, with their sources: docs/results.md."
)


def text_of(name: str) -> str:
    """What words are looked for in: the preset with its head, the paper, the data with theirs."""
    about = paper(name.split("/")[0])
    raw = (CONFIG_FOLDER / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    chosen = re.findall(r"override /(data[\w/]*): (\w+)", raw)
    data = [f"{option} {head(f'{group}/{option}')}" for group, option in chosen if option in options(group)]
    return " ".join([name, head(f"experiment/{name}"), about["title"], str(about["authors"]), about["claim"], *data])


def line(preset: Composed) -> str:
    """Its name, and the first metric that it publishes, or else measured."""
    results = preset.results
    name = results.name.split("/", 1)[1] + ("*" if results.name in with_weights() else "")
    metrics = [
        *(m for m, e in results.published.items() if e["value"] is not None),
        *(r["metric"] for r in results.measured),
    ]
    if not metrics:
        return columns(name, "-", "-", "-")
    metric = metrics[0]
    entry = results.published.get(metric, {})
    measured = [row["value"] for row in results.measured if row["metric"] == metric]
    shown = metric.removeprefix("test/") + ARROWS.get(entry.get("direction", ""), "")
    return columns(name, shown, number(entry.get("value")), number(measured[-1] if measured else None))


def columns(name: str, metric: str, published: str, measured: str) -> str:
    short = metric if len(metric) <= METRIC_WIDTH else f"{metric[: METRIC_WIDTH - 1]}…"
    return f"  {name:<30} {short:<{METRIC_WIDTH}} {published:>9} {measured:>9}"


def details(preset: Composed) -> str:
    """The data and how they are had; what a measured run took, and on what."""
    took = [budget(row) for row in preset.results.measured[:1]]
    return "; ".join([", ".join(dict.fromkeys(data_of(preset))), *took])


def data_of(preset: Composed) -> Iterator[str]:
    """Each data set, and how it is had."""
    from paperzoo.config import instantiate  # takes seconds to import, and the help does not need it

    data: Any = instantiate(preset.data, "data")
    file_sets = getattr(data, "file_sets", ())
    if not file_sets:
        yield f"{preset.data_option} (generated)"
    for file_set in file_sets:
        yield f"{file_set.title or file_set.name} ({access(file_set, data.data_root)})"


def access(file_set: Any, data_root: str) -> str:
    """Whether a set is on this machine, can be downloaded or must be fetched by hand, and how large it is."""
    cache = file_set.cache(data_root)
    if cache.is_prepared:
        return f"here, {amount(sum(path.stat().st_size for path in cache.folder.glob('*.npy')) / 1e6)}"
    if not file_set.missing(file_set.raw(data_root)):
        return "its files are here" if file_set.sources or file_set.places else "made here"
    how = "downloaded" if file_set.sources and not file_set.is_withdrawn else "fetched by hand"
    return f"{how}, {amount(file_set.megabytes)}" if file_set.megabytes else how


def amount(megabytes: float) -> str:
    """`246 MB`, `18 GB`."""
    return f"{megabytes / 1000:.3g} GB" if megabytes >= 1000 else f"{megabytes:.3g} MB"


def listing(names: Sequence[str], width: int) -> Iterator[str]:
    """The lines of the table, paper by paper; of a few presets also what their heads say."""
    for folder, members in groupby(composed(names), key=lambda one: one.results.name.split("/")[0]):
        about = paper(folder)
        yield textwrap.fill(f"{folder} ({about['year']}): {about['claim']}", width, subsequent_indent="    ")
        yield columns(*HEADINGS)
        for preset in members:
            beside = f"{line(preset)}   "
            if width >= WIDE:
                yield textwrap.fill(details(preset), width, initial_indent=beside, subsequent_indent=" " * len(beside))
            else:
                yield line(preset)
                yield textwrap.fill(details(preset), width, initial_indent=" " * 6, subsequent_indent=" " * 6)
            if len(names) <= FEW:
                said = head(f"experiment/{preset.results.name}")
                yield textwrap.fill(said, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
        yield ""
    yield textwrap.fill(FOOT, width)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Lists the presets by paper: the first published metric, what it was measured to, the data and how "
        "they are had, the time and the machine of the measured run.",
    )
    parser.add_argument(
        "words", metavar="WORD", nargs="*", help="only presets that all words fit: of a paper, preset, data set, claim"
    )
    words = parser.parse_args().words
    names = [name for name in presets() if all(word.lower() in text_of(name).lower() for word in words)]
    if not names:
        report_user_error(UserError(f"{' '.join(words)}: no preset speaks of that; without words all are listed"))
        sys.exit(EXIT_USER_ERROR)
    try:
        for text in listing(names, min(shutil.get_terminal_size().columns, 140)):
            print(text, flush=True)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UserError as error:
        report_user_error(error)
        sys.exit(EXIT_USER_ERROR)


if __name__ == "__main__":
    main()
