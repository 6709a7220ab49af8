"""Whole runs of models that ask more of the contract than one optimiser and a validation set."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

import paperzoo.data
import paperzoo.papers
import paperzoo.runner.build
from paperzoo.errors import UserError
from paperzoo.reporting.metrics_csv import read_metrics
from paperzoo.runner.signals import RunStoppedError
from tests.conftest import RunJob

HERE = Path(__file__).parent
TOYS = ("toy/gan", "toy/image", "toy/autoencoder", "toy/prior")

RunToy = Callable[..., Path]


@pytest.fixture
def run_toy(run_job: RunJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunToy]:
    """`run_job` in a zoo that has the toys, too; the prior's autoencoder is trained first."""
    monkeypatch.setattr(paperzoo.papers, "__path__", [*paperzoo.papers.__path__, str(HERE / "papers")])
    monkeypatch.setattr(paperzoo.data, "__path__", [*paperzoo.data.__path__, str(HERE / "families")])
    own = (f"hydra.searchpath=[file://{HERE / 'conf'}]", f"output_root={tmp_path / 'outputs'}", "threads=1")

    def run(*arguments: str) -> Path:
        first = tmp_path / "outputs" / "toy" / "autoencoder" / "2026-01-01_00-00-00_0000"
        if "experiment=toy/prior" in arguments and not first.exists():
            first.mkdir(parents=True)
            run_job(*own, "experiment=toy/autoencoder", f"hydra.run.dir={first}")
        return run_job(*own, *arguments)

    yield run


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


class Stop(Callback):
    """Asks the training to stop after a batch of its second epoch."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", TOYS)
def test_it_trains_to_a_report(name: str, run_toy: RunToy) -> None:
    folder = run_toy(f"experiment={name}")
    result = summary(folder)
    assert result["status"] == "finished"
    assert any(metric.startswith("test/") for metric in result["metrics"])
    assert (folder / "report.html").exists()
    assert (folder / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("name", TOYS)
def test_stopped_and_resumed_it_is_the_run_that_was_started(
    name: str, run_toy: RunToy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_toy(f"experiment={name}", f"hydra.run.dir={whole}", "trainer.log_every_n_steps=1")
    original = paperzoo.runner.build.build_callbacks
    with monkeypatch.context() as patch:
        patch.setattr(paperzoo.runner.build, "build_callbacks", lambda *a, **k: [*original(*a, **k), Stop()])
        with pytest.raises(RunStoppedError):
            run_toy(f"experiment={name}", f"hydra.run.dir={parts}", "trainer.log_every_n_steps=1")
    assert summary(parts)["status"] == "stopped"
    run_toy(f"resume={parts}")
    assert (parts / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    first, second = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (whole, parts))
    assert all(torch.equal(second["state_dict"][key], value) for key, value in first["state_dict"].items())


@pytest.mark.parametrize("name", TOYS)
def test_smoke_takes_two_batches(name: str, run_toy: RunToy) -> None:
    result = summary(run_toy(f"experiment={name}", "trainer=smoke"))
    assert (result["status"], result["steps"]) == ("finished", 2)


def test_a_step_is_a_batch_with_two_optimisers_too(run_toy: RunToy) -> None:
    folder = run_toy("experiment=toy/gan", "trainer.log_every_n_steps=1")
    batches = 3 * ((1497 - 150) // 256)
    assert summary(folder)["steps"] == batches
    logged = read_metrics(folder / "metrics.csv")["train/critic_loss"]
    assert [step for step, _ in logged] == list(range(batches))


def test_without_an_objective_the_last_weights_are_kept_and_tested(run_toy: RunToy) -> None:
    folder = run_toy("experiment=toy/gan")
    assert not (folder / "checkpoints" / "best.ckpt").exists()
    told = read_metrics(folder / "metrics.csv")
    assert told["val/told_real"]
    assert (folder / "figures" / "samples.png").exists()


def test_an_objective_can_be_named_for_a_model_without_one(run_toy: RunToy) -> None:
    folder = run_toy("experiment=toy/gan", "optimize=val/told_real", "optimize_direction=min", "weights=best")
    assert (folder / "checkpoints" / "best.ckpt").exists()


def test_best_weights_by_nothing_are_refused(run_toy: RunToy) -> None:
    with pytest.raises(UserError, match="weights=best: this model has no metric"):
        run_toy("experiment=toy/gan", "weights=best")


def test_a_loss_that_is_only_logged_is_watched_too(run_toy: RunToy) -> None:
    with pytest.raises(UserError, match="became NaN or infinite at step"):
        run_toy("experiment=toy/gan", "model.lr=1e30", "trainer.log_every_n_steps=1", "trainer.max_epochs=20")


def test_one_image_is_fitted_without_anything_held_out(run_toy: RunToy) -> None:
    folder = run_toy("experiment=toy/image", "data.iterations=100")
    logged = read_metrics(folder / "metrics.csv")
    assert not any(name.startswith("val/") for name in logged)
    assert summary(folder)["metrics"]["test/squared_error"] < logged["train/loss"][0][1] / 4
    assert (folder / "figures" / "restored.png").exists()


def test_a_prior_stands_on_the_latest_autoencoder(run_toy: RunToy, tmp_path: Path) -> None:
    folder = run_toy("experiment=toy/prior")
    stood_on = summary(folder)["config"]["model"]["autoencoder"]
    assert stood_on == str(tmp_path / "outputs" / "toy" / "autoencoder" / "2026-01-01_00-00-00_0000")
    first, second = (
        torch.load(Path(f) / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for f in (stood_on, folder)
    )
    assert torch.equal(second["autoencoder.encoder.weight"], first["encoder.weight"])
    tested = run_toy("mode=test", f"checkpoint={folder}")
    assert summary(tested)["metrics"]["test/nats"] == summary(folder)["metrics"]["test/nats"]


def test_a_resumed_prior_stands_on_the_autoencoder_that_it_was_started_with(run_toy: RunToy, tmp_path: Path) -> None:
    folder = run_toy("experiment=toy/prior")
    newer = tmp_path / "outputs" / "toy" / "autoencoder" / "2026-02-02_00-00-00_0000"
    newer.mkdir()
    run_toy("experiment=toy/autoencoder", f"hydra.run.dir={newer}")
    before = summary(folder)["config"]["model"]["autoencoder"]
    run_toy(f"resume={folder}", "trainer.max_epochs=4")
    assert summary(folder)["config"]["model"]["autoencoder"] == before != str(newer)


def test_without_a_run_to_stand_on_it_is_said_what_to_train(run_job: RunJob, run_toy: RunToy, tmp_path: Path) -> None:
    own = (f"hydra.searchpath=[file://{HERE / 'conf'}]", f"output_root={tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match=r"model.autoencoder: there is no finished run in .*nowhere"):
        run_job(*own, "experiment=toy/prior")
