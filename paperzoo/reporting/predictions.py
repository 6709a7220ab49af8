"""`predictions.csv`: what a model answers, item by item."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback

from paperzoo.files import write_text


class KeepFirstBatch(Callback):
    """Keeps the first batch of a prediction, on the model's device."""

    batch: Any = None

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.batch = batch


def write_predictions(path: Path, names: Sequence[str], batches: Sequence[Any]) -> Path:
    """Writes a CSV table with a line for each item: its name, then the columns that `predict_step` gave.

    A column with several values an item becomes several columns, numbered from 0.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    flat: dict[str, list[Any]] = {}
    for name in batches[0] if batches else ():
        if isinstance(batches[0][name], list):
            flat[name] = [value for batch in batches for value in batch[name]]
            continue
        values = torch.cat([batch[name].detach().cpu() for batch in batches])
        for i, column in enumerate(values.reshape(len(values), -1).T.tolist()):
            flat[name if values.dim() == 1 else f"{name}_{i}"] = column
    writer.writerow(["item", *flat])
    writer.writerows(zip(names, *flat.values(), strict=False))
    return write_text(path, table.getvalue())
