"""The loggers of a run: `metrics.csv` always, TensorBoard and W&B on request."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import hydra.utils
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from paperzoo.config import instantiate
from paperzoo.reporting.about import About
from paperzoo.reporting.results import Row
from paperzoo.reporting.wandb_run import WandbRun

SUPPLIED = ("folder", "settings", "about")  # arguments of a logger that the program fills in, if the logger takes them


def build_loggers(
    nodes: Mapping[str, Mapping[str, Any]] | None, folder: Path, settings: Mapping[str, Any], about: About
) -> list[Logger]:
    """The loggers of the config group `logger`, those beside `metrics.csv`.

    Args:
        nodes: the config's `logger`: for each name a node with `_target_`.
        folder: the run's folder.
        settings: the whole resolved config, plain.
        about: what they show of the run beside its numbers.
    """
    loggers: list[Logger] = []
    for node in (nodes or {}).values():
        taken = inspect.signature(hydra.utils.get_object(node["_target_"])).parameters
        supplied = {
            name: value for name, value in zip(SUPPLIED, (folder, settings, about), strict=True) if name in taken
        }
        make = instantiate({**node, "_partial_": True})  # Hydra would build the targets inside `settings` as well
        loggers.append(make(**supplied))
    return loggers


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, writing to one file in `<folder>/tensorboard`, for the tab HPARAMS too.

    Args:
        folder: the run's folder.
        about: its hyperparameters, and the metrics that it is compared by.
    """

    def __init__(self, folder: Path, about: About) -> None:
        super().__init__(save_dir=str(folder), name="tensorboard", version="")
        self._about = about
        self._logged: set[str] = set()
        self._end: Any = None  # what says that the run has finished

    @rank_zero_only
    def open(self) -> None:
        """Writes the hyperparameters, and the names of the metrics that belong to them."""
        from torch.utils.tensorboard.summary import hparams  # takes a second, and only those who use it need it

        metrics = dict.fromkeys(self._about.shown, 0.0)  # the values are those that are logged
        experiment, start, self._end = hparams(dict(self._about.hyperparameters), metrics)
        self._write(experiment, start)

    def _write(self, *parts: Any) -> None:
        writer: Any = self.experiment._get_file_writer()
        for part in parts:
            writer.add_summary(part)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._logged |= metrics.keys()
        super().log_metrics(metrics, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Nothing more than a flush: Lightning calls it after the training, and a test begins a second file then."""
        if self._experiment is not None:
            self._experiment.flush()

    @rank_zero_only
    def close(self, status: Literal["success", "failed"], rows: Sequence[Row]) -> None:
        """Writes what was judged when all was over, and how the run ended."""
        if self._experiment is None:
            return
        judged = {row.metric: row.measured for row in rows if row.measured is not None}
        if late := {name: judged[name] for name in self._about.shown if name in judged and name not in self._logged}:
            super().log_metrics(late, 0)
        if status == "success" and self._end is not None:
            self._write(self._end)
        self._experiment.close()


def open_loggers(loggers: Sequence[Logger]) -> None:
    """Begins what the loggers record to, before a run's first batch.

    Raises:
        UserError: it cannot be begun, and the user insists.
    """
    for logger in loggers:
        if isinstance(logger, WandbRun | TensorBoard):
            logger.open()


@rank_zero_only
def close_loggers(
    loggers: Sequence[Logger], status: Literal["finished", "pruned", "stopped", "failed"], rows: Sequence[Row] = ()
) -> None:
    """Ends what the loggers hold open, so that nothing stays "running" and a multirun's next job starts afresh.

    Args:
        loggers: those of `build_loggers`.
        status: how the run ended; W&B shows a stopped or failed one as failed until it is resumed.
        rows: published against measured, for W&B's summary.
    """
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.summarize(rows, status)
            logger.close(exit_code=0 if status in ("finished", "pruned") else 1)
        elif isinstance(logger, TensorBoard):
            logger.close("success" if status in ("finished", "pruned") else "failed", rows)
        else:
            logger.finalize("success" if status in ("finished", "pruned") else "failed")
