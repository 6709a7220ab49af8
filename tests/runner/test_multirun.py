"""Multiruns: all jobs checked before the first, each failure recorded, what a search optimises, what is resumed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import paperzoo.runner.run
from paperzoo.choices import QUIET
from paperzoo.cli import CONFIG_FOLDER
from paperzoo.errors import UserError
from paperzoo.reporting.sweep_jobs import read_jobs
from paperzoo.runner.folder import MULTIRUN, overrides_to_resume
from paperzoo.runner.multirun import Multirun, run_job
from paperzoo.runner.planned import planned, settle_multirun
from tests.conftest import CommandLine

TINY = ("model=glow", "data=digits", "model.levels=2", "model.depth=1", "model.width=8", "trainer=smoke")
OPTUNA = {
    "_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
    "direction": "minimize",
    "storage": None,
    "study_name": None,
    "n_trials": 20,
    "max_failure_rate": 0.0,
    "params": None,
}

SEARCH = "hydra/sweeper=like_optuna"
ConfigStore.instance().store(group="hydra/sweeper", name="like_optuna", node=OPTUNA)

Compose = Callable[..., DictConfig]


@pytest.fixture
def multirun(tmp_path: Path) -> Any:
    """The config of a multirun of these overrides, as Hydra gives it to callbacks and sweepers."""

    def composed(*overrides: str) -> DictConfig:
        GlobalHydra.instance().clear()
        initialize_config_dir(str(CONFIG_FOLDER))
        typed = [f"hydra.sweep.dir={tmp_path}/sweep", *(o for o in overrides if o.startswith("hydra"))]
        task = [override for override in overrides if override not in typed]
        fixed = [override for override in task if not re.search(r"=.*[,(]", override)]
        config = compose("train", [*fixed, *typed], return_hydra_config=True)
        for node in (config.hydra, config.hydra.runtime, config.hydra.job):
            OmegaConf.set_readonly(node, False)
            OmegaConf.set_struct(node, False)
        config.hydra.overrides.task, config.hydra.overrides.hydra = task, typed
        config.hydra.mode = RunMode.MULTIRUN
        HydraConfig.instance().set_config(config)
        return config

    yield composed
    GlobalHydra.instance().clear()


def test_the_jobs_of_a_grid_are_known(multirun: Compose) -> None:
    plan = planned(multirun("model=glow", "seed=0,1", "model.depth=1,2"))
    assert [job[-2:] for job in plan.jobs] == [
        ["seed=0", "model.depth=1"],
        ["seed=0", "model.depth=2"],
        ["seed=1", "model.depth=1"],
        ["seed=1", "model.depth=2"],
    ]


def test_of_a_search_the_ends_of_the_space_are_known(multirun: Compose) -> None:
    plan = planned(multirun("seed=choice(0,1,2)", "model.depth=int(interval(1,4))", "model.width=range(8,64)", SEARCH))
    assert plan.is_search
    assert plan.jobs == [
        ["seed=0", "model.depth=1", "model.width=8"],
        ["seed=1", "model.depth=1", "model.width=8"],
        ["seed=2", "model.depth=1", "model.width=8"],
        ["seed=0", "model.depth=4", "model.width=8"],
        ["seed=0", "model.depth=1", "model.width=63"],
    ]


def test_an_interval_needs_a_search(multirun: Compose) -> None:
    with pytest.raises(UserError, match="only a search takes values of it"):
        planned(multirun("model.optimizer.lr=interval(1e-4,1e-2)"))


def test_a_mistake_in_one_job_is_found_before_any_starts(
    multirun: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = multirun(*TINY, "seed=0,-1", "model.optimizer.lr=1e-3,fast", "model.n_bits=9")
    before = HydraConfig.instance().cfg
    with pytest.raises(SystemExit) as stop:
        Multirun().on_multirun_start(config)
    assert stop.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert "paperzoo: jobs 2, 3: seed=-1: should be a whole number from 0 to 4294967295" in told
    assert "paperzoo: jobs 1, 3: model.optimizer.lr=fast: should be a valid number" in told
    assert any(line.startswith("paperzoo: model.n_bits=9:") for line in told)  # of all jobs
    assert told[-1] == "paperzoo: no job was started"
    assert HydraConfig.instance().cfg is before
    assert not (tmp_path / "sweep").exists()


def test_what_was_typed_is_kept_for_resuming(multirun: Compose, tmp_path: Path) -> None:
    Multirun().on_multirun_start(multirun(*TINY, "seed=0,1", "hydra/launcher=basic"))
    folder = tmp_path / "sweep"
    assert yaml.safe_load((folder / MULTIRUN).read_text()) == ["hydra/launcher=basic", *TINY, "seed=0,1"]
    arguments = overrides_to_resume(folder)
    assert arguments[0] == "--multirun"
    assert arguments[-1] == f'hydra.sweep.dir="{folder}"'


# What a search optimises


def study(config: DictConfig) -> tuple[str, str, str]:
    settle_multirun(config)
    sweeper = config.hydra.sweeper
    return sweeper.direction, sweeper.study_name, sweeper.storage


def test_the_direction_of_a_search_is_that_of_the_model(multirun: Compose, tmp_path: Path) -> None:
    small, _, storage = study(multirun(*TINY, "seed=choice(0,1)", SEARCH))
    large, _, _ = study(multirun("experiment=dann/moons", "seed=choice(0,1)", SEARCH))
    other, _, _ = study(multirun(*TINY, "optimize=val/accuracy", "seed=choice(0,1)", SEARCH))
    assert (small, large, other) == ("minimize", "maximize", "maximize")
    assert storage == f"sqlite:///{tmp_path}/sweep/study.db"


def test_jobs_and_sweeper_agree_on_what_was_settled(multirun: Compose) -> None:
    config = multirun("experiment=dann/moons", "seed=choice(0,1)", SEARCH)
    direction, name, storage = study(config)
    typed = config.hydra.overrides.hydra
    assert f'hydra.sweeper.direction="{direction}"' in typed
    assert f'hydra.sweeper.study_name="{name}"' in typed
    assert f'hydra.sweeper.storage="{storage}"' in typed
    assert "hydra.sweeper.max_failure_rate=1.0" in typed


@pytest.mark.parametrize(("preset", "said"), [("dann/moons", "minimize"), ("glow/digits_laptop", "maximize")])
def test_a_direction_that_contradicts_the_model_is_refused(preset: str, said: str, multirun: Compose) -> None:
    with pytest.raises(UserError, match=f"hydra.sweeper.direction={said}: val/.* is to be"):
        study(multirun(f"experiment={preset}", "seed=choice(0,1)", SEARCH, f"hydra.sweeper.direction={said}"))


def test_jobs_that_optimise_different_things_are_no_search(multirun: Compose) -> None:
    space = "experiment=choice(glow/digits_laptop,dann/moons)"
    with pytest.raises(UserError, match=r"different things: val/accuracy_source \(max\), val/bits_per_dim \(min\)"):
        study(multirun(space, SEARCH))


def test_a_study_is_named_by_what_is_searched(multirun: Compose) -> None:
    def name(*more: str, space: str = "seed=choice(0,1)") -> str:
        return study(multirun(*TINY, space, *more, SEARCH))[1]

    first = name()
    assert first.startswith("glow/digits ")
    assert name("threads=1", "trainer.enable_progress_bar=false") == first
    others = [name("model.depth=2"), name("trainer.max_epochs=3"), name(space="seed=choice(0,1,2)")]
    assert len({first, *others}) == 4


def test_a_sweep_through_keys_that_the_model_has_not_is_refused_with_those_that_fit(multirun: Compose) -> None:
    space = ("hydra.sweeper.params={model.depth:'choice(4,6)',model.levels:'choice(2,3)'}", SEARCH)
    config = multirun("experiment=neurosat/sr_u3_10_laptop", *space)
    config.hydra.runtime.choices.sweep = "glow"
    with pytest.raises(UserError) as caught:
        settle_multirun(config)
    (told,) = caught.value.problems
    assert told.startswith("sweep=glow: goes through model.depth, model.levels, which model=neurosat has not; ")
    assert told.endswith("sweeps that fit: neurosat, optimizer")
    assert planned(multirun("experiment=glow/digits_laptop", *space)).is_search


def test_a_key_that_there_is_not_is_told_in_words(multirun: Compose) -> None:
    with pytest.raises(UserError, match=r"job 0: model.levls=1: there is no such key; did you mean model.levels\?"):
        settle_multirun(multirun(*TINY, "model.levls=1,2"))


def test_a_pruner_needs_a_search_and_a_metric_on_the_way(multirun: Compose) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(UserError, match="pruner: stops trials of a search, and this is none"):
        settle_multirun(multirun(*TINY, "seed=0,1", "pruner=median"))
    with pytest.raises(UserError, match="pruner: the judge speaks at the end of a training"):
        settle_multirun(multirun("experiment=dann/moons", "judge=reverse_validation", "pruner=median", SEARCH))
    with pytest.raises(
        UserError, match=r"seed=int\(interval\(0,3\)\): a trial is the mean over the values of this key"
    ):
        settle_multirun(multirun(*TINY, "seed=int(interval(0,3))", SEARCH))
    with pytest.raises(UserError, match=r"^pruner: Number of startup trials cannot be negative"):
        settle_multirun(multirun(*TINY, "pruner=median", "pruner.n_startup_trials=-1", SEARCH))


SEARCHES = [path for path in (CONFIG_FOLDER / "sweep").glob("*.yaml") if "sweeper: optuna" in path.read_text()]


@pytest.mark.parametrize("path", SEARCHES, ids=[path.stem for path in SEARCHES])
def test_the_ends_of_a_search_space_can_be_run_with_the_preset_of_its_head(path: Path, multirun: Compose) -> None:
    pytest.importorskip("optuna")
    (preset,) = set(re.findall(r"experiment=\S+", path.read_text()))
    config = multirun(preset, f"sweep={path.stem}", "hydra.mode=MULTIRUN")
    try:
        settle_multirun(config)
    except UserError as error:
        assert all("cannot be downloaded" in problem for problem in error.problems)
        return
    assert config.hydra.sweeper._target_ == "paperzoo.runner.searching.Search"
    assert len(planned(config).space) == len(config.hydra.sweeper.params)


# Jobs that fail


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (UserError("seed=-1: no", "x=2: no"), "refused", "job 3: seed=-1: no\npaperzoo: job 3: x=2: no"),
        (KeyError("x"), "failed", "job 3: KeyError: 'x' (the traceback is in "),
    ],
)
def test_a_job_that_fails_is_recorded_and_ends_nothing(
    error: Exception,
    state: str,
    told: str,
    multirun: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(config: DictConfig) -> float:
        raise error

    config = multirun("seed=-1")
    config.hydra.runtime.output_dir, config.hydra.job.num = str(tmp_path / "3"), 3
    HydraConfig.instance().set_config(config)
    monkeypatch.setattr(paperzoo.runner.run, "run", fail)
    assert run_job(config) is None
    (job,) = read_jobs(tmp_path)
    assert (job.state, job.overrides) == (state, {"seed": "-1"})
    printed = capsys.readouterr().err
    assert told in printed
    assert "Traceback" not in printed
    assert (tmp_path / "3" / "traceback.txt").exists() == (state == "failed")
    monkeypatch.setattr(paperzoo.runner.run, "run", lambda config: 0.5)
    assert run_job(config) == 0.5
    assert not list((tmp_path / "3").iterdir())


def test_a_multirun_without_a_job_leaves_nothing(multirun: Compose, tmp_path: Path) -> None:
    Multirun().on_multirun_end(multirun("seed=0,1"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_failed_jobs_are_told_in_the_end_and_resuming_runs_what_is_missing(
    command_line: CommandLine, tmp_path: Path
) -> None:
    result = command_line("-m", *TINY, *QUIET, "model.optimizer.lr=1e-3,1e30", "hydra.sweep.dir=sweep")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "glow/digits: 2 jobs, 1 finished, 1 failed" in result.stdout
    assert "became NaN or infinite" in result.stdout
    finished = tmp_path / "sweep" / "0" / "summary.json"
    before = finished.stat().st_mtime_ns
    resumed = command_line("resume=sweep", "model.optimizer.lr=1e-3,2e-3")
    assert resumed.returncode == 0, resumed.stderr
    assert finished.stat().st_mtime_ns == before
    assert "nothing to do" in resumed.stdout
    assert json.loads((tmp_path / "sweep" / "1" / "summary.json").read_text())["status"] == "finished"
    assert (tmp_path / "sweep" / "sweep.html").is_file()
