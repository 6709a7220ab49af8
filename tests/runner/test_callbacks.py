import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelSummary, ProgressBar

import paperzoo.cli  # noqa: F401 - its resolvers
from paperzoo.reporting.metrics_csv import MetricsBookmark, MetricsCsv
from paperzoo.reporting.progress import PaperProgressBar
from paperzoo.runner.callbacks import build_callbacks
from paperzoo.runner.checkpoints import Checkpoints
from paperzoo.runner.validating import EndWithValidation
from paperzoo.runner.watching import GracefulStop
from tests.tiny_training import TinyData, tiny_model, tiny_trainer


@pytest.fixture
def settings():
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf")):
        config = compose("train")
    return {
        "callbacks": OmegaConf.to_container(config.callbacks, resolve=True),
        "trainer": OmegaConf.to_container(config.trainer, resolve=True),
    }


def test_the_default_callbacks_train_with_checkpoints_by_the_given_metric(settings, tmp_path):
    logger = MetricsCsv(tmp_path)
    callbacks = build_callbacks(settings, logger, "val/loss", "min")
    trainer = Trainer(default_root_dir=tmp_path, logger=logger, callbacks=callbacks, max_epochs=1, accelerator="cpu")
    trainer.fit(tiny_model(), TinyData())
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_signals_are_handled_after_the_checkpoints_are_written(settings, tmp_path):
    kinds = [type(c) for c in build_callbacks(settings, MetricsCsv(tmp_path), "val/loss", "min")]
    assert kinds.index(Checkpoints) < kinds.index(GracefulStop)


def test_the_trainer_switches_the_bar_and_the_summary_off(settings, tmp_path):
    settings["trainer"].update(enable_progress_bar=False, enable_model_summary=False)
    callbacks = build_callbacks(settings, MetricsCsv(tmp_path), "val/loss", "min")
    assert not any(isinstance(c, ProgressBar | ModelSummary) for c in callbacks)
    Trainer(callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, logger=False)


def test_without_any_callback_metrics_can_still_be_resumed(settings, tmp_path):
    callbacks = build_callbacks({**settings, "callbacks": None}, MetricsCsv(tmp_path), "val/loss", "min")
    assert [type(c) for c in callbacks] == [MetricsBookmark, EndWithValidation]


def test_the_bar_shows_the_objective_and_the_time_left(tmp_path):
    seen = []

    class Watched(PaperProgressBar):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            seen.append(self.values())

    tiny_trainer(tmp_path, Watched(), max_epochs=2, enable_progress_bar=True).fit(tiny_model(), TinyData())
    assert re.fullmatch(r"0:00:\d\d left  loss [\d.]+", seen[1])
    assert re.fullmatch(r"0:00:00 left  loss [\d.]+  val [\d.]+", seen[-1])
