"""`predictions.csv`: what a model answers, item by item."""

import csv
import io
import textwrap
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback
from rich.markup import escape
from rich.table import Table

from paperzoo.files import write_text


class KeepFirstBatch(Callback):
    """Keeps the first batch of a prediction, on the model's device."""

    batch: Any = None

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.batch = batch


Predictions = dict[str, list[Any]]
"""Columns by name, the item's first: a value for each item."""

SHOWN_ROWS = 10


def as_table(names: Sequence[str], batches: Sequence[Any]) -> Predictions:
    """A row for each item: its name, then the columns that `predict_step` gave.

    A column with several values an item becomes several columns, numbered from 0.
    """
    flat: Predictions = {}
    for name in batches[0] if batches else ():
        if isinstance(batches[0][name], list):
            flat[name] = [value for batch in batches for value in batch[name]]
            continue
        values = torch.cat([batch[name].detach().cpu() for batch in batches])
        for i, column in enumerate(values.reshape(len(values), -1).T.tolist()):
            flat[name if values.dim() == 1 else f"{name}_{i}"] = column
    count = min([len(names), *map(len, flat.values())])
    return {"item": list(names[:count]), **{name: column[:count] for name, column in flat.items()}}


def write_predictions(path: Path, table: Predictions) -> Path:
    """Writes a table as CSV, whole or not at all."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return write_text(path, content.getvalue())


def terminal_rows(table: Predictions, width: int) -> Table:
    """The first rows of a table, and as many of its columns as fit; of a narrow terminal, two in any case."""
    cells = {name: [_shown(value) for value in column[:SHOWN_ROWS]] for name, column in table.items()}
    widths = [max(map(len, (name, *column))) + len(" ┃ ") for name, column in cells.items()]
    fitting = sum(taken <= width + len(" ┃ ") for taken in accumulate(widths))
    columns = list(cells)[: max(fitting, 2)]
    shown = Table(show_edge=False, pad_edge=False)
    for name in columns:
        shown.add_column(escape(name), overflow="fold")
    for row in zip(*(cells[name] for name in columns), strict=True):
        shown.add_row(*map(escape, row))
    more = [f"{len(table['item']) - SHOWN_ROWS} more items"] if len(table["item"]) > SHOWN_ROWS else []
    more += [f"{len(table) - len(columns)} more columns"] if len(table) > len(columns) else []
    if more:
        shown.caption = f"... and {' and '.join(more)} in predictions.csv"
    return shown


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def told_files(paths: Sequence[Path], folder: Path) -> str:
    """What was written into the folder of a run, in lines of 79 characters."""
    if len(paths) == 1:
        return f"wrote {paths[0]}"
    names = ", ".join(str(path.relative_to(folder)) for path in paths)
    listed = textwrap.fill(
        names, 79, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return f"wrote into {folder}\n{listed}"
