"""A settled run built: its model, its data, its trainer, and the weights that it stands on."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from paperzoo import __version__
from paperzoo.batches import Names
from paperzoo.config import instantiate
from paperzoo.datamodule import PaperData
from paperzoo.errors import UserError
from paperzoo.module import Direction, PaperModule
from paperzoo.refusals import trainer_refusal
from paperzoo.reporting.loggers import build_loggers
from paperzoo.reporting.metrics_csv import MetricsCsv
from paperzoo.reporting.summary import git_commit
from paperzoo.runner.about import about
from paperzoo.runner.callbacks import build_callbacks
from paperzoo.runner.checkpoints import AtomicCheckpointIO
from paperzoo.runner.folder import PROVENANCE, find_checkpoint, save_settings
from paperzoo.runner.job import Job
from paperzoo.runner.loop import shorten
from paperzoo.runner.memory import keep_freed_memory
from paperzoo.runner.objective import objective, tested
from paperzoo.runner.trial import JobTrial, Pruning
from paperzoo.runner.weights import load_weights

DEFAULT_THREADS = torch.get_num_threads()


@dataclass
class Parts:
    """What a job is made of when it runs."""

    module: PaperModule
    data: PaperData
    trainer: pl.Trainer
    provenance: "Provenance"
    pruning: Pruning


class Provenance(Callback):
    """Puts into every checkpoint what it is: config, choices, what was typed, names, the hours so far.

    Attributes:
        hours: time spent on the run, in all its sessions.
    """

    def __init__(self, job: Job, names: Names) -> None:
        self._job = job
        self._names = names
        self._hours_before = 0.0
        self._batches_before: int | None = None  # in earlier sessions; None: this one has not come so far
        self._started = time.monotonic()

    @property
    def hours(self) -> float:
        return self._hours_before + (time.monotonic() - self._started) / 3600

    def has_worked(self, trainer: pl.Trainer) -> bool:
        """Whether this session came to a batch, of the training or of a test."""
        batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        has_trained = self._batches_before is not None and batches > self._batches_before
        return has_trained or trainer.test_loop.batch_progress.total.ready > 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches_before = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        self._save_settings(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._batches_before is None:  # it was resumed when it had no more step to take
            self._save_settings(trainer)

    def _save_settings(self, trainer: pl.Trainer) -> None:
        if self._job.settings["resume"] and trainer.is_global_zero:  # not before it is known that it can be resumed
            save_settings(self._job.folder, self._job.settings, self._job.overrides)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[PROVENANCE] = {
            "version": __version__,
            "config": yaml.safe_dump(self._job.settings, sort_keys=False),
            "choices": self._job.choices,
            "overrides": self._job.overrides,
            "names": self._names.to_plain(),
            "hours": self.hours,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._hours_before = checkpoint.get(PROVENANCE, {}).get("hours", 0.0)


def build(job: Job, trial: JobTrial | None = None) -> Parts:
    """Makes the model, the data and the trainer that the settings describe.

    With `checkpoint=` the model has its weights. Nothing is prepared, and nothing written.

    Args:
        job: settled.
        trial: of a search, that the job is of; None for none.

    Raises:
        UserError: a constructor refuses its arguments; the weights do not fit the model, or mean other things than the
            data.
    """
    settings = job.settings
    keep_freed_memory()
    git_commit()  # asked now and remembered: the tree may change under a long run
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(settings["threads"] or DEFAULT_THREADS)
    pl.seed_everything(settings["seed"], workers=True, verbose=False)
    data: PaperData = instantiate(settings["data"], "data")
    module: PaperModule = instantiate(settings["model"], "model")
    module.names, module.tell = data.names, data.tell
    module.published = {
        metric: row["value"] for metric, row in settings["published"].items() if row["value"] is not None
    }
    if settings["checkpoint"]:
        load_weights(module, find_checkpoint(Path(settings["checkpoint"])))
    provenance = Provenance(job, module.names)
    metric, direction = objective(settings, type(module))
    pruning = Pruning(trial, metric)
    metrics = MetricsCsv(job.folder)
    trainer = build_trainer(
        settings,
        metrics,
        metric,
        direction,
        keeps_best=tested(job, module) == "best",
        loggers=build_loggers(settings.get("logger"), job.folder, settings, about(job, module)),
        callbacks=[provenance, pruning],
    )
    return Parts(module, data, trainer, provenance, pruning)


def build_trainer(
    settings: dict[str, Any],
    metrics: MetricsCsv,
    monitor: str | None,
    direction: Direction,
    *,
    keeps_best: bool,
    loggers: Any = (),
    callbacks: Any = (),
) -> pl.Trainer:
    """The trainer of a run, in the folder of its `metrics.csv`.

    Args:
        settings: the whole resolved config, plain.
        metrics: the run's `metrics.csv`.
        monitor: the metric that chooses `best.ckpt`.
        direction: whether a small or a large value of it is good.
        keeps_best: whether there is a `best.ckpt`.
        loggers: those beside `metrics.csv`.
        callbacks: those beside the config's.

    Raises:
        UserError: Lightning refuses an argument, or the machine does not have what it asks for.
    """
    all_callbacks = [*callbacks, *build_callbacks(settings, metrics, monitor, direction, keeps_best=keeps_best)]
    try:
        trainer: pl.Trainer = instantiate(
            {**settings["trainer"], "enable_model_summary": False},  # `Opening` says what is worth a line
            "trainer",
            callbacks=all_callbacks,
            logger=[metrics, *loggers],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=str(metrics.path.parent),
        )
    except (ValueError, MisconfigurationException) as error:
        raise UserError(trainer_refusal(error, settings["trainer"])) from error
    shorten(trainer)
    return trainer
