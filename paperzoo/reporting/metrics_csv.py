"""`metrics.csv`: every logged value of a run, one a line; a resumed run continues it as if it had never stopped."""

import csv
import io
import logging
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only

from paperzoo.module import PaperModule

log = logging.getLogger(__name__)

FILE_NAME = "metrics.csv"
HEADER = ("step", "epoch", "metric", "value")


class MetricsCsv(Logger):
    """Appends `step,epoch,metric,value` lines to `<folder>/metrics.csv`, on disk as soon as they are logged.

    The file is a function of the values alone: full precision, no clock. `step` counts training batches (after
    gradient accumulation) from 0, as Lightning's loggers do.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / FILE_NAME
        self._epoch = 0

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @property
    def size(self) -> int:
        """Bytes written; 0 without a file."""
        return self.path.stat().st_size if self.path.exists() else 0

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is kept in `.hydra/`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends a line for each metric; Lightning's own entry `epoch` fills the column of that name."""
        self._epoch = int(metrics.get("epoch", self._epoch))
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        if self.size == 0:
            writer.writerow(HEADER)
        for metric, value in metrics.items():
            if metric != "epoch":
                writer.writerow((step or 0, self._epoch, metric, repr(float(value))))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(lines.getvalue().encode())

    @rank_zero_only
    def rewind(self, size: int) -> None:
        """Forgets what was written after the first `size` bytes, and a half line at the end; tells what is missing."""
        if not self.size and not size:
            return
        if self.size < size:
            missing = size - self.size
            log.warning(
                "%s: %d bytes of logged values are missing at its end; the training is whole", self.path, missing
            )
        if not self.size:
            return
        with self.path.open("rb+") as file:
            file.truncate(min(self.size, size))
            if half := len(file.read().rpartition(b"\n")[2]):
                log.warning("%s: ends in half a line, which is left out", self.path)
                file.truncate(file.tell() - half)

    @rank_zero_only
    def sync(self) -> None:
        """Waits until what was logged is on the disk."""
        if self.size:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())


class MetricsBookmark(Callback):
    """Puts the place in `metrics.csv` into every checkpoint, and takes the file back to it when training is resumed.

    Lightning logs a batch after the hook in which checkpoints are written in mid-epoch; what that batch is about to log
    travels in the checkpoint as well, and is logged by the resumed run.

    Args:
        logger: the run's `metrics.csv`; a fresh training empties it.
    """

    def __init__(self, logger: MetricsCsv) -> None:
        self.logger = logger
        self._bookmark: dict[str, Any] | None = {"size": 0, "pending": None}  # None: it has been gone to

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._go_to_bookmark(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of a training that was resumed when it had no more step to take: the hook that is left."""
        self._go_to_bookmark(trainer)

    def _go_to_bookmark(self, trainer: Trainer) -> None:
        bookmark, self._bookmark = self._bookmark, None
        if bookmark is None:
            return
        self.logger.rewind(bookmark["size"])
        if pending := bookmark["pending"]:
            for logger in trainer.loggers:
                logger.log_metrics(pending["metrics"], pending["step"])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.logger.sync()  # a machine that loses its power must not have a checkpoint of values that it lost
        checkpoint["metrics_csv"] = {"size": self.logger.size, "pending": _pending(trainer)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        bookmark = checkpoint.get("metrics_csv")
        if trainer.state.fn is not TrainerFn.FITTING or bookmark is None:
            return
        self._bookmark = bookmark  # gone to when nothing can be refused any more


def _in_batch_end(trainer: Trainer) -> bool:
    """Whether a training batch has been run and is not over yet."""
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return bool(trainer.training and batches.processed > batches.completed)


def _pending(trainer: Trainer) -> dict[str, Any] | None:
    """The step and the metrics of a training batch that has been run but not logged yet."""
    connector = trainer._logger_connector
    if not _in_batch_end(trainer) or not connector.should_update_logs:
        return None
    module: Any = trainer.lightning_module
    given = module.step_metrics() if isinstance(module, PaperModule) else {}
    metrics = {name: float(value) for name, value in {**given, **connector.metrics["log"]}.items()}
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    return {"step": step, "metrics": {**metrics, "epoch": trainer.current_epoch}} if metrics else None


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The (step, value) pairs of each metric in the order in which they were logged; nothing without a file.

    A last line that a kill cut short is left out; one that is damaged too, and told.
    """
    if not path.exists():
        return {}
    whole_lines = path.read_bytes().decode(errors="replace").rpartition("\n")[0]
    metrics: dict[str, list[tuple[int, float]]] = {}
    damaged: list[int] = []
    for number, row in enumerate(csv.reader(whole_lines.splitlines()[1:]), start=2):
        try:
            step, _, metric, value = int(row[0]), int(row[1]), row[2], float(row[3])
            is_whole = len(row) == len(HEADER)
        except (ValueError, IndexError):
            is_whole = False
        if is_whole:
            metrics.setdefault(metric, []).append((step, value))
        else:
            damaged.append(number)
    if damaged:
        log.warning("%s: damaged in %d lines, the first is %d; left out", path, len(damaged), damaged[0])
    return metrics
