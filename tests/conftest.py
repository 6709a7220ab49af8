"""What tests of whole runs share: jobs composed and run in this process, and the command line in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from paperzoo.choices import QUIET
from paperzoo.cli import CONFIG_FOLDER, complete_arguments

ROOT = Path(__file__).parent.parent

# Sums depend on the number of threads, in the last bit. Here, because `paperzoo.runner.build` reads it when imported.
torch.set_num_threads(1)

RunJob = Callable[..., Path]
CommandLine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_job(tmp_path: Path) -> Iterator[RunJob]:
    """Runs `python train.py ARGUMENTS` in this process; returns the run's folder. Errors come out as exceptions."""
    from paperzoo.runner.run import run

    jobs = 0

    def run_arguments(*arguments: str) -> Path:
        nonlocal jobs
        jobs += 1
        overrides = [*QUIET, *complete_arguments(list(arguments))]
        own = next((o.split("=", 1)[1].strip('"') for o in overrides if o.startswith("hydra.run.dir=")), None)
        folder = Path(own) if own else tmp_path / f"run{jobs}"
        folder.mkdir(exist_ok=True)
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONFIG_FOLDER)):
            overrides = [o for o in overrides if not o.startswith("hydra.") or o.startswith("hydra.searchpath=")]
            config = compose("train", [*overrides, f"hydra.runtime.output_dir={folder}"], return_hydra_config=True)
        config.hydra.overrides.task = overrides
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config.hydra
        run(config)
        return folder

    yield run_arguments
    GlobalHydra.instance().clear()


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """Runs `python train.py ARGUMENTS` in a process and a folder of its own."""

    def run_arguments(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run_arguments
