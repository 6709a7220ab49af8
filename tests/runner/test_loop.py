"""The short way through a batch, and what a step logs, against Lightning's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from paperzoo.datamodule import seed_generators
from paperzoo.reporting.metrics_csv import FILE_NAME
from paperzoo.runner.loop import HOOKS, ShortEpochLoop, shorten
from tests.tiny_training import TRAINING_BATCHES, TinyData, tiny_model, tiny_trainer


class Called(Callback):
    """Notes the hooks of a batch in the order in which they are called."""

    def __init__(self) -> None:
        self.hooks: list[str] = []
        for hook in HOOKS:
            setattr(self, hook, lambda *_, hook=hook: self.hooks.append(hook))


def trained(folder: Path, *, short: bool, **settings: Any) -> tuple[dict[str, torch.Tensor], list[str], bytes]:
    """Weights, hooks and metrics of a training."""
    called, model = Called(), tiny_model()
    trainer = tiny_trainer(folder, called, max_epochs=2, **settings)
    if short:
        shorten(trainer)
    trainer.fit(model, TinyData())
    return model.state_dict(), called.hooks, (folder / FILE_NAME).read_bytes()


@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 2}])
def test_the_short_way_gives_the_weights_hooks_and_metrics_of_the_long_one(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    (weights, hooks, metrics), expected = (trained(tmp_path / str(s), short=s, **settings) for s in (True, False))
    torch.testing.assert_close(weights, expected[0], rtol=0, atol=0)
    assert hooks == expected[1]
    assert metrics == expected[2]


def test_plain_trainings_go_the_short_way_and_accumulating_ones_the_long_one(tmp_path: Path) -> None:
    for batches, is_short in ((1, True), (2, False)):
        trainer = tiny_trainer(tmp_path, max_epochs=1, accumulate_grad_batches=batches)
        shorten(trainer)
        trainer.fit(tiny_model(), TinyData())
        assert isinstance(trainer.fit_loop.epoch_loop, ShortEpochLoop)
        assert (trainer.fit_loop.epoch_loop._hooks is not None) is is_short


def test_the_validation_after_a_resume_takes_all_its_batches(tmp_path: Path) -> None:
    """From a checkpoint of a validation: Lightning goes on behind it, its validation loop still restarting."""

    class Count(Callback):
        batches = 0

        def on_validation_batch_end(self, *_: Any) -> None:
            self.batches += 1

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / "in_validation.ckpt")

    counts = []
    for epochs, place in ((1, None), (2, tmp_path / "in_validation.ckpt")):
        count = Count()
        trainer = tiny_trainer(tmp_path / str(epochs), count, max_epochs=epochs)
        shorten(trainer)
        trainer.fit(tiny_model(), TinyData(), ckpt_path=place)
        counts.append(count.batches)
    assert counts[0] == counts[1] > 1


def test_seeding_the_generators_of_a_device_is_what_torch_does_for_all() -> None:
    torch.manual_seed(2**62 + 5)
    expected = torch.rand(3)
    seed_generators(2**62 + 5, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_a_step_is_measured_only_if_it_is_written_or_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model()
    connector = SimpleNamespace(should_update_logs=False, _callback_metrics={})
    model._trainer = SimpleNamespace(_logger_connector=connector)
    asked: list[int] = []

    def values() -> dict[str, float]:
        asked.append(1)
        return {"train/loss": 2.0}

    model.log_step(values)  # the first one is shown
    model.log_step(values)
    assert len(asked) == 1
    connector.should_update_logs = True
    model.log_step(values)
    assert len(asked) == 2
    assert float(connector._callback_metrics["train/loss"]) == 2


def test_the_last_step_of_a_run_that_is_stopped_is_written_with_its_own_values(tmp_path: Path) -> None:
    class StopAt(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer.should_stop = batch_idx == TRAINING_BATCHES - 2

    class Measured(type(tiny_model())):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.log_step(lambda: {"train/batch": float(batch_idx)})
            loss = super().training_step(batch, batch_idx)
            assert isinstance(loss, torch.Tensor)
            return loss

    model: Any = tiny_model()
    model.__class__ = Measured
    trainer = tiny_trainer(tmp_path, StopAt(), max_epochs=1, log_every_n_steps=1000)
    trainer.fit(model, TinyData())
    assert f"0,train/batch,{float(TRAINING_BATCHES - 2)}" in (tmp_path / FILE_NAME).read_text()
