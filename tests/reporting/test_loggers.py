import os
import stat

import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from tiny_training import TinyData, tiny_model, tiny_trainer

from paperzoo.reporting import wandb_run
from paperzoo.reporting.figures import Figures
from paperzoo.reporting.loggers import build_loggers, close_loggers
from paperzoo.reporting.metrics_csv import MetricsCsv
from paperzoo.reporting.results import Row

WANDB = {"_target_": "paperzoo.reporting.wandb_run.wandb_logger", "project": "paperzoo"}
TENSORBOARD = {"_target_": "paperzoo.reporting.loggers.tensorboard_logger"}


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path / "netrc"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "glow" / "cifar10" / "2026-01-02_03-04-05_ab12"


def test_metrics_csv_is_always_there_and_first(folder):
    assert [type(logger) for logger in build_loggers(None, folder, {})] == [MetricsCsv]
    loggers = build_loggers({"tensorboard": TENSORBOARD}, folder, {})
    assert [type(logger) for logger in loggers] == [MetricsCsv, TensorBoardLogger]
    assert loggers[1].log_dir == str(folder / "tensorboard")


def test_without_an_account_wandb_records_offline(no_account):
    assert wandb_run.is_offline()


def test_a_key_or_an_entry_in_netrc_is_an_account(no_account, monkeypatch):
    no_account.write_text("machine api.wandb.ai login user password secret\n")
    no_account.chmod(stat.S_IRUSR)
    assert not wandb_run.is_offline()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_run.is_offline()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert not wandb_run.is_offline()


@pytest.mark.parametrize(("mode", "offline"), [("offline", True), ("online", False), ("disabled", False)])
def test_the_environment_has_the_last_word(no_account, monkeypatch, mode, offline):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert wandb_run.is_offline() is offline


def test_the_run_id_names_the_folder_in_characters_that_wandb_takes(folder):
    assert wandb_run.run_id(folder) == "glow-cifar10-2026-01-02_03-04-05_ab12"
    assert wandb_run.run_id(folder / "a b:c?") == "cifar10-2026-01-02_03-04-05_ab12-a-b-c-"


def test_two_offline_runs_in_one_process_are_two_runs_and_are_closed(no_account, folder, caplog):
    recorded = []
    for job, status in (("0", "finished"), ("1", "failed")):
        loggers = build_loggers({"wandb": WANDB}, folder / job, {"seed": 0})
        trainer = tiny_trainer(folder / job, Figures(every_n_epochs=1), max_epochs=1)
        trainer.loggers = loggers
        trainer.fit(tiny_model(), TinyData())
        wandb_logger = loggers[1]
        assert isinstance(wandb_logger, WandbLogger)
        run = wandb_logger.experiment
        recorded.append(run.id)
        assert run.config["seed"] == 0
        assert run.group == "cifar10/" + folder.name
        close_loggers(loggers, status, [Row("test/loss", 1.0, "Table 1", "min", 1.5)])
        assert run._is_finished
        assert run.summary["published/test/loss"] == 1.0
        assert run.summary["difference/test/loss"] == 0.5
        assert f"wandb sync {folder / job}" in caplog.text
    assert recorded[0] != recorded[1]
    assert torch.initial_seed() is not None


def test_closing_loggers_that_never_logged_does_nothing(no_account, folder):
    close_loggers(build_loggers({"wandb": WANDB, "tensorboard": TENSORBOARD}, folder, {}), "failed")
    assert not (folder / "wandb").exists()
