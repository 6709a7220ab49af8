"""The base of every paper's LightningModule."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from jaxtyping import Int64
from pytorch_lightning import LightningModule
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
Direction = Literal["min", "max"]
Tested = Literal["best", "last"]


class PaperModule(LightningModule):
    """A paper: its model, its loss, its metrics, its figures.

    A subclass declares which batches it `accepts` and which metric is its `objective`, implements Lightning's steps
    with metrics named `<stage>/<quantity>`, and takes plain values from its config: it never sees the config itself.
    Random numbers come from torch's global generators, which the data seeds for every batch (see `paperzoo.data.base`).
    """

    accepts: ClassVar[tuple[type, ...]]
    objective: ClassVar[str]
    objective_direction: ClassVar[Direction] = "min"
    predicts: ClassVar[tuple[type, ...]] = ()
    """Further batches that `mode=predict` takes."""
    tested: ClassVar[Tested] = "best"
    """The weights that a training tests in the end: the best by the objective, or the last."""
    clip_norm: float | None = None
    """The global norm that gradients are cut to, unless `trainer.gradient_clip_val` says another; None for no limit."""
    published: Mapping[str, float] = MappingProxyType({})
    """The preset's published numbers by metric, for figures that show them beside the run's own."""

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        """Yields what is wrong with these constructor arguments that their types cannot say.

        Each problem starts with the argument's config key: "model.levels=3: ...". Called before anything is built.
        """
        return iter(())

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        norm = self.clip_norm if gradient_clip_val is None else gradient_clip_val
        self.clip_gradients(optimizer, norm, gradient_clip_algorithm or "norm")

    def initialize(self, batch: Any) -> None:
        """Data-dependent initialisation on one batch, once, before a fresh training (never when resuming)."""

    @property
    def initial_batch_size(self) -> int:
        """How many training items `initialize` wants; 0 if there is nothing to initialise."""
        return 0

    def figures(self, batch: Any) -> "dict[str, Figure]":
        """The paper's figures by name, drawn with the current weights; `batch` is held-out data on its device."""
        return {}

    def classify(self, batch: Any) -> Int64[Tensor, " batch"]:
        """The class that the model gives to each item; what reverse validation is made of."""
        raise NotImplementedError(f"{type(self).__name__} does not classify")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor | list[str]]:
        """Columns of the prediction table: for each name one value (or one row of values) an item of the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no predictions")

    def write_predictions(self, names: Sequence[str], batch: Any, folder: Path) -> list[Path]:
        """Writes what `mode=predict` gives beside the table (samples, solutions, ...). Returns the files.

        Args:
            names: of all items, in the order in which `predict_step` saw them.
            batch: the first batch, on the model's device.
            folder: where to write.
        """
        return []


def scheduled(optimizer: torch.optim.Optimizer, scheduler: SchedulerFactory | None) -> Any:
    """What `configure_optimizers` returns: the schedule is stepped after every optimiser step; None: no schedule."""
    if scheduler is None:
        return optimizer
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler(optimizer), "interval": "step"}}
