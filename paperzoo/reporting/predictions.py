"""`predictions.csv`: what a model answers, item by item."""

import csv
import io
from collections.abc import Sequence
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

SHOWN_ROWS, SHOWN_COLUMNS = 10, 8


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


def terminal_rows(table: Predictions) -> Table:
    """The first rows of a table, and of its columns."""
    shown = Table(show_edge=False, pad_edge=False)
    columns = list(table)[:SHOWN_COLUMNS]
    for name in columns:
        shown.add_column(escape(name), overflow="fold")
    for row in zip(*(table[name][:SHOWN_ROWS] for name in columns), strict=True):
        shown.add_row(*(escape(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row))
    more = [f"{len(table['item']) - SHOWN_ROWS} more items"] if len(table["item"]) > SHOWN_ROWS else []
    more += [f"{len(table) - SHOWN_COLUMNS} more columns"] if len(table) > SHOWN_COLUMNS else []
    if more:
        shown.caption = f"... and {' and '.join(more)} in predictions.csv"
    return shown
