"""What loggers say of a run: its name in a sweep too, what varied, what is good."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.config import class_of, instantiate, plain
from paperzoo.module import PaperModule
from paperzoo.runner.about import about
from paperzoo.runner.folder import MULTIRUN
from paperzoo.runner.job import Job


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said of a job of these overrides, in a sweep that was typed in this way, or alone."""

    def made(*overrides: str, typed: list[str] | None = None, params: dict[str, str] | None = None) -> Any:
        with initialize_config_dir(str(CONFIG_FOLDER)):
            config = compose("train", [*overrides, "model.depth=1", "model.width=4"], return_hydra_config=True)
        choices = OmegaConf.to_container(config.hydra.runtime.choices)
        settings = plain(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
        assert isinstance(choices, dict)
        mode = RunMode.RUN if typed is None else RunMode.MULTIRUN
        (tmp_path / MULTIRUN).write_text(yaml.safe_dump(typed))
        hydra = SimpleNamespace(mode=mode, sweep=SimpleNamespace(dir=tmp_path), sweeper={"params": params})
        monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
        assert class_of(settings["model"], PaperModule)
        job = Job(settings, choices, list(overrides), tmp_path / "3")
        return about(job, instantiate(settings["model"], "model"))

    return made


PRESET = "experiment=glow/digits_laptop"


def test_a_job_of_a_sweep_is_called_after_what_varied_and_grouped_by_its_preset(described: Any) -> None:
    typed = [PRESET, "seed=0,1", "model.depth=1", "hydra.sweep.subdir=x"]
    job = described(
        PRESET, "seed=1", "model.optimizer.lr=0.00312345", typed=typed, params={"model.optimizer.lr": "..."}
    )
    assert (job.name, job.label) == ("glow/digits_laptop", "lr=0.003123 seed=1")
    assert job.tags == ["glow", "digits_laptop", "digits", "train"]


def test_a_run_alone_is_called_after_the_values_that_were_typed_or_its_folder(described: Any) -> None:
    assert described(PRESET, "model.coupling=additive", "logger=wandb", "logger.wandb.project=mine").label == (
        "coupling=additive"
    )
    assert described(PRESET).label == "3"


def test_directions_and_hyperparameters_are_those_of_the_run(described: Any) -> None:
    said = described(PRESET)
    assert (said.directions["val/bits_per_dim"], said.directions["test/accuracy"]) == ("min", "max")
    assert said.shown[:2] == ["val/bits_per_dim", "test/bits_per_dim"]
    known = said.hyperparameters
    assert (known["model.optimizer.lr"], known["model.coupling"], known["seed"]) == (0.004, "affine", 0)
    assert known["model.optimizer.betas"] == "[0.9, 0.98979592]"
    assert not [
        key for key in known if key.startswith(("data.facts", "model.smoke", "trainer.devices", "data.data_root"))
    ]
    assert said.parameters > 1000
