"""A search: trials that are means over jobs, that are pruned, that go on; where the study lies. With Optuna itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from paperzoo.choices import QUIET
from paperzoo.errors import UserError
from paperzoo.reporting.sweep_jobs import read_jobs
from paperzoo.runner.pruned import PRUNED, PrunedError
from paperzoo.runner.storage import SEARCH, open_storage, storage_of
from paperzoo.runner.trial import Pruning, trial_of
from tests.conftest import CommandLine
from tests.tiny_training import TinyData, tiny_model, tiny_trainer

optuna = pytest.importorskip("optuna")
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

from paperzoo.runner.searching import FOLDER, Search  # noqa: E402

COMPLETE, FAIL, WAS_PRUNED, RUNNING = (
    getattr(optuna.trial.TrialState, name) for name in ("COMPLETE", "FAIL", "PRUNED", "RUNNING")
)
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1}


class Launcher:
    """Runs nothing: what jobs return is what a function makes of their overrides."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.jobs: list[dict[str, str]] = []

    def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        jobs = [dict(override.split("=", 1) for override in job) for job in overrides]
        self.jobs += jobs
        returned = []
        for job in jobs:
            value = JobReturn(status=JobStatus.COMPLETED)
            value.return_value = self.result(job)
            returned.append(value)
        return returned


@pytest.fixture
def search(tmp_path: Path) -> Any:
    """Makes a search whose jobs come to what a function says of their overrides; returns what it launched."""

    def made(
        result: Any, n_trials: int, *arguments: str, folder: str = "sweep", n_jobs: int = 1
    ) -> list[dict[str, str]]:
        sweep = Search(
            sampler={"_target_": "optuna.samplers.TPESampler", "seed": 0},
            direction="minimize",
            storage=f"sqlite:///{tmp_path}/study.db",
            study_name="study",
            n_trials=n_trials,
            n_jobs=n_jobs,
            max_failure_rate=1.0,
            custom_search_space=None,
            params=OmegaConf.create({"model.depth": "choice(1,2,3)"}),
        )
        (tmp_path / folder).mkdir(exist_ok=True)
        launcher = Launcher(result)
        sweep.sweeper.launcher = launcher
        sweep.sweeper.config = OmegaConf.create(
            {"hydra": {"sweep": {"dir": str(tmp_path / folder)}}, "average": None, "pruner": None}
        )
        sweep.sweep(list(arguments))
        return launcher.jobs

    return made


@pytest.fixture
def study(tmp_path: Path) -> Any:
    return optuna.create_study(study_name="study", storage=f"sqlite:///{tmp_path}/study.db", load_if_exists=True)


def test_a_trial_is_worth_the_mean_over_its_seeds(search: Any, study: Any) -> None:
    jobs = search(lambda job: 10 * float(job["model.depth"]) + float(job["seed"]), 2, "seed=0,1", "model.width=8")
    assert [job["hydra.sweep.subdir"] for job in jobs] == ["0/0", "0/1", "1/0", "1/1"]
    assert [job["seed"] for job in jobs] == ["0", "1"] * 2
    assert {job["model.width"] for job in jobs} == {"8"}
    assert [trial.value for trial in study.trials] == [10 * trial.params["model.depth"] + 0.5 for trial in study.trials]


def test_pruned_and_failed_trials_are_recorded_as_such(search: Any, study: Any) -> None:
    results = iter([1.0, PRUNED, None, float("nan"), 2.0])
    jobs = search(lambda job: next(results), 5, n_jobs=2)
    assert [job["hydra.sweep.subdir"] for job in jobs] == ["0", "1", "2", "3", "4"]
    assert [trial.state for trial in study.trials] == [COMPLETE, WAS_PRUNED, FAIL, FAIL, COMPLETE]


def test_the_number_of_trials_is_that_of_the_study_whoever_made_them(search: Any, study: Any) -> None:
    assert len(search(lambda job: 1.0, 2)) == 2
    assert len(search(lambda job: 1.0, 5, folder="another_machine")) == 3
    assert search(lambda job: 1.0, 5) == []


def test_a_stopped_trial_goes_on_in_its_folder_and_those_of_others_are_left_alone(
    search: Any, study: Any, tmp_path: Path
) -> None:
    def stopped(job: dict[str, str]) -> float:
        if job["hydra.sweep.subdir"] == "1":
            raise SystemExit(143)
        return 1.0

    with pytest.raises(SystemExit):
        search(stopped, 4)
    elsewhere = study.ask({"model.depth": optuna.distributions.CategoricalDistribution([1, 2, 3])})
    elsewhere.set_user_attr(FOLDER, "/another/machine")
    values = study.trials[1].params
    jobs = search(lambda job: 2.0, 4)
    assert [job["hydra.sweep.subdir"] for job in jobs] == ["1", "3"]
    assert jobs[0]["model.depth"] == str(values["model.depth"])
    assert [trial.state for trial in study.trials] == [COMPLETE, COMPLETE, RUNNING, COMPLETE]


# Inside a job


@pytest.fixture
def job(tmp_path: Path, study: Any) -> Any:
    """The trial as a job in a folder of this name sees it, beside one that was better in its two validations."""
    better = optuna.trial.create_trial(value=-9.0, intermediate_values={1: -8.0, 2: -9.0}, params={}, distributions={})
    study.add_trial(better)
    study.ask()

    def seen(subdir: str, pruner: dict[str, Any] | None = MEDIAN) -> Any:
        sweeper = {"_target_": SEARCH, "storage": f"sqlite:///{tmp_path}/study.db", "study_name": "study"}
        sweep = SimpleNamespace(subdir=subdir)
        return trial_of(SimpleNamespace(mode=RunMode.MULTIRUN, sweep=sweep, sweeper=OmegaConf.create(sweeper)), pruner)

    return seen


def trained(trial: Any, folder: Path) -> Pruning:
    pruning = Pruning(trial, "val/loss")
    tiny_trainer(folder, pruning, max_epochs=3).fit(tiny_model(), TinyData())
    return pruning


def test_a_training_that_is_worse_than_the_others_stops_after_its_validation(
    job: Any, study: Any, tmp_path: Path
) -> None:
    with pytest.raises(PrunedError, match=r"pruned after validation 1 \(val/loss=1"):
        trained(job("1"), tmp_path).refuse_pruned()
    assert list(study.trials[1].intermediate_values) == [1]
    assert study.trials[1].user_attrs == {PRUNED: 1}


def test_the_other_jobs_of_a_pruned_trial_stop_and_report_nothing(job: Any, study: Any, tmp_path: Path) -> None:
    second = job("1/1")
    assert not second.is_pruned()
    job("1/0").report(5.0, 1)
    assert second.is_pruned()
    with pytest.raises(PrunedError):
        trained(second, tmp_path).refuse_pruned()
    assert study.trials[1].intermediate_values == {1: 5.0}


def test_without_a_pruner_or_without_a_search_nothing_stops(job: Any, study: Any, tmp_path: Path) -> None:
    for trial in (job("1", pruner=None), None):
        trained(trial, tmp_path / str(trial)).refuse_pruned()
    assert study.trials[1].intermediate_values == {}


def test_a_training_goes_on_without_its_study(job: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trial = job("1")
    (tmp_path / "study.db").write_bytes(b"damaged")
    trained(trial, tmp_path).refuse_pruned()
    assert caplog.text.count("the study is lost") == 1


# Where it lies


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    sweep = {"sweep": {"dir": str(tmp_path / "sweep")}, "sweeper": {"storage": None}}
    return OmegaConf.create({"hydra": sweep, "data_root": str(tmp_path / "data")})


def test_a_study_lies_in_its_folder_unless_said_otherwise(config: Any, tmp_path: Path) -> None:
    assert storage_of(config) == f"sqlite:///{tmp_path}/sweep/study.db"


def test_a_storage_that_was_typed_or_of_the_environment_is_known_when_the_search_goes_on(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/team.db"
    config.hydra.sweeper.storage = url
    storage_of(config)
    config.hydra.sweeper.storage = None
    assert storage_of(config) == url
    (note,) = (tmp_path / "data" / ".studies").iterdir()
    assert note.stat().st_mode & 0o077 == 0
    config.hydra.sweep.dir = str(tmp_path / "other")
    monkeypatch.setenv("OPTUNA_STORAGE", url)
    assert storage_of(config) == url


def test_a_search_from_another_machine_is_not_begun_anew(config: Any, tmp_path: Path) -> None:
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"resume=.*/sweep: its study is in a database that is not known here"):
        storage_of(config)


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg2://me:secret@127.0.0.1:1/db", "sqlite:////nowhere/study.db", "nonsense"],
    ids=["server", "file", "word"],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(url: str) -> None:
    with pytest.raises(UserError, match=r"^hydra.sweeper.storage: ") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


# As it is typed


def test_a_search_prunes_and_goes_on_where_it_was(command_line: CommandLine, tmp_path: Path) -> None:
    """The study has trials that are better than any; `resume=` finds it without its address."""
    url = f"sqlite:///{tmp_path}/team.db"
    study = optuna.create_study(study_name="team", storage=url)
    best = optuna.trial.create_trial(value=-9.0, intermediate_values={1: -9.0}, params={}, distributions={})
    study.add_trials([best] * 4)
    model = ("model=glow", "data=digits", "model.levels=2", "model.width=8", "trainer=smoke", "~callbacks.figures")
    length = ("trainer.max_steps=-1", "trainer.max_epochs=2", f"data_root={tmp_path}/data")
    space = ("sweep=glow", "model.depth=1", "pruner.n_warmup_steps=0")
    where = (f"hydra.sweeper.storage={url}", "hydra.sweeper.study_name=team", "hydra.sweep.dir=sweep")
    first = command_line("-m", *model, *QUIET, *length, *space, *where, "hydra.sweeper.n_trials=5")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "glow/digits: 1 job, 1 pruned" in first.stdout
    assert "what is missing" not in first.stdout
    (job,) = read_jobs(tmp_path / "sweep")
    assert (job.state, job.folder.name) == ("pruned", "4")
    assert "pruned after validation 1" in job.message
    assert study.trials[4].state is WAS_PRUNED
    assert study.trials[4].params.keys() == {
        "model.optimizer.lr",
        "model.warmup_steps",
        "model.coupling",
        "model.permutation",
    }

    second = command_line(
        "resume=sweep", "hydra.sweeper.n_trials=6", "pruner.n_startup_trials=9", f"data_root={tmp_path}/data"
    )
    assert second.returncode == 0, second.stdout + second.stderr
    assert "6 trials, 5 begun before" in second.stdout
    assert [job.state for job in read_jobs(tmp_path / "sweep")] == ["pruned", "finished"]
    assert [trial.state for trial in study.trials[4:]] == [WAS_PRUNED, COMPLETE]
