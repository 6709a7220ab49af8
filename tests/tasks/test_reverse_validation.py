"""Hyper-parameters judged without a target label, and the weights that a training keeps."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from paperzoo.data.domains.module import Domain
from paperzoo.data.domains.moons import Moons
from paperzoo.errors import UserError
from tests.conftest import RunJob

MOONS = ("experiment=dann/moons", "trainer=cpu", "~callbacks.figures")
SHORT = (*MOONS, "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2")
JUDGED = "judge=reverse_validation"


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "summary.json").read_text())["metrics"]


def scramble_target(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Moons.load_domains

    def scrambled(self: Moons) -> tuple[Domain, Domain]:
        source, target = load(self)
        items = target.train.labelled(1 - target.train.labels)
        return source, Domain(items, items, items)

    monkeypatch.setattr(Moons, "load_domains", scrambled)


def test_scrambled_target_labels_give_the_same_weights_and_the_same_risk(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_job(*SHORT, JUDGED)
    scramble_target(monkeypatch)
    second = run_job(*SHORT, JUDGED)
    assert metrics(first)["test/accuracy_target"] == pytest.approx(1 - metrics(second)["test/accuracy_target"])
    assert metrics(first)["val/reverse_risk"] == metrics(second)["val/reverse_risk"]
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]), name


def test_the_way_back_of_a_trained_classifier_finds_the_source_again(run_job: RunJob) -> None:
    faster = ("data.batch_size=50", "model.optimizer.lr=2", "trainer.max_epochs=30", "trainer.log_every_n_steps=3")
    folder = run_job(*MOONS, *faster, JUDGED, "model.adapts=false")
    assert metrics(folder)["val/reverse_risk"] < 0.3
    assert metrics(folder)["test/accuracy_source"] > 0.8
    assert (folder / "reverse" / "metrics.csv").stat().st_size > 0


def test_reverse_validation_needs_two_domains(run_job: RunJob) -> None:
    with pytest.raises(UserError, match="judge=reverse_validation: judges runs on DomainImages or DomainVectors, data"):
        run_job("model=glow", "data=digits", JUDGED)


@pytest.mark.parametrize("kept", ["best", "last"])
def test_the_weights_that_are_asked_for_are_kept_and_tested(kept: str, run_job: RunJob) -> None:
    folder = run_job(*SHORT, f"weights={kept}")
    assert (folder / "checkpoints" / "best.ckpt").is_file() == (kept == "best")
    again: Any = run_job("mode=test", f"checkpoint={folder}")
    assert metrics(again)["test/accuracy_target"] == metrics(folder)["test/accuracy_target"]


def test_a_wrong_word_for_the_weights_is_named(run_job: RunJob) -> None:
    with pytest.raises(UserError, match="weights=first: should be best, last or null"):
        run_job(*SHORT, "weights=first")
