"""A run from config to report: settle -> check -> build -> fit -> test -> report; all the parts meet here alone."""

import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import rich
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from paperzoo.config import instantiate
from paperzoo.datamodule import PaperData
from paperzoo.errors import UserError
from paperzoo.files import NO_SPACE, REFUSALS
from paperzoo.machine import shown
from paperzoo.refusals import trainer_refusal
from paperzoo.reporting.loggers import open_loggers
from paperzoo.reporting.metrics_csv import FILE_NAME as METRICS_FILE
from paperzoo.reporting.metrics_csv import read_metrics
from paperzoo.reporting.predictions import (
    KeepFirstBatch,
    Predictions,
    as_table,
    terminal_rows,
    told_files,
    write_predictions,
)
from paperzoo.reporting.sweep_jobs import FAILURE
from paperzoo.runner.build import Parts, build
from paperzoo.runner.check import check
from paperzoo.runner.checkpoints import Checkpoints
from paperzoo.runner.commands import resume_command
from paperzoo.runner.continuing import checkpoint_to_resume
from paperzoo.runner.damage import BEST, FOLDER, LAST
from paperzoo.runner.distributed import relaunchable
from paperzoo.runner.ending import reporting, validation_at_best
from paperzoo.runner.estimate import estimate, foresee
from paperzoo.runner.folder import has_begun, nothing_to_do, objective_value, read_checkpoint, save_settings
from paperzoo.runner.job import Job
from paperzoo.runner.judge import Judge
from paperzoo.runner.objective import objective
from paperzoo.runner.pruned import PrunedError
from paperzoo.runner.settle import settle
from paperzoo.runner.signals import RunStoppedError, ending_signals
from paperzoo.runner.starting import HOLDER, LOCK, held
from paperzoo.runner.trial import trial_of
from paperzoo.runner.weights import give_weights

warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 under torch 2.13 and later


def run(config: DictConfig) -> float | None:
    """Runs the composed config; returns the metric that a sweep optimises (None for `mode=predict`).

    A job of a multirun goes on where an earlier start left it, and one that is finished is not run again.

    Raises:
        UserError: whatever the user can mend; all of it together where it can be known before training.
        RunStoppedError: a signal.
        PrunedError: the search that the run is a trial of has seen enough.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    with ending_signals(folder if config.mode == "train" else None), held(folder):
        return _run(config, folder)


def _run(config: DictConfig, folder: Path) -> float | None:
    if HydraConfig.get().mode is RunMode.MULTIRUN and not config.resume and has_begun(folder):
        config.resume = str(folder)
    try:
        job = settle(config)
        check(job)
        if job.settings["resume"] and (summary := nothing_to_do(folder, job.settings)):
            print(
                f"{job.folder}: this run is finished, there is nothing to do. To train it longer, type a larger "
                f"trainer.max_epochs (or max_steps) too; to test it again: mode=test checkpoint={job.folder}"
            )
            return objective_value(summary)
        if job.settings["resume"]:
            checkpoint_to_resume(folder)
        with user_errors(job):
            if job.settings["mode"] == "prepare":
                prepare(job)
                forget(folder, Path(config.output_root))
                return None
            trial = trial_of(HydraConfig.get(), job.settings.get("pruner"))
            if trial and trial.is_pruned():
                raise PrunedError("another job of this trial was pruned before this one began")
            parts = build(job, trial)
            if job.settings["mode"] == "estimate":
                estimate(job, parts)
                forget(folder, Path(config.output_root))
                return None
            if job.settings["mode"] == "train" and not job.settings["resume"]:
                foresee(job, parts)
            return {"train": train, "test": test, "predict": predict}[job.settings["mode"]](job, parts)
    except (UserError, RunStoppedError):
        if not config.resume:
            forget(folder, Path(config.output_root))
        raise


@rank_zero_only
def forget(folder: Path, output_root: Path) -> None:
    """Removes the folder of a run that was refused or stopped before it began, and what is empty then above it."""
    own = {".hydra", "paperzoo.log", FAILURE, LOCK, HOLDER}
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - own:
        return
    shutil.rmtree(folder)
    for parent in folder.parents:
        if output_root.resolve() not in parent.resolve().parents or any(parent.iterdir()):
            return
        parent.rmdir()


@contextmanager
def user_errors(job: Job) -> Iterator[None]:
    """Turns what the machine refuses (space, memory, an accelerator) into a sentence that says what to do.

    Ctrl-C, of which Lightning makes a `SystemExit`, becomes what it is while a training is watched.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        where, why = error.filename or job.folder, REFUSALS[error.errno]
        room = f"Make room, then: {resume_command(job.folder)}" if error.errno in NO_SPACE else "Choose another place"
        raise UserError(f"{where}: {why}; what was saved before is whole. {room}") from error
    except MisconfigurationException as error:
        raise UserError(trainer_refusal(error, job.settings["trainer"])) from error
    except torch.OutOfMemoryError as error:
        hint = "use a smaller data.batch_size (with trainer.accumulate_grad_batches), or a smaller model"
        raise UserError(f"the accelerator has too little memory: {hint} ({str(error).splitlines()[0]})") from error
    except (KeyboardInterrupt, SystemExit) as error:
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__context__, KeyboardInterrupt):
            raise
        is_training = job.settings["mode"] == "train"
        raise RunStoppedError("stopped by SIGINT", signal.SIGINT, job.folder if is_training else None) from error


def train(job: Job, parts: Parts) -> float | None:
    """Fits, tests the best or the last weights, reports; returns what a sweep optimises.

    That is the value of the optimised metric for these weights, or what the run's judge says.
    """
    module, data, trainer = parts.module, parts.data, parts.trainer
    last = job.folder / FOLDER / LAST
    resumed = str(last) if job.settings["resume"] and last.is_file() else None
    if trainer.is_global_zero and not job.settings["resume"]:
        save_settings(job.folder, job.settings, job.overrides)
    metrics: dict[str, float] = {}
    with reporting(job, parts, metrics), user_errors(job), relaunchable(job.folder, job.arguments):
        open_loggers(trainer.loggers)
        if resumed is None and module.initial_batch_size:
            data.prepare_data()
            data.setup("fit")
            module.initialize(data.initial_batch(module.initial_batch_size))
        trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
        keeper = next((c for c in trainer.checkpoint_callbacks if isinstance(c, Checkpoints)), None)
        logged = read_metrics(job.folder / METRICS_FILE)
        metrics |= {name: pairs[-1][1] for name, pairs in logged.items() if not name.startswith("test/")}
        parts.pruning.refuse_pruned()
        kept = keeper.best_value if keeper else None
        best = metrics.get(objective(job.settings, type(module))[0] or "") if kept is None else kept
        if keeper and kept is not None:
            metrics |= validation_at_best(logged, keeper.monitor, kept)
        best_weights = job.folder / FOLDER / BEST
        if best_weights.is_file():
            give_weights(module, read_checkpoint(best_weights), best_weights)
        trainer.test(module, datamodule=data, verbose=False)
        metrics |= _logged(trainer)
        if job.settings.get("judge"):
            judge: Judge = instantiate(job.settings["judge"], "judge")
            best = metrics[judge.metric] = judge(job, parts)
    return best


def prepare(job: Job) -> None:
    """Fetches and checks the data, whole, and says where they lie, how large and under which terms."""
    data: PaperData = instantiate(job.settings["data"], "data")
    sets = data.prepared_sets()
    for name, folder, size, terms in sets:
        print(f"{name}: {shown(size)} in {folder}, whole; terms: {terms or 'not known here; ask its authors'}")
    if not sets:
        print(f"data={job.choices['data']}: generated, or your own files; there is nothing to prepare")


def test(job: Job, parts: Parts) -> float | None:
    """Evaluates a checkpoint on the test set and reports; returns the test value of the optimised metric."""
    metrics: dict[str, float] = {}
    with reporting(job, parts, metrics), user_errors(job), relaunchable(job.folder, job.arguments):
        open_loggers(parts.trainer.loggers)
        parts.trainer.test(parts.module, datamodule=parts.data, verbose=False)
        metrics |= _logged(parts.trainer)
    complain_of_unreadable(parts.data)
    metric, _ = objective(job.settings, type(parts.module))
    return metrics.get(f"test/{metric.partition('/')[2]}") if metric else None


def predict(job: Job, parts: Parts) -> None:
    """Writes the model's answer for each item of the data to `predictions.csv`, and what the paper gives beside it."""
    module, data = parts.module, parts.data
    table, first_batch = answers(parts)
    written = [write_predictions(job.folder / "predictions.csv", table)]
    with torch.inference_mode():
        written += module.eval().write_predictions(data.item_names(), first_batch, job.folder)
    if len(table["item"]) == 1:
        print(module.answer({name: column[0] for name, column in table.items()}))
    else:
        rich.print(terminal_rows(table, rich.get_console().width))
    print(told_files(written, job.folder))
    complain_of_unreadable(data)


def answers(parts: Parts) -> tuple[Predictions, Any]:
    """The model's answer for each item of the data, and the first batch, on the model's device."""
    keeper = KeepFirstBatch()
    parts.trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    batches = parts.trainer.predict(parts.module, datamodule=parts.data) or []
    return as_table(parts.data.item_names(), batches), keeper.batch


def complain_of_unreadable(data: PaperData) -> None:
    """Says, now that everything else is answered, which items were left out.

    Raises:
        UserError: there are such items.
    """
    if data.unreadable:
        raise UserError(*data.unreadable)


def _logged(trainer: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
