"""Optuna's search, as a sweeper of Hydra: trials that are means over jobs, that are pruned, and that go on."""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from paperzoo.config import plain
from paperzoo.errors import UserError, report_user_error
from paperzoo.files import write_text
from paperzoo.reporting.sweep_jobs import SEEDS
from paperzoo.runner.pruned import PRUNED, pruner_of
from paperzoo.runner.storage import open_study
from paperzoo.runner.trial import place_of_job

FOLDER = "folder"  # the attribute of a trial that says in which search's folder its jobs lie
RESULTS = "optimization_results.yaml"


class Search(OptunaSweeper):
    """The Optuna sweeper of Hydra (`hydra/sweeper=optuna`) with another loop over its trials.

    - `n_trials` is how many the study has in the end, those of earlier starts and of other machines with it.
    - Trials that were stopped or killed in this folder go on in theirs.
    - What the jobs of one published number differ in (`average`, else the seed) is not searched: a trial runs all of
      them, and is worth their mean.
    - A trial whose first job is told to stop by the study's pruner is recorded as pruned.
    """

    def sweep(self, arguments: list[str]) -> None:
        """Makes the trials that are missing.

        Args:
            arguments: the overrides of the jobs, those that say what is searched among them.
        """
        sweeper, config = self.sweeper, self.sweeper.config
        params = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
        lines, runs = averaged(config, [*params, *arguments])
        space, fixed, deleted = create_params_from_overrides(lines)
        space = {name: values for name, values in space.items() if name not in fixed}
        others = [*(f"{name}={value}" for name, value in fixed.items()), *deleted]
        wanted = self._for_a_grid(space)
        pruner = pruner_of(plain(config.get("pruner")))
        study = open_study(sweeper.storage, sweeper.study_name, sweeper.sampler, pruner, str(sweeper.direction))
        folder = str(Path(config.hydra.sweep.dir).resolve())
        stopped = [
            optuna.trial.Trial(study, trial._trial_id)
            for trial in study.get_trials(states=[TrialState.RUNNING])
            if trial.user_attrs.get(FOLDER) == folder
        ]
        batches = iter(_batches(stopped, sweeper.n_jobs))
        print(_opening(study, wanted, len(stopped)))
        while trials := next(batches, None) or self._asked(study, space, wanted, folder):
            jobs = [[*_texts(trial), *others] for trial in trials]
            if self._failed(study, trials, self._launched(trials, jobs, runs)) > sweeper.max_failure_rate * len(trials):
                told = f"hydra.sweeper.max_failure_rate={sweeper.max_failure_rate}: more trials failed; the search ends"
                report_user_error(UserError(told))
                break
        _write_best(study, Path(folder))

    def _for_a_grid(self, space: dict[str, Any]) -> int:
        """The number of trials; of a grid no more than it has, and its sampler made."""
        sampler, wanted = self.sweeper.sampler, int(self.sweeper.n_trials)
        if not (isinstance(sampler, functools.partial) and sampler.func is optuna.samplers.GridSampler):
            return wanted
        grid = {name: self.sweeper._to_grid_sampler_choices(values) for name, values in space.items()}
        self.sweeper.sampler = sampler(grid)
        return min(wanted, math.prod(len(values) for values in grid.values()))

    def _asked(self, study: Any, space: dict[str, Any], wanted: int, folder: str) -> list[Any]:
        begun = len(study.get_trials(deepcopy=False))
        trials = [study.ask(space) for _ in range(min(wanted - begun, self.sweeper.n_jobs))]
        for trial in trials:
            trial.set_user_attr(FOLDER, folder)
        return trials

    def _launched(
        self, trials: Sequence[Any], jobs: Sequence[Sequence[str]], runs: Sequence[Sequence[str]]
    ) -> list[list[JobReturn]]:
        """What the jobs of each trial returned."""
        overrides = [
            [*job, *run, f"hydra.sweep.subdir={place_of_job(trial.number, number, len(runs))}"]
            for trial, job in zip(trials, jobs, strict=True)
            for number, run in enumerate(runs)
        ]
        returned = self.sweeper.launcher.launch(overrides, initial_job_idx=trials[0].number * len(runs))
        return _batches(returned, len(runs))

    def _failed(self, study: Any, trials: Sequence[Any], returned: Iterable[Sequence[JobReturn]]) -> int:
        """Tells the study what became of these trials; returns how many failed."""
        failed = 0
        for trial, jobs in zip(trials, returned, strict=True):
            values: list[Any] = [job.return_value if job.status is JobStatus.COMPLETED else None for job in jobs]
            with suppress(RuntimeError):  # a grid that is complete would stop a loop of Optuna's own
                if PRUNED in values:
                    study.tell(trial, state=TrialState.PRUNED)
                elif None in values or not all(map(math.isfinite, values)):
                    study.tell(trial, state=TrialState.FAIL)
                    failed += 1
                else:
                    study.tell(trial, fmean(values))
        return failed


def averaged(config: DictConfig, lines: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The overrides that are searched or fixed, and those of each job that a trial is the mean of.

    Args:
        config: of the multirun.
        lines: the overrides; of several with one key the last one counts.

    Raises:
        UserError: what is averaged over has no list of values.
    """
    average = plain(config.average) if config.average else SEEDS
    over = [] if average.get("choose") else average["over"]
    overrides = {o.get_key_element(): o for o in OverridesParser.create().parse_overrides(list(lines))}
    swept = {key: o for key, o in overrides.items() if key in over and o.is_sweep_override()}
    if wide := [o.input_line for o in swept.values() if not o.is_discrete_sweep()]:
        raise UserError(*(f"{line}: a trial is the mean over the values of this key; list them" for line in wide))
    values = [[f"{key}={text}" for text in o.sweep_string_iterator()] for key, o in swept.items()]
    rest = [str(o.input_line) for key, o in overrides.items() if key not in swept]
    return rest, [list(run) for run in itertools.product(*values)]


def _batches(items: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def _texts(trial: Any) -> list[str]:
    return [f"{name}={value}" for name, value in trial.params.items()]


def _opening(study: Any, wanted: int, stopped: int) -> str:
    begun = len(study.get_trials(deepcopy=False))
    going_on = f", {stopped} of them stopped here and going on" if stopped else ""
    done = "; for more: hydra.sweeper.n_trials=NUMBER" if begun >= wanted and not stopped else ""
    return f"search {study.study_name}: {wanted} trials, {begun} begun before{going_on}{done}"


def _write_best(study: Any, folder: Path) -> None:
    """Leaves the values of the best trial, as Hydra's sweeper does; nothing without one."""
    if study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        best = {"name": "optuna", "best_params": study.best_params, "best_value": study.best_value}
        write_text(folder / RESULTS, OmegaConf.to_yaml(OmegaConf.create(best)))
