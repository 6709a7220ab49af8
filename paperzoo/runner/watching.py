"""What watches over a training: a NaN stops it, a signal stops it where it can be continued."""

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.runner.checkpoints import (
    LAST,
    Checkpoints,
    _on_any_rank,
    can_continue_here,
    checkpoint_folder,
    log,
    resume_command,
)


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
        losses = [loss] if isinstance(loss, Tensor) else _logged_losses(trainer)
        if not losses or self._first_bad is None:
            return
        is_bad = torch.stack([~value.detach().isfinite().all() for value in losses]).any()
        is_first = (self._first_bad < 0) & is_bad.to(self._first_bad.device)
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


def _logged_losses(trainer: Trainer) -> list[Tensor]:
    """What a training step that returns no loss has logged."""
    return [value for name, value in trainer.callback_metrics.items() if name.startswith("train/")]


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
