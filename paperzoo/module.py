"""The base of every paper's LightningModule."""

import fnmatch
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from jaxtyping import Int64
from pytorch_lightning import LightningModule
from torch import Tensor

from paperzoo.batches import Names, Told
from paperzoo.tally import Tally

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
Direction = Literal["min", "max"]
Measures = Mapping[str, Direction | None]
Tested = Literal["best", "last"]
StepValues = Callable[[], Mapping[str, Tensor | float]]

SHOWN_EVERY = 1.0  # seconds after which a step's values are logged for the progress bar, written or not


class PaperModule(LightningModule):
    """A paper: its model, its loss, its metrics, its figures.

    A subclass declares which batches it `accepts` and which metric is its `objective`, implements Lightning's steps
    with metrics named `<stage>/<quantity>`, and takes plain values from its config: it never sees the config itself,
    nor the DataModule: what it must know of the data comes with the batch, as an argument, or in `names`.

    Means over an evaluation are added to `tally` in `validation_step` and `test_step`; beginning and logging it is the
    base class' business (`begin_evaluation`, `report`). Random numbers come from torch's global generators, which the
    data seed for every batch (see `paperzoo.datamodule`).

    `training_step` gives what it measures to `log_step`. It returns the loss, or logs it as `train/...` with `log_dict`
    in every step, so that a NaN is seen at once. A module that steps several optimisers itself
    (`automatic_optimization = False`) uses `descend` for each: a step of the run is a batch, whatever their number.

    Attributes:
        names: what the numbers in the batches stand for; those of the training where the data say nothing.
        tell: gives for each item of a batch what a reader would be told.
        tally: the metrics of the evaluation under way, or of the last one.
    """

    accepts: ClassVar[tuple[type, ...]]
    objective: ClassVar[str | None]
    """The validation metric that chooses `best.ckpt`; None: there is none, and the last weights are kept."""
    objective_direction: ClassVar[Direction] = "min"
    predicts: ClassVar[tuple[type, ...]] = ()
    """Further batches that `mode=predict` takes."""
    measures: ClassVar[Measures] = MappingProxyType({})
    """What its validation logs, without the stage in front, and whether small or large values are good (None: neither):
    names or patterns of names, `{"accuracy*": "max"}`. What a run may `optimize`; empty where nobody knows."""
    tested: ClassVar[Tested] = "best"
    """The weights that a training tests in the end: the best by the objective, or the last."""
    clip_norm: float | None = None
    """The global norm that gradients are cut to, unless `trainer.gradient_clip_val` says another; None for no limit."""
    published: Mapping[str, float] = MappingProxyType({})
    """The preset's published numbers by metric, for figures that show them beside the run's own."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Names()
        self.tell: Callable[[Any], list[Told]] = lambda batch: [Told()] * len(batch[0])
        self.tally = Tally()
        self._step_values: StepValues | None = None
        self._step_metrics: dict[str, Tensor] = {}
        self._shown_at = -math.inf

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        """Yields what is wrong with these constructor arguments that their types cannot say.

        A problem starts with the argument: "levels=3: ..."; whoever asks puts its place in the config in front. Called
        before anything is built.
        """
        return iter(())

    @classmethod
    def direction(cls, metric: str | None) -> Direction | None:
        """Whether small or large values of a validation metric are good; None where that is not said."""
        if metric == cls.objective:
            return cls.objective_direction
        return cls.measures.get(cls.measured_as(metric or "") or "")

    @classmethod
    def measured_as(cls, metric: str) -> str | None:
        """The name or pattern in `measures` that a validation metric has, the first of several; None for none."""
        stage, _, name = metric.partition("/")
        found = (pattern for pattern in cls.measures if fnmatch.fnmatchcase(name, pattern))
        return next(found, None) if stage == "val" else None

    @property
    def learned_names(self) -> tuple[str, ...]:
        """The fields of `Names` that the weights depend on: they are of no use on data where these differ."""
        return ()

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """Lightning's optimisers; of several, the last one alone counts steps, so that a step is a batch."""
        optimizers: Any = super().optimizers(use_pl_optimizer)
        if isinstance(optimizers, list):
            for optimizer in optimizers[:-1]:
                optimizer._on_before_step = optimizer._on_after_step = _nothing
        return optimizers

    def log_step(self, values: StepValues) -> None:
        """Logs what a training step measures, `{"train/loss": ...}`, in the steps that are written or shown.

        Args:
            values: makes them. Called in such a step only, and after another one if the run ends with it.
        """
        self._step_values, self._step_metrics = values, {}
        trainer = self._trainer
        if trainer is None:
            return
        if trainer._logger_connector.should_update_logs or time.monotonic() - self._shown_at >= SHOWN_EVERY:
            trainer._logger_connector._callback_metrics.update(self.step_metrics())
            self._shown_at = time.monotonic()

    def step_metrics(self) -> dict[str, Tensor]:
        """What the training step that is not over yet has given to `log_step`."""
        if self._step_values is not None and not self._step_metrics:
            self._step_metrics = {name: _as_float(value) for name, value in self._step_values().items()}
        return self._step_metrics

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Writes what `log_step` got, in the steps in which Lightning writes; subclasses call this one."""
        connector, fit_loop = self.trainer._logger_connector, self.trainer.fit_loop
        if connector.should_update_logs and not (self.automatic_optimization and fit_loop._should_accumulate()):
            connector._callback_metrics.update(self.step_metrics())
            connector.log_metrics(dict(self.step_metrics()))
        self._step_values, self._step_metrics = None, {}

    def descend(self, optimizer: Any, loss: Tensor) -> None:
        """One step of one of several `optimizers()` along the gradient of `loss`."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, self.clip_norm, "norm")
        optimizer.step()

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

    def begin_evaluation(self) -> None:
        """Forgets what the last validation or test has gathered."""
        self.tally = Tally()

    def on_validation_epoch_start(self) -> None:
        self.begin_evaluation()

    def on_test_epoch_start(self) -> None:
        self.begin_evaluation()

    def on_validation_epoch_end(self) -> None:
        self._log_report("val")

    def on_test_epoch_end(self) -> None:
        self._log_report("test")

    def _log_report(self, stage: str) -> None:
        report = self.report(stage, self.tally.means(self.trainer.strategy.reduce, self.device))
        self.log_dict({f"{stage}/{name}": float(value) for name, value in report.items()})

    def report(self, stage: str, means: dict[str, float]) -> dict[str, float]:
        """The metrics of an evaluation, made of the means of the tally, without the stage in front.

        Args:
            stage: "val" or "test".
            means: of each name of the tally, over the items of all processes.
        """
        return means

    def figures(self, batch: Any) -> "dict[str, Figure]":
        """The paper's figures by name, drawn with the current weights; `batch` is held-out data on its device."""
        return {}

    def classify(self, batch: Any) -> Int64[Tensor, " batch"]:
        """The class that the model gives to each item; what reverse validation is made of."""
        raise NotImplementedError(f"{type(self).__name__} does not classify")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor | list[str]]:
        """Columns of the prediction table: for each name one value (or one row of values) an item of the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no predictions")

    def answer(self, columns: Mapping[str, Any]) -> str:
        """What a reader sees of the prediction for a single item, whole.

        Args:
            columns: its row of the prediction table.
        """
        return "\n".join(f"{name}: {value}" for name, value in columns.items())

    def write_predictions(self, names: Sequence[str], batch: Any, folder: Path) -> list[Path]:
        """Writes what `mode=predict` gives beside the table (samples, solutions, ...). Returns the files.

        Args:
            names: of all items, in the order in which `predict_step` saw them.
            batch: the first batch, on the model's device.
            folder: where to write.
        """
        return []


def _as_float(value: Tensor | float) -> Tensor:
    value = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
    return value if value.is_floating_point() else value.to(torch.get_default_dtype())


def _nothing() -> None:
    """What an optimiser does before and after a step that is not counted."""


def scheduled(optimizer: torch.optim.Optimizer, scheduler: SchedulerFactory | None) -> Any:
    """What `configure_optimizers` returns; None: no schedule.

    A schedule is stepped after every optimiser step; one with `interval = "epoch"`, after every epoch.
    """
    if scheduler is None:
        return optimizer
    schedule = scheduler(optimizer)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": schedule, "interval": getattr(schedule, "interval", "step")},
    }
