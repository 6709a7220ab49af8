"""The steps of an epoch without what Lightning asks anew for each; in small models that takes longer than the model.

The loop is Lightning's, with its counters, hooks and order; only the way through one batch is shorter.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.loops.optimization.automatic import ClosureResult
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins import Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

from paperzoo.datamodule import PaperData
from paperzoo.module import PaperModule

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
LIGHTNINGS = (
    "on_train_batch_start",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "lr_scheduler_step",
)
"""What a module may not have a version of its own of, to go the short way."""


def shorten(trainer: Trainer) -> None:
    """Lets the trainer go the short way where it can; call before `fit`."""
    long = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = ShortEpochLoop(trainer, long.min_steps, long.max_steps)


class ShortEpochLoop(_TrainingEpochLoop):
    """Goes through a batch of one optimiser on one device in full precision; everything else goes Lightning's way."""

    _hooks: dict[str, list[Callable[..., Any]]] | None = None

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        is_short = _is_plain(self.trainer) and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        self._hooks = {hook: _overridden(self.trainer, hook) for hook in HOOKS} if is_short else None

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self._hooks is None or self.restarting:
            super().advance(data_fetcher)
            return
        if self.val_loop.restarting:  # of a checkpoint written in a validation: the next one takes all its batches
            self.val_loop.restarting = False
        trainer = self.trainer
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        self.batch_progress.is_last_batch = data_fetcher.done
        batch = data.on_before_batch_transfer(batch, 0)
        batch = data.transfer_batch_to_device(batch, trainer.strategy.root_device, 0)
        batch = data.on_after_batch_transfer(batch, 0)
        self.batch_progress.increment_ready()
        trainer._logger_connector.on_batch_start(batch)
        self._call("on_train_batch_start", batch, batch_idx)
        self.batch_progress.increment_started()
        outputs = self._step(batch, batch_idx)
        self.batch_progress.increment_processed()
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        trainer._logger_connector.on_batch_end()
        self.batch_progress.increment_completed()
        trainer._logger_connector.update_train_step_metrics()

    def _step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """One step of the optimiser. Returns what callbacks are told of it."""
        optimizer = self.trainer.optimizers[0]
        progress = self.automatic_optimization.optim_progress.optimizer
        results: list[ClosureResult] = []

        def closure() -> Any:
            results[:] = [self._gradient(optimizer, batch, batch_idx)]
            return results[0].loss

        progress.step.increment_ready()
        optimizer.step(closure)
        progress.step.increment_completed()
        return results[0].asdict() if results[0].loss is not None else {}

    def _gradient(self, optimizer: torch.optim.Optimizer, batch: Any, batch_idx: int) -> ClosureResult:
        trainer, module = self.trainer, self.trainer.lightning_module
        progress = self.automatic_optimization.optim_progress.optimizer
        module._current_fx_name = "training_step"
        result = ClosureResult.from_training_step_output(module.training_step(batch, batch_idx))
        module._current_fx_name = None
        progress.zero_grad.increment_ready()
        self._call("on_before_zero_grad", optimizer)
        progress.zero_grad.increment_started()
        optimizer.zero_grad()
        progress.zero_grad.increment_completed()
        if (loss := result.closure_loss) is not None:
            self._call("on_before_backward", loss)
            loss.backward()
            self._call("on_after_backward")
        self._call("on_before_optimizer_step", optimizer)
        module.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        return ClosureResult(None if loss is None else loss.detach(), result.extra)

    def _call(self, hook: str, *arguments: Any) -> None:
        assert self._hooks is not None
        if not (called := self._hooks[hook]):
            return
        module = self.trainer.lightning_module
        module._current_fx_name = hook
        for function in called:
            function(*arguments)
        module._current_fx_name = None


def _is_plain(trainer: Trainer) -> bool:
    module: Any = trainer.lightning_module
    return (
        type(trainer.strategy) is SingleDeviceStrategy
        and type(trainer.precision_plugin) is Precision
        and type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
        and trainer.accumulate_grad_batches == 1
        and len(trainer.optimizers) == 1
        and isinstance(trainer.datamodule, PaperData)  # type: ignore[attr-defined]
        and isinstance(module, PaperModule)
        and module.automatic_optimization
        and not any(_has_own(module, hook, LightningModule) for hook in LIGHTNINGS)
    )


def _overridden(trainer: Trainer, hook: str) -> list[Callable[..., Any]]:
    """The callbacks' versions of a hook, then the module's."""
    module = trainer.lightning_module
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    called = [partial(getattr(c, hook), trainer, module) for c in callbacks if _has_own(c, hook, Callback)]
    return [*called, getattr(module, hook)] if _has_own(module, hook, LightningModule) else [*called]


def _has_own(thing: Any, hook: str, base: type) -> bool:
    return hook in vars(thing) or getattr(type(thing), hook, None) is not getattr(base, hook, None)
