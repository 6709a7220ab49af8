"""`metrics.csv`: every logged value of a run, one a line; a resumed run continues it as if it had never stopped."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only

from paperzoo.module import PaperModule

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
        """Forgets what was written after the first `size` bytes."""
        if self.size > size:
            with self.path.open("rb+") as file:
                file.truncate(size)


class MetricsBookmark(Callback):
    """Puts the place in `metrics.csv` into every checkpoint, and takes the file back to it when training is resumed.

    Lightning logs a batch after the hook in which checkpoints are written in mid-epoch; what that batch is about to log
    travels in the checkpoint as well, and is logged by the resumed run.

    Args:
        logger: the run's `metrics.csv`; a fresh training empties it.
    """

    def __init__(self, logger: MetricsCsv) -> None:
        self.logger = logger
        self._resumed = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._resumed:
            self.logger.rewind(0)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics_csv"] = {"size": self.logger.size, "pending": _pending(trainer)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        bookmark = checkpoint.get("metrics_csv")
        if trainer.state.fn is not TrainerFn.FITTING or bookmark is None:
            return
        self._resumed = True
        self.logger.rewind(bookmark["size"])
        if pending := bookmark["pending"]:
            for logger in trainer.loggers:
                logger.log_metrics(pending["metrics"], pending["step"])


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

    A last line that a kill cut short is left out.
    """
    if not path.exists():
        return {}
    whole_lines = path.read_bytes().decode().rpartition("\n")[0]
    metrics: dict[str, list[tuple[int, float]]] = {}
    for row in csv.DictReader(io.StringIO(whole_lines)):
        metrics.setdefault(row["metric"], []).append((int(row["step"]), float(row["value"])))
    return metrics
