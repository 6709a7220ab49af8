"""The paper's figures of one held-out batch: to `figures/*.png`, to TensorBoard and to W&B alike."""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from paperzoo.files import write_bytes
from paperzoo.reporting.figure_files import CAPTION_KEY, FOLDER, ORDER_KEY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

RANDOM_STREAM = 0  # every drawing starts here, so that figures of two epochs differ by the weights alone


class Figures(Callback):
    """Calls the model's `figures(batch)` after validation, at the end of training and at the end of the test.

    The batch is the first one of the validation or test set. Drawing leaves the model's mode and the random streams of
    the training as they were, and cannot end a training: an error is logged as a warning and kept in `errors`.
    A figure's label (`figure.set_label("...")`) becomes its caption.

    Args:
        every_n_epochs: draw after the validation of every n-th epoch.
    """

    def __init__(self, every_n_epochs: Annotated[int, Ge(1)]) -> None:
        self.every_n_epochs = every_n_epochs
        self.errors: list[Exception] = []
        self._batch: Any = None
        self._drawn_at: int | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0 and dataloader_idx == 0:
            self._batch = batch

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_training = trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking
        if is_training and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._drawn_at != trainer.global_step:
            self._draw(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    @rank_zero_only
    def _draw(self, trainer: Trainer, pl_module: Any) -> None:
        if self._batch is None or isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            return  # nothing held out, or a model of which this process holds only a part
        self._drawn_at = trainer.global_step
        try:
            with _undisturbed(pl_module):
                figures: dict[str, Figure] = pl_module.figures(self._batch)
            for place, (name, figure) in enumerate(figures.items(), start=1):
                caption = str(figure.get_label()) or name.replace("_", " ")
                png = to_png(figure, caption=caption, place=place)
                write_bytes(Path(trainer.default_root_dir) / FOLDER / f"{file_name(name)}.png", png)
                for logger in trainer.loggers:
                    _send(logger, name, png, caption, trainer.fit_loop.epoch_loop._batches_that_stepped)
        except Exception as error:  # whatever a drawing does, a week of training must survive it
            self.errors.append(error)
            log.warning("the figures of %s could not be drawn: %r", type(pl_module).__name__, error, exc_info=error)


@contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients and a random stream of its own inside; everything as before afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    cuda = sorted({p.device for p in module.parameters() if p.device.type == "cuda"}, key=str)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            torch.manual_seed(RANDOM_STREAM)
            module.eval()
            yield
    finally:
        for part, was_training in modes:
            part.training = was_training


def to_png(figure: "Figure", caption: str, place: int = 1) -> bytes:
    """The figure as a PNG file that carries its caption and its place among the others."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={CAPTION_KEY: caption, ORDER_KEY: str(place)})
    return buffer.getvalue()


def file_name(name: str) -> str:
    """`name` with everything that a file name should not hold replaced by `_`."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "figure"


def _send(logger: Any, name: str, png: bytes, caption: str, step: int) -> None:
    """Sends the very pixels of the file; loggers are told apart by name: none is imported that is not used."""
    kind = type(logger).__name__
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if kind == "TensorBoard":
        logger.experiment.add_image(f"figures/{name}", np.asarray(image), step, dataformats="HWC")
    if kind == "WandbRun":
        logger.log_image(f"figures/{name}", [image], step=step, caption=[caption])
