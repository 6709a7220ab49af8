"""How far a run is: a bar of one line on a terminal, plain lines where the output goes into a file."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.text import Text

from paperzoo.module import PaperModule

REDRAWN_EVERY = 0.1  # seconds
BAR_WIDTH = 12


class ValuesColumn(ProgressColumn):
    """What stands right of the bar, cut where a line ends."""

    def __init__(self, bar: "PaperProgressBar") -> None:
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        return Text(self._bar.values(), no_wrap=True, overflow="ellipsis")


class PaperProgressBar(RichProgressBar):
    """Lightning's rich bar in one line of 80 columns: the model's objective and an estimate of the time left."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._time = TimeLeft()
        self._drawn = -math.inf
        self._values: dict[str, str] = {}  # read by the training, not when a thread draws: metrics are computed by it

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        return [
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_WIDTH),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            ValuesColumn(self),
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._time.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._drawn < REDRAWN_EVERY and batch_idx + 1 < trainer.num_training_batches:
            return
        self._drawn = now
        self._values = _objective_values(trainer, pl_module)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._values = _objective_values(trainer, pl_module)
        super().on_validation_end(trainer, pl_module)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {}  # Lightning's column, which wraps; ours is `ValuesColumn`

    def values(self) -> str:
        """The time left, and the objective of the last training step and of the last validation."""
        if self._trainer is None:
            return ""
        left = self._time.left(self._trainer) if self._trainer.training else ""
        shown = [f"{name} {value}" for name, value in self._values.items()]
        return "  ".join([*([f"{left} left"] if left else []), *shown])

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {_epoch(self.trainer, current_epoch)}"


class PlainProgress(ProgressBar):
    """A line for each validation, and at least one every `every` seconds: for a cluster's log.

    Args:
        every: seconds.
    """

    def __init__(self, every: float = 60.0) -> None:
        super().__init__()
        self.every = every
        self._time = TimeLeft()
        self._said = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._time.start(trainer)
        self._said = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self._said >= self.every:
            self._say(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._say(trainer, pl_module)

    def disable(self) -> None:
        """Lightning silences the other ranks with it."""
        self.every = math.inf

    def _say(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._said = time.monotonic()
        if math.isinf(self.every):
            return
        left = self._time.left(trainer)
        words = [f"epoch {_epoch(trainer, trainer.current_epoch)}", f"step {trainer.global_step}"]
        words += [f"{name} {value}".strip() for name, value in _objective_values(trainer, pl_module).items()]
        print(", ".join([*words, *([f"{left} left"] if left else [])]), file=sys.stdout, flush=True)


class TimeLeft:
    """How long a training will still take, by what it took so far."""

    def __init__(self) -> None:
        self._started: tuple[float, float] | None = None

    def start(self, trainer: Trainer) -> None:
        self._started = (time.monotonic(), _fraction_done(trainer))

    def left(self, trainer: Trainer) -> str:
        """`1:02:03`; empty where nobody knows."""
        done = _fraction_done(trainer)
        if self._started is None or done <= self._started[1]:
            return ""
        seconds = (time.monotonic() - self._started[0]) / (done - self._started[1]) * (1 - done)
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"


def _objective_values(trainer: Trainer, module: LightningModule) -> dict[str, str]:
    """`{"bits_per_dim": "3.7", "val": "3.6"}`: the objective in training and validation, or the training's loss."""
    objective = module.objective if isinstance(module, PaperModule) else None
    logged: Mapping[str, Any] = trainer.callback_metrics
    quantity = objective.partition("/")[2] if objective else "loss"
    name = quantity if f"train/{quantity}" in logged else "loss"
    found = {
        name: logged.get(f"train/{name}"),
        "val" if name == quantity else f"val {quantity}": logged.get(objective or ""),
    }
    return {name: f"{float(value):.4g}" for name, value in found.items() if value is not None}


def _epoch(trainer: Trainer, number: int) -> str:
    """`3/10`, counted from 1."""
    return f"{number + 1}" if trainer.max_epochs in (None, -1) else f"{number + 1}/{trainer.max_epochs}"


def _fraction_done(trainer: Trainer) -> float:
    """How much of the training is done, by steps or by batches; 0 if its length is not known."""
    if trainer.max_steps != -1:
        return min(1.0, trainer.global_step / trainer.max_steps)
    if trainer.max_epochs in (None, -1) or not 0 < trainer.num_training_batches < float("inf"):
        return 0.0
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return min(1.0, (epochs.processed + batches / trainer.num_training_batches) / trainer.max_epochs)
