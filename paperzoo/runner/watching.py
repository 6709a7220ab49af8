"""What watches over a training: a NaN stops it, a signal stops it where it can be continued."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from paperzoo.datamodule import epochs_of
from paperzoo.errors import UserError
from paperzoo.runner.checkpoints import (
    LAST,
    Checkpoints,
    _on_any_rank,
    can_continue_here,
    checkpoint_folder,
    log,
)
from paperzoo.runner.signals import ENDING, RunStoppedError, handle, restore


class StopOnNonFinite(Callback):
    """Stops the training when its loss is NaN or infinite, or its objective from the start; it saves nothing then.

    Losses wait on their device; the host looks at them every `log_every_n_steps` batches, or every `MOST_WAITING`, and
    before each checkpoint, so that watching costs next to nothing in the batches between.
    """

    MOST_WAITING = 100

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Tensor]] = []  # (step, losses), not looked at
        self._was_finite = False  # the objective, ever

    def state_dict(self) -> dict[str, Any]:
        return {"was_finite": self._was_finite}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._was_finite = state_dict["was_finite"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._waiting = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        losses = [loss] if isinstance(loss, Tensor) else _logged_losses(trainer)
        if not losses:
            return
        self._waiting.append((trainer.global_step, losses[0].detach() if len(losses) == 1 else _joined(losses)))
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (every and (batch_idx + 1) % every == 0) or len(self._waiting) >= self.MOST_WAITING:
            self._refuse_bad_loss(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refuse_bad_loss(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One bad validation among good ones is no reason to stop; one that no good one came before is."""
        objective = getattr(pl_module, "objective", None)
        value = trainer.callback_metrics.get(objective) if objective else None
        if value is None or trainer.state.fn != TrainerFn.FITTING:
            return
        self._was_finite = self._was_finite or bool(value.isfinite())
        if _on_any_rank(trainer, not self._was_finite):
            raise UserError(_not_finite(str(objective), trainer.global_step, trainer))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._refuse_bad_loss(trainer)
        bad = next((name for name, p in pl_module.named_parameters() if not p.isfinite().all()), None)
        if _on_any_rank(trainer, bad is not None):
            raise UserError(_not_finite(f"the weights {bad or 'on another rank'}", trainer.global_step, trainer))

    def _first_bad_step(self) -> int:
        """The step of the first bad loss since the host has looked last; -1 if there is none."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return -1
        if _joined([losses for _, losses in waiting]).isfinite().all():
            return -1
        return next(step for step, losses in waiting if not losses.isfinite().all())

    def _refuse_bad_loss(self, trainer: Trainer) -> None:
        step = self._first_bad_step()
        if not _on_any_rank(trainer, step >= 0):
            return
        metrics = trainer.callback_metrics.items()
        names = [name for name, value in metrics if name.startswith("train/") and not value.isfinite().all()]
        what = ", ".join(names) or "the training loss"
        raise UserError(_not_finite(what, step if step >= 0 else trainer.global_step, trainer))


def _logged_losses(trainer: Trainer) -> list[Tensor]:
    """What a training step that returns no loss has logged."""
    return [value for name, value in trainer.callback_metrics.items() if name.startswith("train/")]


def _joined(losses: Sequence[Tensor]) -> Tensor:
    return torch.cat([loss.detach().reshape(-1).to(losses[0].device) for loss in losses])


def _not_finite(what: str, step: int, trainer: Trainer) -> str:
    last = checkpoint_folder(trainer) / LAST
    good = f"the last good checkpoint is {last}" if last.exists() else "there is no checkpoint yet"
    return (
        f"training stopped: {what} became NaN or infinite at step {step}; {good}. Try a lower learning rate "
        "(model.optimizer.lr), trainer.gradient_clip_val, or trainer.precision=32-true"
    )


class GracefulStop(Checkpoint):
    """SIGTERM, SIGHUP, SIGUSR1 (SLURM's pre-emption) or Ctrl-C: finishes the batch, writes `last.ckpt`, then stops.

    A validation is left after its batch, and begins again when the run is resumed; of several processes, and at the end
    of an epoch, the stop waits until that is over. A second Ctrl-C stops at once, with what is saved or can be.
    Lightning's own handlers, which would stop without a checkpoint or requeue the job, are set aside meanwhile.
    Listed after `Checkpoints`, which writes the file.
    """

    SIGNALS = (*ENDING, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._is_stopping = False
        self._previous: dict[signal.Signals, Any] = {}
        self._trainer: Trainer | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._received, self._is_stopping, self._trainer = None, False, trainer
        self._previous = handle(self.SIGNALS, self._receive)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if can_continue_here(trainer):
            self._stop_if_asked(trainer, Checkpoints.save_last)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # ranks may have different numbers of batches, and would wait for each other's answer
        if _is_validating(trainer) and trainer.world_size == 1:
            self._stop_if_asked(trainer, Checkpoints.save_in_validation)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _is_validating(trainer):
            self._stop_if_asked(trainer, Checkpoints.save_last)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_if_asked(trainer, Checkpoints.save_last)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, RunStoppedError) and trainer.world_size == 1:
            self._save_if_possible(trainer)
        self._restore()

    def _receive(self, signum: signal.Signals) -> None:
        if self._is_stopping:
            return
        is_again = signum == signal.SIGINT and self._received is signal.SIGINT
        self._received = signum
        if is_again:
            assert self._trainer is not None
            self._is_stopping = True
            raise self._stopped(self._trainer)
        again = "; Ctrl-C again stops at once" if signum == signal.SIGINT else ""
        log.warning("%s: writing last.ckpt after this batch, then stopping%s", self._received.name, again)

    def _stop_if_asked(self, trainer: Trainer, save: Callable[[Checkpoints, Trainer], None]) -> None:
        if self._is_stopping or not _on_any_rank(trainer, self._received is not None):
            return
        self._is_stopping = True
        for keeper in _keepers(trainer):
            save(keeper, trainer)
        raise self._stopped(trainer)

    def _save_if_possible(self, trainer: Trainer) -> None:
        """Where a second Ctrl-C left things as a checkpoint needs them: in a validation, and at the end of an epoch."""
        epochs = epochs_of(trainer.fit_loop)
        for keeper in _keepers(trainer):
            if trainer.validating:
                keeper.save_in_validation(trainer)
            elif epochs.processed > epochs.completed:
                keeper.save_last(trainer)

    def _stopped(self, trainer: Trainer) -> RunStoppedError:
        signum = self._received or signal.SIGTERM
        what = f"stopped by {signum.name} after step {trainer.global_step}"
        return RunStoppedError(what, signum, Path(trainer.default_root_dir))

    def _restore(self) -> None:
        restore(self._previous)
        self._previous = {}


def _is_validating(trainer: Trainer) -> bool:
    return trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking


def _keepers(trainer: Trainer) -> list[Checkpoints]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, Checkpoints)]
