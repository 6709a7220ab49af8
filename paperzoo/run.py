"""A run from config to report: settle -> check -> build -> fit -> test -> report; all the parts meet here alone."""

import csv
import errno
import io
import logging
import platform
import shlex
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import rich.console
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning import Callback
from pytorch_lightning.accelerators import CUDAAccelerator
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from paperzoo import __version__, checkpoints, runs
from paperzoo import config as configs
from paperzoo.checkpoints import AtomicCheckpointIO, Checkpoints, RunStoppedError
from paperzoo.data.base import PaperData
from paperzoo.distributed import relaunchable
from paperzoo.errors import UserError
from paperzoo.files import write_text
from paperzoo.job import Job, check, settle
from paperzoo.module import Direction, PaperModule, Tested
from paperzoo.reporting import results
from paperzoo.reporting.callbacks import build_callbacks
from paperzoo.reporting.loggers import build_loggers, close_loggers
from paperzoo.reporting.metrics_csv import FILE_NAME as METRICS_FILE
from paperzoo.reporting.metrics_csv import MetricsCsv, read_metrics
from paperzoo.reporting.page import duration, write_report
from paperzoo.reporting.results import Row, Summary, comparison, terminal_table, write_summary
from paperzoo.reverse_validation import REVERSE_RISK, reverse_risk

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 under torch 2.13 and later

DEFAULT_THREADS = torch.get_num_threads()

Status = Literal["finished", "stopped", "failed"]


def run(config: DictConfig) -> float | None:
    """Runs the composed config; returns the metric that a sweep optimises (None for `mode=predict`).

    Raises:
        UserError: whatever the user can mend; all of it together where it can be known before training.
    """
    try:
        job = settle(config)
        check(job)
    except UserError:
        if not config.resume:
            forget(Path(HydraConfig.get().runtime.output_dir))
        raise
    with user_errors(job):
        return {"train": train, "test": test, "predict": predict}[job.settings["mode"]](job)


def forget(folder: Path) -> None:
    """Removes the folder of a run that was refused, if Hydra alone has written to it."""
    own = {".hydra", "paperzoo.log"}
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - own:
        return
    shutil.rmtree(folder)
    for parent in folder.parents[:2]:
        if not any(parent.iterdir()):
            parent.rmdir()


@contextmanager
def user_errors(job: Job) -> Iterator[None]:
    """Turns what the machine refuses (space, memory, an accelerator) into a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = error.filename or job.folder
        raise UserError(
            f"{where}: the disk is full; what was saved before is whole. "
            f"Make room, then: {checkpoints.resume_command(job.folder)}"
        ) from error
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    except torch.OutOfMemoryError as error:
        hint = "use a smaller data.batch_size (with trainer.accumulate_grad_batches), or a smaller model"
        raise UserError(f"the accelerator has too little memory: {hint} ({str(error).splitlines()[0]})") from error


@dataclass
class Parts:
    """What a job is made of when it runs."""

    module: PaperModule
    data: PaperData
    trainer: pl.Trainer
    provenance: "Provenance"


class Provenance(Callback):
    """Puts into every checkpoint what it is: config, choices, what was typed, the hours so far.

    Attributes:
        hours: time spent on the run, in all its sessions.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._hours_before = 0.0
        self._started = time.monotonic()

    @property
    def hours(self) -> float:
        return self._hours_before + (time.monotonic() - self._started) / 3600

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[runs.PROVENANCE] = {
            "version": __version__,
            "config": yaml.safe_dump(self._job.settings, sort_keys=False),
            "choices": self._job.choices,
            "overrides": self._job.overrides,
            "hours": self.hours,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._hours_before = checkpoint.get(runs.PROVENANCE, {}).get("hours", 0.0)


def build(job: Job) -> Parts:
    """Makes the model, the data and the trainer that the settings describe."""
    settings = job.settings
    results.git_commit()  # asked now and remembered: the tree may change under a long run
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(settings["threads"] or DEFAULT_THREADS)
    pl.seed_everything(settings["seed"], workers=True, verbose=False)
    data: PaperData = configs.instantiate(settings["data"])
    module: PaperModule = configs.instantiate(settings["model"])
    module.published = {
        metric: row["value"] for metric, row in settings["published"].items() if row["value"] is not None
    }
    metrics_csv = MetricsCsv(job.folder)
    loggers = [metrics_csv, *build_loggers(settings.get("logger"), job.folder, settings)]
    provenance = Provenance(job)
    callbacks = build_callbacks(
        settings, metrics_csv, *objective(job, module), keeps_best=tested(job, module) == "best"
    )
    trainer = configs.instantiate(
        settings["trainer"],
        callbacks=[provenance, *callbacks],
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(job.folder),
    )
    return Parts(module, data, trainer, provenance)


def objective(job: Job, module: PaperModule) -> tuple[str, Direction]:
    """The metric that chooses `best.ckpt`, and whether small or large values of it are good."""
    settings = job.settings
    return settings["optimize"] or module.objective, settings["optimize_direction"] or module.objective_direction


def tested(job: Job, module: PaperModule) -> Tested:
    """The weights that a training tests in the end."""
    return job.settings["weights"] or module.tested


def train(job: Job) -> float | None:
    """Fits, tests the best or the last weights, reports; returns what a sweep optimises.

    That is the value of the optimised metric for these weights, or the risk that reverse validation gives.
    """
    parts = build(job)
    module, data, trainer = parts.module, parts.data, parts.trainer
    last = job.folder / checkpoints.FOLDER / checkpoints.LAST
    resumed = str(last) if job.settings["resume"] and last.is_file() else None
    if trainer.is_global_zero:
        runs.save_settings(job.folder, job.settings, job.overrides)
    if resumed is None and module.initial_batch_size:
        data.prepare_data()
        data.setup("fit")
        module.initialize(data.initial_batch(module.initial_batch_size))
    metrics: dict[str, float] = {}
    with reporting(job, parts, metrics), relaunchable(job.folder, job.arguments):
        trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
        keeper = next((c for c in trainer.checkpoint_callbacks if isinstance(c, Checkpoints)), None)
        logged = read_metrics(job.folder / METRICS_FILE)
        metrics |= {name: pairs[-1][1] for name, pairs in logged.items() if not name.startswith("test/")}
        kept = keeper.best_value if keeper else None
        best = metrics.get(objective(job, module)[0]) if kept is None else kept
        if keeper and kept is not None:
            metrics |= validation_at_best(logged, keeper.monitor, kept)
        best_weights = job.folder / checkpoints.FOLDER / checkpoints.BEST
        if best_weights.is_file():
            load_weights(module, best_weights)
        trainer.test(module, datamodule=data, verbose=False)
        metrics |= _logged(trainer)
        if job.settings["reverse_validation"]:
            keeps_best = tested(job, module) == "best"
            best = reverse_risk(job, module, data, *objective(job, module), keeps_best=keeps_best)
            metrics[REVERSE_RISK] = best
    return best


def test(job: Job) -> float | None:
    """Evaluates a checkpoint on the test set and reports; returns the test value of the optimised metric."""
    parts = build(job)
    load_weights(parts.module, runs.find_checkpoint(Path(job.settings["checkpoint"])))
    metrics: dict[str, float] = {}
    with reporting(job, parts, metrics), relaunchable(job.folder, job.arguments):
        parts.trainer.test(parts.module, datamodule=parts.data, verbose=False)
        metrics |= _logged(parts.trainer)
    complain_of_unreadable(parts.data)
    quantity = objective(job, parts.module)[0].partition("/")[2]
    return metrics.get(f"test/{quantity}")


def predict(job: Job) -> None:
    """Writes the model's answer for each item of the data to `predictions.csv`, and what the paper gives beside it."""
    parts = build(job)
    module, data, trainer = parts.module, parts.data, parts.trainer
    load_weights(module, runs.find_checkpoint(Path(job.settings["checkpoint"])))
    keeper = KeepFirstBatch()
    trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    batches = trainer.predict(module, datamodule=data) or []
    names = data.item_names()
    written = [write_predictions(job.folder / "predictions.csv", names, batches)]
    with torch.inference_mode():
        written += module.eval().write_predictions(names, keeper.batch, job.folder)
    for path in written:
        print(f"wrote {path}")
    complain_of_unreadable(data)


def complain_of_unreadable(data: PaperData) -> None:
    """Says, now that everything else is answered, which items were left out.

    Raises:
        UserError: there are such items.
    """
    if data.unreadable:
        raise UserError(*data.unreadable)


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


def load_weights(module: PaperModule, path: Path) -> None:
    """Gives `module` the weights of a checkpoint.

    Raises:
        UserError: the weights are those of another architecture.
    """
    try:
        checkpoint = runs.read_checkpoint(path)
        module.load_state_dict(checkpoint["state_dict"])
        module.on_load_checkpoint(checkpoint)
    except (RuntimeError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise UserError(f"checkpoint {path}: its weights do not fit this model: {' '.join(lines)[:400]}") from error


def validation_at_best(
    logged: Mapping[str, Sequence[tuple[int, float]]], monitor: str, best: float
) -> dict[str, float]:
    """The validation metrics at the step whose weights are in `best.ckpt`."""
    step = next((step for step, value in logged.get(monitor, ()) if value == best), None)
    validation = {name: dict(pairs) for name, pairs in logged.items() if name.startswith("val/")}
    return {name: pairs[step] for name, pairs in validation.items() if step in pairs}


def _logged(trainer: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@contextmanager
def reporting(job: Job, parts: Parts, metrics: Mapping[str, float]) -> Iterator[None]:
    """Writes `summary.json` and `report.html`, prints the table and closes the loggers, however the block ends."""
    status: Status = "failed"
    message = ""
    try:
        yield
        status = "finished"
    except RunStoppedError as error:
        status, message = "stopped", str(error)
        raise
    except UserError as error:
        message = str(error)
        raise
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        raise
    finally:
        rows = comparison(job.settings["published"], metrics)
        if parts.trainer.is_global_zero:
            _write_report(job, parts, metrics, rows, status, message)
        close_loggers(parts.trainer.loggers, status, rows)


def _write_report(
    job: Job,
    parts: Parts,
    metrics: Mapping[str, float],
    rows: Sequence[Row],
    status: Status,
    message: str,
) -> None:
    trainer = parts.trainer
    summary = Summary(
        name=job.name,
        status=status,
        command=shlex.join(["python", "train.py", *job.overrides]),
        metrics=metrics,
        rows=rows,
        config=job.settings,
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        parameters=sum(p.numel() for p in parts.module.parameters() if p.requires_grad),
        hours=parts.provenance.hours,
        device=device_name(trainer),
        message=message,
    )
    try:
        write_summary(job.folder, summary)
        report = write_report(job.folder, summary)
    except UserError as error:
        log.warning("%s", error)  # the run's own end, good or bad, is what the user must see
        return
    if status == "finished":
        console = rich.console.Console()
        console.print(terminal_table(rows, title=f"{job.name}, {duration(parts.provenance.hours)}"))
        console.print(f"report: {report}", soft_wrap=True)


def device_name(trainer: pl.Trainer) -> str:
    """What a run ran on, in words: `2 CPU threads (x86_64)`, `8 x NVIDIA H100`."""
    if isinstance(trainer.accelerator, CUDAAccelerator):
        return f"{trainer.world_size} x {torch.cuda.get_device_name()}"
    kind = platform.machine() or platform.processor()
    return f"{trainer.world_size} x {torch.get_num_threads()} CPU threads ({kind})"
