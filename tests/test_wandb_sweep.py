"""The file of a W&B sweep: what W&B's agents make of it are commands that run."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from paperzoo.choices import QUIET
from paperzoo.errors import UserError
from tests.conftest import ROOT, RunJob

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
sys.path.append(str(ROOT / "scripts"))

from wandb_sweep import parameters, wandb_sweep

DISTRIBUTIONS = {
    "uniform": {"min", "max"},
    "int_uniform": {"min", "max"},
    "log_uniform_values": {"min", "max"},
    "q_uniform": {"q", "min", "max"},
    "q_log_uniform_values": {"q", "min", "max"},
}
"""Of the schema of W&B's own package `sweeps`, which does not install beside NumPy 2."""

PRESET = "experiment=glow/digits_laptop"


@pytest.fixture(autouse=True)
def fresh_hydra() -> Any:
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def drawn(parameter: dict[str, Any]) -> Any:
    """A value as an agent gets it."""
    if "values" in parameter:
        return random.choice(parameter["values"])
    value = random.uniform(parameter["min"], parameter["max"])
    return round(value) if isinstance(parameter["min"], int) else value


def agents_command(content: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """What is typed after `python train.py`, by W&B's own code."""
    filled = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    start = content["command"].index("${program}") + 1
    return [w for word in content["command"][start:] for w in (filled["args_no_hyphens"] if "${" in word else [word])]


def test_a_sweep_for_wandb_searches_the_same_space_for_the_same_metric() -> None:
    content = wandb_sweep([PRESET, "sweep=glow", "model.width=range(8,33,8)", "model.depth=2"], "bayes")
    assert content["metric"] == {"name": "val/bits_per_dim", "goal": "minimize"}
    assert content["command"][:3] == ["${env}", "${interpreter}", "${program}"]
    assert content["command"][-1] == "${args_no_hyphens}"
    assert (content["method"], content["program"], content["run_cap"]) == ("bayes", "train.py", 30)
    assert content["early_terminate"]["type"] == "hyperband"
    space = content["parameters"]
    assert "model.depth" not in space
    assert space["model.width"] == {"values": [8, 16, 24, 32]}
    assert space["model.coupling"] == {"values": ["additive", "affine"]}
    assert space["model.optimizer.lr"] == {"distribution": "log_uniform_values", "min": 3e-4, "max": 1e-2}


def test_every_kind_of_interval_has_a_distribution_that_wandb_knows() -> None:
    lines = [
        *("a=interval(0,1.5)", "b=int(interval(1,4))", "c=tag(log,interval(1e-4,1e-2))", "d=range(0,1,0.25)"),
        "e=tag(log,int(interval(1,64)))",
    ]
    for name, parameter in parameters(lines).items():
        kind = parameter.pop("distribution")
        assert parameter.keys() == DISTRIBUTIONS[kind], name


def test_a_run_of_an_agent_is_one_of_ours(run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = wandb_sweep(["experiment=dann/moons", "sweep=dann", "logger=csv"], "random")
    assert content["metric"] == {"name": "val/reverse_risk", "goal": "minimize"}
    values = {name: drawn(parameter) for name, parameter in content["parameters"].items()}
    folder = run_job(*agents_command(content, values), "trainer=smoke", *QUIET)
    config = yaml.safe_load((folder / ".hydra" / "resolved.yaml").read_text())
    assert config["model"]["schedule"]["ramp"] == values["model.schedule.ramp"]
    assert config["judge"]["_target_"].endswith("ReverseValidation")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ([PRESET], "there is nothing to search"),
        ([PRESET, "sweep=neurosat"], "sweep=neurosat: goes through model.clip_norm, .* which model=glow has not"),
        ([PRESET, "sweep=glow", "seed=0,1"], "seed: W&B takes no means over runs"),
        ([PRESET, "model/network=a,b"], "model/network: W&B takes keys of letters, digits and dots only"),
        ([PRESET, "sweep=glow", "model.n_bits=9"], "model.n_bits=9"),
        ([PRESET, "sweep=glow", "model.levls=9"], "model.levls=9: there is no such key"),
    ],
)
def test_what_wandb_cannot_search_is_refused_in_words(typed: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        wandb_sweep(typed, "bayes")


def test_the_file_is_written_and_a_mistake_is_a_sentence(tmp_path: Path) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / "wandb_sweep.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    result = script(PRESET, "sweep=optimizer", "~pruner", "--method", "random")
    assert (result.returncode, result.stderr) == (0, "")
    content = yaml.safe_load((tmp_path / "wandb_sweep.yaml").read_text())
    assert content["method"] == "random"
    assert "early_terminate" not in content
    no_name = script(PRESET, "sweep=optimizer", "pruner=null")
    assert (no_name.returncode, no_name.stderr.count("\n")) == (2, 1)
    wrong = script("experiment=glow/digits")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("paperzoo: experiment=glow/digits: there is no such preset; did you mean")
