"""The loggers of a run: `metrics.csv` always, TensorBoard and W&B on request."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import hydra.utils
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from paperzoo.config import instantiate
from paperzoo.reporting.results import Row
from paperzoo.reporting.wandb_run import WandbRun

SUPPLIED = ("folder", "settings")  # arguments of a logger that the program fills in, if the logger takes them


def build_loggers(
    nodes: Mapping[str, Mapping[str, Any]] | None, folder: Path, settings: Mapping[str, Any]
) -> list[Logger]:
    """The loggers of the config group `logger`, those beside `metrics.csv`.

    Args:
        nodes: the config's `logger`: for each name a node with `_target_`.
        folder: the run's folder.
        settings: the whole resolved config, plain.
    """
    loggers: list[Logger] = []
    for node in (nodes or {}).values():
        taken = inspect.signature(hydra.utils.get_object(node["_target_"])).parameters
        supplied = {name: value for name, value in zip(SUPPLIED, (folder, settings), strict=True) if name in taken}
        make = instantiate({**node, "_partial_": True})  # Hydra would build the targets inside `settings` as well
        loggers.append(make(**supplied))
    return loggers


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, writing to `<folder>/tensorboard`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=str(folder), name="tensorboard", version="")


def open_loggers(loggers: Sequence[Logger]) -> None:
    """Begins what the loggers record to, before a run's first batch.

    Raises:
        UserError: it cannot be begun, and the user insists.
    """
    for logger in loggers:
        if isinstance(logger, WandbRun):
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
            logger.summarize(rows)
            logger.close(exit_code=0 if status in ("finished", "pruned") else 1)
        else:
            logger.finalize("success" if status in ("finished", "pruned") else "failed")
