"""Validation at the end of every training, whatever its length and however seldom it validates on its way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from paperzoo.datamodule import epochs_of


class EndWithValidation(Callback):
    """Validates the last weights of a training, unless that was done after its last step already.

    So that there is a `best.ckpt` however a training ends: by epochs, by steps or by the clock. `last.ckpt` is written
    before, and knows nothing of it: a training that is made longer is the one that was longer from the start.
    Listed before everything that closes something in `on_train_end`.
    """

    def __init__(self) -> None:
        self._validated_step: int | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"validated_step": self._validated_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validated_step = state_dict["validated_step"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking:
            self._validated_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            _validate(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of a training that was resumed when it had no more step to take: the hook that is left."""
        if self._is_due(trainer):
            trainer.strategy.model_to_device()
            _validate(trainer)
        _end_last_epoch(trainer)

    def _is_due(self, trainer: Trainer) -> bool:
        has_trained = trainer.global_step > 0
        return has_trained and trainer.enable_validation and self._validated_step != trainer.global_step


def _end_last_epoch(trainer: Trainer) -> None:
    """Lets the counters by which a test is logged stand where they stand after the end of an epoch.

    Lightning does not come to that end in a training that was resumed when it had no more step to take.
    """
    epochs, batches = epochs_of(trainer.fit_loop), trainer.fit_loop.epoch_loop
    if epochs.processed < epochs.started:
        batches._batches_that_stepped += 1
    epochs.processed = epochs.completed = epochs.started


def _validate(trainer: Trainer) -> None:
    """What Lightning does after a batch when it is time."""
    trainer.lightning_module.on_validation_model_zero_grad()
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    stage = trainer.state.stage
    with _as_after_the_last_batch(trainer):
        trainer.validating = True
        loop.run()
        trainer.state.stage = stage


@contextmanager
def _as_after_the_last_batch(trainer: Trainer) -> Iterator[None]:
    """The counters by which values are logged stand inside where they stood after the last batch."""
    epochs, batches = epochs_of(trainer.fit_loop), trainer.fit_loop.epoch_loop
    before = epochs.completed, batches._batches_that_stepped
    epochs.completed, batches._batches_that_stepped = epochs.started - 1, trainer.global_step - 1
    try:
        yield
    finally:
        epochs.completed, batches._batches_that_stepped = before
