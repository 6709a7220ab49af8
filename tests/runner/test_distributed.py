import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.runner.distributed import relaunchable


@pytest.fixture
def job_of_a_multirun() -> None:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", overrides=["model=glow", "seed=1"], return_hydra_config=True)
    config.hydra.overrides.task = ["model=glow", "seed=1"]
    HydraConfig.instance().set_config(config)


@pytest.mark.usefixtures("job_of_a_multirun")
def test_other_ranks_are_started_for_this_job_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    multirun = ["train.py", "-m", "model=glow", "seed=0,1"]
    monkeypatch.setattr(sys, "argv", multirun)
    with relaunchable(tmp_path, ["model=glow", "seed=1"]):
        assert sys.argv[:3] == ["train.py", "model=glow", "seed=1"]
        assert f'hydra.run.dir="{tmp_path}"' in sys.argv
        os.environ["WORLD_SIZE"] = "2"
    assert sys.argv == multirun
    assert "WORLD_SIZE" not in os.environ


@pytest.mark.usefixtures("job_of_a_multirun")
def test_what_a_cluster_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASTER_PORT", "1234")
    with relaunchable(tmp_path, []):
        pass
    assert os.environ["MASTER_PORT"] == "1234"


@pytest.mark.slow
def test_two_processes_measure_what_one_does() -> None:
    script = Path(__file__).parents[2] / "scripts/ranks.py"
    result = subprocess.run(
        [sys.executable, str(script), "dann/moons"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
