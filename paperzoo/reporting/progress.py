"""The progress bar: the paper's own metric, and the time left of the whole training."""

import math
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar

from paperzoo.module import PaperModule

REDRAWN_EVERY = 0.1  # seconds


class PaperProgressBar(RichProgressBar):
    """Lightning's rich bar, with the last values of the model's objective and an estimate of the time left."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._started: tuple[float, float] | None = None
        self._drawn = -math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._started = (time.monotonic(), _fraction_done(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._drawn < REDRAWN_EVERY and batch_idx + 1 < trainer.num_training_batches:
            return
        self._drawn = now
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands right of the bar."""
        shown: dict[str, Any] = {}
        if isinstance(pl_module, PaperModule) and pl_module.objective is not None:
            quantity = pl_module.objective.partition("/")[2]
            names = (f"{stage}/{quantity}" for stage in ("train", "val"))
            logged = trainer.callback_metrics
            shown = {name: f"{float(logged[name]):.4g}" for name in names if name in logged}
        if trainer.training and (left := self._time_left(trainer)):
            shown["left"] = left
        return shown

    def _time_left(self, trainer: Trainer) -> str:
        done = _fraction_done(trainer)
        if self._started is None or done <= self._started[1]:
            return ""
        seconds = (time.monotonic() - self._started[0]) / (done - self._started[1]) * (1 - done)
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"


def _fraction_done(trainer: Trainer) -> float:
    """How much of the training is done, by steps or by batches; 0 if its length is not known."""
    if trainer.max_steps != -1:
        return min(1.0, trainer.global_step / trainer.max_steps)
    if trainer.max_epochs in (None, -1) or not 0 < trainer.num_training_batches < float("inf"):
        return 0.0
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return min(1.0, (epochs.processed + batches / trainer.num_training_batches) / trainer.max_epochs)
