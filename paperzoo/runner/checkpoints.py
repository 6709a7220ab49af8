"""Checkpoints that survive: written whole or not at all, where training can continue bit for bit, never after a NaN."""

import copy
import logging
import os
import pickle
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.call import _call_callbacks_state_dict
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.files import NO_SPACE, REFUSALS, atomically
from paperzoo.reporting.metrics_csv import MetricsBookmark
from paperzoo.runner.commands import resume_command
from paperzoo.runner.damage import BEST, FOLDER, LAST, refuse_damaged

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, syncs it, then renames it; reads tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Replaces `path` by `checkpoint`, whole or not at all.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        path = Path(path)
        try:
            with atomically(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch hides some write errors in a RuntimeError
            os_error = next((e for e in _chain(error) if isinstance(e, OSError)), None)
            if os_error is None:
                raise
            raise UserError(_cannot_write(path, checkpoint, os_error)) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, _: storage, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The checkpoint at `path`; never runs code from it, whatever `weights_only` says.

        Raises:
            UserError: the file is missing, damaged or cut short, or holds more than tensors and plain values.
        """
        if not Path(path).exists():
            raise UserError(f"checkpoint {path}: there is no such file")
        refuse_damaged(Path(path))
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"checkpoint {path}: damaged, cut short, or not a checkpoint ({reason[:160]})") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _cannot_write(path: Path, checkpoint: dict[str, Any], error: OSError) -> str:
    kept = f"the previous {path.name} is intact" if path.exists() else "nothing was left half-written"
    why = REFUSALS.get(error.errno or 0, error.strerror or str(error))
    if error.errno not in NO_SPACE:
        return f"checkpoint {path}: cannot be written: {why}; {kept}"
    needed, free = _tensor_bytes(checkpoint) / 2**20, shutil.disk_usage(path.parent).free / 2**20
    return (
        f"checkpoint {path}: {why}: about {needed:.0f} MiB are needed, "
        f"{free:.0f} MiB are free; {kept}. Make room, then: {resume_command(path.parent.parent)}"
    )


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_tensor_bytes, value.values()))
    return sum(map(_tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def checkpoint_folder(trainer: Trainer) -> Path:
    """Where a run keeps `best.ckpt` and `last.ckpt`: below its trainer's `default_root_dir`, the run's folder."""
    return Path(trainer.default_root_dir) / FOLDER


def can_continue_here(trainer: Trainer) -> bool:
    """Whether a checkpoint written in this `on_train_batch_end` continues bit for bit.

    Lightning skips what was due after the batch (validation, the end of the epoch) when it resumes from this hook, and
    no checkpoint holds half-accumulated gradients.
    """
    batches = trainer.fit_loop.epoch_loop.batch_progress
    if batches.is_last_batch or batches.current.ready >= trainer.num_training_batches:
        return False
    if batches.current.ready % trainer.accumulate_grad_batches:
        return False
    between = trainer.val_check_batch
    counted = batches.total.ready if trainer.check_val_every_n_epoch is None else batches.current.ready
    return between in (None, float("inf")) or counted % between != 0


class Checkpoints(Checkpoint):
    """Keeps `best.ckpt`, the weights with the best value of a validation metric, and `last.ckpt`, to continue from.

    `last.ckpt` is written after each validation, at the end of training, and in mid-epoch every few minutes.

    Args:
        every_minutes: how old `last.ckpt` may become in mid-epoch.
        monitor: the metric, logged in validation, that chooses `best.ckpt`; None writes none.
        mode: whether a small or a large value is good.
        keeps_best: False writes no `best.ckpt`: the last weights are the ones that count.
    """

    def __init__(
        self,
        every_minutes: Annotated[float | int, Gt(0)],
        monitor: str | None,
        mode: Literal["min", "max"],
        keeps_best: bool = True,
    ) -> None:
        self.every_minutes, self.monitor, self.mode, self.keeps_best = every_minutes, monitor, mode, keeps_best
        self.best_value: float | None = None
        self._last_step: int | None = None
        self._last_time = time.monotonic()
        self._before_validation: dict[str, Any] = {}  # what a checkpoint holds that is written in a validation

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "mode": self.mode, "best_value": self.best_value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (state_dict["monitor"], state_dict["mode"]) == (self.monitor, self.mode):
            self.best_value = state_dict["best_value"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._last_step = checkpoint["global_step"]  # a training without a further step does not come to on_train_start
        if trainer.state.fn is TrainerFn.FITTING:
            _end_epoch(checkpoint["loops"]["fit_loop"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            for leftover in checkpoint_folder(trainer).glob(".*.ckpt.*.tmp"):  # of a process that was killed
                leftover.unlink()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best_value is not None and not (checkpoint_folder(trainer) / BEST).is_file():
            log.warning("%s is missing: the best weights are those of the validations still to come", BEST)
            self.best_value = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step, self._last_time = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if can_continue_here(trainer) and (_is_ending(trainer) or self._is_due(trainer)):
            self.save_last(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = _places(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn is not TrainerFn.FITTING:
            return
        if self.keeps_best and self.monitor is not None and self._is_best(trainer, self.monitor):
            trainer.save_checkpoint(checkpoint_folder(trainer) / BEST)
        self.save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _is_ending(trainer) and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._last_step = None  # what was saved in this step's validation does not know that the epoch has ended
        if _is_ending(trainer) or self._is_due(trainer):
            self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """Writes `last.ckpt`, unless it was written after this step already; on all ranks."""
        if self._last_step == trainer.global_step:
            return
        trainer.save_checkpoint(checkpoint_folder(trainer) / LAST)
        self._last_step, self._last_time = trainer.global_step, time.monotonic()

    def save_in_validation(self, trainer: Trainer) -> None:
        """Writes `last.ckpt` in the middle of a validation: the training goes on with that validation, from its start.

        For a training that is stopped; unless the step was saved already.
        """
        if self._last_step == trainer.global_step:
            return
        if self._before_validation.get("step") != trainer.global_step:
            self._before_validation = _places(trainer)
        checkpoint = trainer._checkpoint_connector.dump_checkpoint()
        checkpoint["loops"]["fit_loop"] = self._before_validation["fit_loop"]
        checkpoint["callbacks"] = self._before_validation["callbacks"]
        if "metrics_csv" in checkpoint:
            checkpoint["metrics_csv"] = self._before_validation["metrics_csv"]
        trainer.strategy.save_checkpoint(checkpoint, checkpoint_folder(trainer) / LAST)
        self._last_step = trainer.global_step

    def _is_due(self, trainer: Trainer) -> bool:
        return _on_any_rank(trainer, time.monotonic() - self._last_time >= 60 * self.every_minutes)

    def _is_best(self, trainer: Trainer, monitor: str) -> bool:
        if monitor not in trainer.callback_metrics:
            logged = ", ".join(sorted(m for m in trainer.callback_metrics if m.startswith("val/"))) or "none"
            raise UserError(f"optimize={monitor}: validation logs no such metric; it logs: {logged}")
        value = float(trainer.callback_metrics[monitor])
        better = value == value and (
            self.best_value is None or (value < self.best_value if self.mode == "min" else value > self.best_value)
        )
        better = trainer.strategy.broadcast(better)
        if better:
            self.best_value = value
        return better


def _places(trainer: Trainer) -> dict[str, Any]:
    """Where a training stands when its validation begins, in words from which Lightning begins it again."""
    loops = copy.deepcopy(trainer.fit_loop.state_dict())
    begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress = {"total": begun, "current": begun, "is_last_batch": False}
    loops["epoch_loop.val_loop.batch_progress"] |= copy.deepcopy(progress)
    bookmark = next((c for c in trainer.callbacks if isinstance(c, MetricsBookmark)), None)  # type: ignore[attr-defined]
    return {
        "step": trainer.global_step,
        "fit_loop": loops,
        "callbacks": copy.deepcopy(_call_callbacks_state_dict(trainer)),
        "metrics_csv": {"size": bookmark.logger.size if bookmark else 0, "pending": None},
    }


def _end_epoch(loops: dict[str, Any]) -> None:
    """Counts the epoch as over if its last batch, and it, had been processed when these counters were saved.

    Lightning would go through it once more without a batch (with `max_steps`, or if it was saved in
    `on_train_epoch_start`), and so skip the order and the noise of one.
    """
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    if not batches["is_last_batch"] or epochs["current"]["started"] != epochs["current"]["processed"]:
        return
    batches |= {"current": dict.fromkeys(batches["current"], 0), "is_last_batch": False}
    if epochs["current"]["completed"] < epochs["current"]["processed"]:
        for counts in epochs.values():
            counts["completed"] += 1


def _is_ending(trainer: Trainer) -> bool:
    """Whether training stops after this batch, or after this epoch when asked at its end."""
    epochs = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    all_steps = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    all_epochs = trainer.max_epochs not in (None, -1) and epochs >= trainer.max_epochs
    return trainer.should_stop or all_steps or all_epochs


def _on_any_rank(trainer: Trainer, here: bool) -> bool:
    return here if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(here, all=False)
