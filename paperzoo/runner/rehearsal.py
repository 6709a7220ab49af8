"""Steps of a copy of a model on batches of its own: what they need, with nothing changed in the run itself."""

import copy
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from paperzoo.config import instantiate
from paperzoo.module import PaperModule
from paperzoo.runner.allocations import Allocations

ALONE: Mapping[str, Any] = {
    "devices": 1,
    "num_nodes": 1,
    "max_epochs": 1,
    "max_steps": -1,
    "max_time": None,
    "profiler": None,
    "limit_train_batches": 1.0,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "val_check_interval": 1.0,
    "log_every_n_steps": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}
"""What the trainer of a rehearsal has in place of the run's own values."""


class Rehearsal(Callback):
    """A copy of a model, trained for a few steps.

    Args:
        module: the model; it stays as it is.
        trainer: the node `trainer` of the config.
        watches: counts the bytes of each step, which makes it slower.

    Attributes:
        seconds: of each step.
        peaks: of each step, up to that of the (last) optimiser: the most bytes that lived at a time beside weights,
            gradients and what was there before.
        state: bytes of the optimisers' state.
    """

    def __init__(self, module: PaperModule, trainer: Mapping[str, Any], *, watches: bool) -> None:
        self.module = copy.deepcopy(module, {id(module.tell): module.tell})  # not the data that it is told by
        self.seconds: list[float] = []
        self.peaks: list[int] = []
        self.state = 0
        self._trainer = {**trainer, **ALONE}
        self._watches = watches
        self._watch: Allocations | None = None
        self._peak = 0
        self._started = 0.0

    def run(self, batches: Sequence[Any]) -> None:
        """Takes a step on each of the batches."""
        trainer: Trainer = instantiate(self._trainer, "trainer", callbacks=[self], logger=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of loaders without workers, of no validation
            trainer.fit(self.module, DataLoader(list(batches), batch_size=None))  # type: ignore[arg-type]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        _finish(trainer)
        if self._watches:
            self._watch, self._peak = Allocations(self.module.parameters()).__enter__(), 0
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        _finish(trainer)
        self.seconds.append(time.perf_counter() - self._started)
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self.peaks.append(self._peak or self._watch.peak)
            self._watch = None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self._watch is not None:
            self._peak = self._watch.peak

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._watch is not None:
            self._watch.__exit__(type(exception), exception, None)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        states = [values for optimizer in trainer.optimizers for values in optimizer.state.values()]
        self.state = sum(map(size_of, (tensor for values in states for tensor in values.values())))


def _finish(trainer: Trainer) -> None:
    device: torch.device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def size_of(value: Any) -> int:
    """The bytes of a tensor; 0 of anything else."""
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


@contextmanager
def undisturbed() -> Iterator[None]:
    """The random streams of all libraries are, afterwards, where they were; so are torch's rules of determinism."""
    rules = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with isolate_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(rules[0], warn_only=rules[1])
