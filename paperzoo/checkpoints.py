"""Checkpoints that survive: written whole or not at all, where training can continue bit for bit, never after a NaN."""

import errno
import logging
import os
import pickle
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from paperzoo.errors import UserError

log = logging.getLogger(__name__)

FOLDER, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"


class RunStoppedError(Exception):
    """A signal asked the training to stop, and it did, at a place from which it can be continued.

    Args:
        message: where it stopped and how to continue.
        signum: the signal.
    """

    def __init__(self, message: str, signum: signal.Signals) -> None:
        super().__init__(message)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self.signum


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, syncs it, then renames it; reads tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Replaces `path` by `checkpoint`, whole or not at all.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch hides some write errors in a RuntimeError
            os_error = next((e for e in _chain(error) if isinstance(e, OSError)), None)
            if os_error is None:
                raise
            raise UserError(_cannot_write(path, checkpoint, os_error)) from error
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, _: storage, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The checkpoint at `path`; never runs code from it, whatever `weights_only` says.

        Raises:
            UserError: the file is missing, damaged or cut short, or holds more than tensors and plain values.
        """
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except FileNotFoundError as error:
            raise UserError(f"checkpoint {path}: there is no such file") from error
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"checkpoint {path}: damaged, cut short, or not a checkpoint ({reason[:160]})") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _cannot_write(path: Path, checkpoint: dict[str, Any], error: OSError) -> str:
    kept = f"the previous {path.name} is intact" if path.exists() else "nothing was left half-written"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"checkpoint {path}: cannot be written ({error.strerror or error}); {kept}"
    needed, free = _tensor_bytes(checkpoint) / 2**20, shutil.disk_usage(path.parent).free / 2**20
    return (
        f"checkpoint {path}: the disk is full ({error.strerror}): about {needed:.0f} MiB are needed, "
        f"{free:.0f} MiB are free; {kept}. Make room, then: {resume_command(path.parent.parent)}"
    )


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_tensor_bytes, value.values()))
    return sum(map(_tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def resume_command(folder: Path) -> str:
    """What to type to go on with the run in `folder`."""
    return f"python train.py {shlex.quote(f'resume={folder}')}"


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
        monitor: the metric, logged in validation, that chooses `best.ckpt`.
        mode: whether a small or a large value is good.
        keeps_best: False writes no `best.ckpt`: the last weights are the ones that count.
    """

    def __init__(
        self,
        every_minutes: Annotated[float | int, Gt(0)],
        monitor: str,
        mode: Literal["min", "max"],
        keeps_best: bool = True,
    ) -> None:
        self.every_minutes, self.monitor, self.mode, self.keeps_best = every_minutes, monitor, mode, keeps_best
        self.best_value: float | None = None
        self._last_step: int | None = None
        self._last_time = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "mode": self.mode, "best_value": self.best_value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (state_dict["monitor"], state_dict["mode"]) == (self.monitor, self.mode):
            self.best_value = state_dict["best_value"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            for leftover in checkpoint_folder(trainer).glob(".*.ckpt.*.tmp"):  # of a process that was killed
                leftover.unlink()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step, self._last_time = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if can_continue_here(trainer) and (_is_ending(trainer) or self._is_due(trainer)):
            self.save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn is not TrainerFn.FITTING:
            return
        if self.keeps_best and self._is_best(trainer):
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

    def _is_due(self, trainer: Trainer) -> bool:
        return _on_any_rank(trainer, time.monotonic() - self._last_time >= 60 * self.every_minutes)

    def _is_best(self, trainer: Trainer) -> bool:
        if self.monitor not in trainer.callback_metrics:
            logged = ", ".join(sorted(m for m in trainer.callback_metrics if m.startswith("val/"))) or "none"
            raise UserError(f"optimize={self.monitor}: validation logs no such metric; it logs: {logged}")
        value = float(trainer.callback_metrics[self.monitor])
        better = value == value and (
            self.best_value is None or (value < self.best_value if self.mode == "min" else value > self.best_value)
        )
        better = trainer.strategy.broadcast(better)
        if better:
            self.best_value = value
        return better


def _is_ending(trainer: Trainer) -> bool:
    """Whether training stops after this batch, or after this epoch when asked at its end."""
    epochs = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    all_steps = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    all_epochs = trainer.max_epochs not in (None, -1) and epochs >= trainer.max_epochs
    return trainer.should_stop or all_steps or all_epochs


def _on_any_rank(trainer: Trainer, here: bool) -> bool:
    return trainer.strategy.reduce_boolean_decision(here, all=False)


class StopOnNonFinite(Callback):
    """Stops the training when its loss is NaN or infinite; no checkpoint is written with such a loss or such weights.

    The loss is watched on its device; the host looks every `log_every_n_steps` batches and before each checkpoint, so
    that watching costs no synchronisation.
    """

    def __init__(self) -> None:
        self._first_bad: Tensor | None = None  # the step of the first bad loss; -1 as long as there is none

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor) or self._first_bad is None:
            return
        is_first = (self._first_bad < 0) & ~loss.detach().isfinite().all()
        self._first_bad = self._first_bad.masked_fill(is_first, trainer.global_step)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (batch_idx + 1) % every == 0:
            self._refuse_bad_loss(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refuse_bad_loss(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._refuse_bad_loss(trainer)
        bad = next((name for name, p in pl_module.named_parameters() if not p.isfinite().all()), None)
        if _on_any_rank(trainer, bad is not None):
            raise UserError(_not_finite(f"the weights {bad or 'on another rank'}", trainer.global_step, trainer))

    def _refuse_bad_loss(self, trainer: Trainer) -> None:
        step = -1 if self._first_bad is None else int(self._first_bad)
        if not _on_any_rank(trainer, step >= 0):
            return
        metrics = trainer.callback_metrics.items()
        names = [name for name, value in metrics if name.startswith("train/") and not value.isfinite().all()]
        what = ", ".join(names) or "the training loss"
        raise UserError(_not_finite(what, step if step >= 0 else trainer.global_step, trainer))


def _not_finite(what: str, step: int, trainer: Trainer) -> str:
    last = checkpoint_folder(trainer) / LAST
    good = f"the last good checkpoint is {last}" if last.exists() else "there is no checkpoint yet"
    return (
        f"training stopped: {what} became NaN or infinite at step {step}; {good}. Try a lower learning rate "
        "(model.optimizer.lr), trainer.gradient_clip_val, or trainer.precision=32-true"
    )


class GracefulStop(Checkpoint):
    """SIGTERM, SIGUSR1 (SLURM's pre-emption) or Ctrl-C: finishes the batch, writes `last.ckpt`, then stops.

    A signal that arrives at the end of an epoch or in validation waits until that is over. A second Ctrl-C stops at
    once. Lightning's own handlers, which would stop without a checkpoint or requeue the job, are set aside meanwhile.
    Listed after `Checkpoints`, which writes the file.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._process = os.getpid()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._received, self._process = None, os.getpid()
        if threading.current_thread() is threading.main_thread():
            self._previous = {signum: signal.signal(signum, self._receive) for signum in self.SIGNALS}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if can_continue_here(trainer):
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking:
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker: Ctrl-C is its parent's business, the rest is not ours
            if signum != signal.SIGINT:
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            return
        self._received = signal.Signals(signum)
        if signum == signal.SIGINT:
            signal.signal(signum, self._previous[self._received])
        again = "; Ctrl-C again stops at once" if signum == signal.SIGINT else ""
        log.warning("%s: writing last.ckpt after this batch, then stopping%s", self._received.name, again)

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if not _on_any_rank(trainer, self._received is not None):
            return
        signum = self._received or signal.SIGTERM
        name = signum.name
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, Checkpoints):
                callback.save_last(trainer)
        raise RunStoppedError(
            f"stopped by {name} after step {trainer.global_step}; continue with: "
            f"{resume_command(Path(trainer.default_root_dir))}",
            signum,
        )

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}
