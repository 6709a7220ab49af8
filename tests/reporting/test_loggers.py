import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import paperzoo.cli  # noqa: F401 - its resolvers
from paperzoo.errors import UserError
from paperzoo.reporting import wandb_run
from paperzoo.reporting.about import About
from paperzoo.reporting.figures import Figures
from paperzoo.reporting.loggers import build_loggers, close_loggers, open_loggers
from paperzoo.reporting.results import Row
from tests.tiny_training import TinyData, tiny_model, tiny_trainer

WANDB = {
    "_target_": "paperzoo.reporting.wandb_run.WandbRun",
    "project": "paperzoo",
    "entity": None,
    "tags": [],
    "notes": None,
    "checkpoints": False,
    "init_timeout": 5.0,
    "finish_timeout": 1.0,
}
ABOUT = About(
    name="glow/cifar10",
    label="lr=0.003 seed=1",
    mode="train",
    tags=["glow", "cifar10", "train"],
    hyperparameters={"model.depth": 4, "model.coupling": "affine", "model.optimizer.lr": 3e-3, "seed": 1},
    directions={"val/loss": "min", "val/accuracy*": "max"},
    shown=["val/loss", "test/loss", "val/judged"],
    parameters=123,
    commit="1a2b3c4",
)
TENSORBOARD = {"_target_": "paperzoo.reporting.loggers.TensorBoard"}


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


def test_tensorboard_writes_into_the_run_folder(folder):
    (logger,) = build_loggers({"tensorboard": TENSORBOARD}, folder, {}, ABOUT)
    assert isinstance(logger, TensorBoardLogger)
    assert Path(logger.log_dir) == folder / "tensorboard"
    logger.log_metrics({"val/loss": 1.0}, 0)
    close_loggers([logger], "finished")
    assert list((folder / "tensorboard").glob("events*"))


def test_several_loggers_can_be_chosen_and_csv_alone_adds_none():
    conf = Path(__file__).parents[2] / "conf"
    chosen = {}
    with initialize_config_dir(str(conf)):
        for choice in ("csv", "wandb", "[csv,wandb]", "[tensorboard,wandb]"):
            config = compose("train", overrides=[f"logger={choice}"])
            chosen[choice] = set(config.logger)
    assert chosen == {
        "csv": set(),
        "wandb": {"wandb"},
        "[csv,wandb]": {"wandb"},
        "[tensorboard,wandb]": {"tensorboard", "wandb"},
    }


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
        (wandb_logger,) = loggers = build_loggers(
            {"wandb": WANDB}, folder / job, {"seed": 0, "logger": {"wandb": WANDB}}, ABOUT
        )
        trainer = tiny_trainer(folder / job, Figures(every_n_epochs=1), max_epochs=1)
        trainer.loggers = [*trainer.loggers, *loggers]
        trainer.fit(tiny_model(), TinyData())
        assert isinstance(wandb_logger, wandb_run.WandbRun)
        run = wandb_logger.experiment
        recorded.append(run.id)
        assert run.config["seed"] == 0
        assert run.config["logger"] == {"wandb": WANDB}
        assert (run.name, run.group, run.job_type) == ("lr=0.003 seed=1", "glow/cifar10", "train")
        assert run.tags == ("glow", "cifar10", "train")
        assert (run.config["parameters"], run.config["commit"]) == (123, "1a2b3c4")
        rows = [Row("test/loss", 1.0, "Table 1", "min", 1.5)]
        wandb_logger.summarize(rows, status)
        assert run.summary["published/test/loss"] == 1.0
        assert run.summary["difference/test/loss"] == 0.5
        close_loggers(loggers, status, rows)
        assert run._is_finished
        assert wandb.run is None
        assert f"wandb sync {folder / job}" in caplog.text
    assert recorded[0] != recorded[1]


def test_wandb_keeps_the_best_value_of_each_metric_and_what_was_judged_at_the_end(no_account, folder):
    (wandb_logger,) = loggers = build_loggers({"wandb": WANDB}, folder, {}, ABOUT)
    open_loggers(loggers)
    for step, (loss, accuracy) in enumerate([(2.0, 0.1), (1.0, 0.9), (3.0, 0.5)]):
        wandb_logger.log_metrics({"val/loss": loss, "val/accuracy_first": accuracy}, step)
    rows = [Row("val/judged", direction="min", measured=0.25), Row("val/loss", direction="min", measured=1.0)]
    wandb_logger.summarize(rows, "pruned")
    summary = wandb_logger.experiment.summary
    assert summary["val/loss"]["min"] == 1
    assert summary["val/accuracy_first"]["max"] == 0.9
    assert (summary["val/judged"], summary["status"]) == (0.25, "pruned")
    close_loggers(loggers, "pruned", rows)


@pytest.mark.parametrize("wanted", [True, False])
def test_checkpoints_are_uploaded_when_asked_for(no_account, folder, wanted, monkeypatch):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    logged = []
    monkeypatch.setattr(wandb.Run, "log_artifact", lambda run, artifact: logged.append(artifact))
    loggers = build_loggers({"wandb": {**WANDB, "checkpoints": wanted}}, folder, {}, ABOUT)
    open_loggers(loggers)
    close_loggers(loggers, "finished")
    assert [(artifact.type, list(artifact.manifest.entries)) for artifact in logged] == [
        ("model", ["best.ckpt"])
    ] * wanted


def test_tensorboard_holds_hyperparameters_with_metrics_figures_and_test_in_one_file(folder):
    loggers = build_loggers({"tensorboard": TENSORBOARD}, folder, {}, ABOUT)
    open_loggers(loggers)
    trainer = trained(loggers, folder, lambda: None)
    trainer.test(tiny_model(), TinyData(), verbose=False)
    close_loggers(loggers, "finished", [Row("val/judged", direction="min", measured=0.25)])
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert len(list((folder / "tensorboard").glob("events*"))) == 1
    assert {"val/loss", "test/loss", "val/judged"} <= set(events.Tags()["scalars"])
    plugin = {
        tag: HParamsPluginData.FromString(content) for tag, content in events.PluginTagToContent("hparams").items()
    }
    start = plugin["_hparams_/session_start_info"].session_start_info
    assert start.hparams["model.coupling"].string_value == "affine"
    assert start.hparams["model.optimizer.lr"].number_value == 3e-3
    experiment = plugin["_hparams_/experiment"].experiment
    assert {info.name.tag for info in experiment.metric_infos} == {"val/loss", "test/loss", "val/judged"}
    assert plugin["_hparams_/session_end_info"].session_end_info.status == Status.STATUS_SUCCESS


def test_closing_loggers_that_never_logged_does_nothing(no_account, folder):
    close_loggers(build_loggers({"wandb": WANDB, "tensorboard": TENSORBOARD}, folder, {}, ABOUT), "failed")
    assert not (folder / "wandb").exists()


@pytest.fixture
def server(no_account, monkeypatch) -> Iterator[subprocess.Popen]:
    """A server that answers, and an account for it."""
    script = Path(__file__).with_name("fake_wandb.py")
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{int(process.stdout.readline())}")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield process
    process.kill()
    wandb.teardown()


def trained(loggers, folder, at_end_of_first_epoch):
    """What is left of a training whose first epoch ends with something."""
    trainer = tiny_trainer(folder, AtEpochEnd(at_end_of_first_epoch), max_epochs=3, log_every_n_steps=1)
    trainer.loggers = [*trainer.loggers, *loggers]
    trainer.fit(tiny_model(), TinyData())
    return trainer


class AtEpochEnd(Callback):
    def __init__(self, action):
        self.action = action

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            self.action()


def test_a_server_that_cannot_be_reached_is_told_and_the_run_recorded_offline(server, folder, caplog):
    server.kill()
    server.wait()
    (logger,) = loggers = build_loggers({"wandb": WANDB}, folder, {}, ABOUT)
    open_loggers(loggers)
    assert "cannot be reached (ConnectionError); this run is recorded offline" in caplog.text
    assert logger.experiment.offline
    close_loggers(loggers, "finished")
    assert f"wandb sync {folder}" in caplog.text


def test_who_insists_on_a_server_that_cannot_be_reached_is_refused(server, folder, monkeypatch):
    server.kill()
    server.wait()
    monkeypatch.setenv("WANDB_MODE", "online")
    loggers = build_loggers({"wandb": WANDB}, folder, {}, ABOUT)
    with pytest.raises(UserError, match=r"cannot be reached.*WANDB_MODE=online insists"):
        open_loggers(loggers)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UserError, match=r"there is no account for http://127.*WANDB_MODE=online insists"):
        open_loggers(loggers)


def test_a_server_that_dies_in_the_middle_stops_no_run(server, folder, caplog):
    loggers = build_loggers({"wandb": WANDB}, folder, {}, ABOUT)
    open_loggers(loggers)
    assert not loggers[0].experiment.offline
    assert trained(loggers, folder, server.kill).current_epoch == 3
    close_loggers(loggers, "finished")
    assert "not everything was uploaded" in caplog.text
    assert f"wandb sync {folder}" in caplog.text


def test_a_service_of_wandb_that_dies_in_the_middle_stops_no_run(server, folder, caplog):
    loggers = build_loggers({"wandb": WANDB}, folder, {}, ABOUT)
    open_loggers(loggers)

    def kill_service():
        found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "wandb-core"], capture_output=True, text=True)
        assert found.stdout
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)

    assert trained(loggers, folder, kill_service).current_epoch == 3
    close_loggers(loggers, "finished")
    assert caplog.text.count("W&B is lost") == 1
    (next_run,) = build_loggers({"wandb": WANDB}, folder / "1", {}, ABOUT)
    open_loggers([next_run])
    assert not next_run.experiment.offline
    assert next_run.experiment is not loggers[0].experiment
    close_loggers([next_run], "finished")
