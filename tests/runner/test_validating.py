"""Every training ends with a validation, and no step is validated twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from paperzoo.reporting.metrics_csv import read_metrics
from paperzoo.runner.signals import RunStoppedError
from tests.runner.test_checkpoints import SignalAt, metrics, train
from tests.tiny_training import TRAINING_BATCHES, TinyData, tiny_model, tiny_trainer

ENDS = {
    "by epochs, validated seldom": ({"max_epochs": 3, "check_val_every_n_epoch": 44}, 3 * TRAINING_BATCHES),
    "by steps in mid-epoch": ({"max_epochs": -1, "max_steps": TRAINING_BATCHES + 2}, TRAINING_BATCHES + 2),
    "by steps in the first epoch": ({"max_epochs": -1, "max_steps": 2}, 2),
    "validated in mid-epoch only": ({"max_epochs": 2, "val_check_interval": 4}, 2 * TRAINING_BATCHES),
    "gradients accumulated": (
        {"max_epochs": 1, "accumulate_grad_batches": 4, "check_val_every_n_epoch": 9},
        -(-TRAINING_BATCHES // 4),
    ),
}


class StopAfter(Callback):
    """As the clock (`max_time`) does."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = trainer.should_stop or batch_idx == 2


class Validated(Callback):
    def __init__(self) -> None:
        self.at: list[tuple[int, int]] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.at.append((trainer.current_epoch, trainer.global_step))


def best(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)


@pytest.mark.parametrize(("settings", "steps"), ENDS.values(), ids=ENDS.keys())
def test_a_training_ends_with_a_validation_of_its_last_weights(
    tmp_path: Path, settings: dict[str, Any], steps: int
) -> None:
    validated = Validated()
    train(tmp_path, validated, **settings)
    assert [step for _, step in validated.at].count(steps) == 1
    assert validated.at[-1][1] == steps
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()
    step, _ = read_metrics(tmp_path / "metrics.csv")["val/loss"][-1]
    assert step == steps - 1


def test_a_training_that_the_clock_ends_is_validated(tmp_path: Path) -> None:
    validated = Validated()
    train(tmp_path, StopAfter(), validated, check_val_every_n_epoch=44)
    assert validated.at == [(0, 3)]
    assert best(tmp_path)["global_step"] == 3


@pytest.mark.parametrize("settings", [{}, {"val_check_interval": 3}, {"max_epochs": -1, "max_steps": 6}])
def test_a_step_that_was_validated_is_not_validated_again(tmp_path: Path, settings: dict[str, Any]) -> None:
    validated = Validated()
    train(tmp_path, validated, **settings)
    steps = [step for _, step in validated.at]
    assert len(steps) == len(set(steps))


def test_the_last_validation_is_logged_where_one_after_the_last_batch_would_be(tmp_path: Path) -> None:
    train(tmp_path / "each", max_epochs=2)
    train(tmp_path / "end", max_epochs=2, check_val_every_n_epoch=3)
    last = [line for line in metrics(tmp_path / "each").splitlines() if "val/" in line][-1]
    assert last in metrics(tmp_path / "end").splitlines()


def test_nothing_is_validated_where_nothing_is_held_out(tmp_path: Path) -> None:
    train(tmp_path, max_epochs=1, limit_val_batches=0)
    assert "val/" not in metrics(tmp_path)
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("settings", [settings for settings, _ in ENDS.values()], ids=ENDS.keys())
def test_a_finished_training_made_longer_is_the_one_that_was_longer_from_the_start(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    longer = {**settings, **({"max_steps": 15} if "max_steps" in settings else {"max_epochs": 5})}
    whole = train(tmp_path / "whole", **longer)
    train(tmp_path / "parts", **settings)
    parts = train(tmp_path / "parts", resume=True, **longer)
    assert all(torch.equal(parts[name], value) for name, value in whole.items())
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert best(tmp_path / "parts")["global_step"] == best(tmp_path / "whole")["global_step"]


@pytest.mark.parametrize("settings", [settings for settings, _ in ENDS.values()], ids=ENDS.keys())
def test_a_training_stopped_in_its_last_validation_makes_it_up_when_resumed(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    class StopInLast(Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.fit_loop.epoch_progress.current.processed == trainer.max_epochs:
                raise RuntimeError
            if trainer.max_steps != -1 and trainer.global_step == trainer.max_steps:
                raise RuntimeError

    train(tmp_path / "whole", **settings)
    with pytest.raises(RuntimeError):
        train(tmp_path / "parts", StopInLast(), **settings)
    train(tmp_path / "parts", resume=True, **settings)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert (tmp_path / "parts" / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize("moment", ["on_train_epoch_end", "on_train_end", "on_test_start"])
@pytest.mark.parametrize("settings", [settings for settings, _ in ENDS.values()], ids=ENDS.keys())
def test_a_training_killed_after_its_last_step_is_tested_at_the_same_place(
    tmp_path: Path, moment: str, settings: dict[str, Any]
) -> None:
    class Kill(Callback):
        def hook(self, trainer: Any, pl_module: Any) -> None:
            if trainer.global_step == last:
                raise RuntimeError

    setattr(Kill, moment, Kill.hook)

    def run(folder: Path, *callbacks: Callback) -> int:
        model, data, trainer = tiny_model(), TinyData(), tiny_trainer(folder, *callbacks, **settings)
        saved = folder / "checkpoints" / "last.ckpt"
        trainer.fit(model, datamodule=data, ckpt_path=saved if saved.exists() else None)
        trainer.test(model, datamodule=data, verbose=False)
        return trainer.global_step

    last = run(tmp_path / "whole")
    with pytest.raises(RuntimeError):
        run(tmp_path / "parts", Kill())
    run(tmp_path / "parts")
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_signal_in_the_last_validation_stops_after_it(tmp_path: Path) -> None:
    with pytest.raises(RunStoppedError):
        train(tmp_path, SignalAt("on_validation_start", 1, epoch=0), max_epochs=-1, max_steps=2)
