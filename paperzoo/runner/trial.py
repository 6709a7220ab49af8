"""A trial of a search, seen from a job of it: what the job tells the study, and whether it is to stop.

Jobs run in the process of the search, in others of the machine or on a cluster. What they know of their trial is the
storage and the name of the study, which every job's config holds, and the trial's number, after which its folder is
called.
"""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hydra.types import RunMode
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from paperzoo.runner.checkpoints import _on_any_rank
from paperzoo.runner.pruned import PRUNED, PrunedError, pruner_of
from paperzoo.runner.storage import SEARCH, open_study

log = logging.getLogger(__name__)

T = TypeVar("T")


def place_of_job(trial: int, run: int, runs: int) -> str:
    """The folder of a job below that of its search.

    Args:
        trial: its number.
        run: the number of the job among those that the trial is the mean of.
        runs: how many these are.
    """
    return str(trial) if runs == 1 else f"{trial}/{run}"


class JobTrial:
    """The trial that a job is of. Whatever happens to the study's storage, the training goes on.

    Of several jobs of one trial the first one reports, and what it comes to holds for all.

    Args:
        hydra: of the job.
        pruner: the config's `pruner`; None prunes nothing.
    """

    def __init__(self, hydra: Any, pruner: Mapping[str, Any] | None) -> None:
        number, _, run = str(hydra.sweep.subdir).partition("/")
        self.number = int(number)
        self._reports = run in ("", "0")
        self._hydra, self._pruner = hydra, pruner
        self._is_lost = False
        self._trial: Any = None

    def report(self, value: float, validation: int) -> None:
        """Tells the study what the objective is after a validation, counted from 1; marks a trial that is to stop."""

        def tell() -> None:
            trial = self._opened()
            trial.report(value, validation)
            if trial.should_prune():
                trial.set_user_attr(PRUNED, validation)

        if self._reports and self._pruner and math.isfinite(value):
            self._safely(tell, None)

    def is_pruned(self) -> bool:
        """Whether the trial is marked as one to stop."""

        def is_marked() -> bool:
            trials = self._opened().study.get_trials(deepcopy=False)  # the trial itself remembers what it was
            return PRUNED in trials[self.number].user_attrs

        return bool(self._pruner) and self._safely(is_marked, False)

    def _opened(self) -> Any:
        if self._trial is None:
            import optuna

            sweeper = self._hydra.sweeper
            study = open_study(
                sweeper.storage, sweeper.study_name, optuna.samplers.RandomSampler(), pruner_of(self._pruner)
            )
            self._trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[self.number]._trial_id)
        return self._trial

    def _safely(self, action: Callable[[], T], otherwise: T) -> T:
        if self._is_lost:
            return otherwise
        try:
            return action()
        except Exception as error:  # a week of training must survive a database
            self._is_lost = True
            log.warning("the study is lost (%s: %s): this run is not pruned", type(error).__name__, error)
            return otherwise


def trial_of(hydra: Any, pruner: Mapping[str, Any] | None) -> JobTrial | None:
    """The trial that this job is of; None if it is no job of a search.

    Args:
        hydra: of the job.
        pruner: the config's `pruner`.
    """
    is_of_search = hydra.mode is RunMode.MULTIRUN and hydra.sweeper.get("_target_") == SEARCH
    return JobTrial(hydra, pruner) if is_of_search else None


class Pruning(Callback):
    """Reports the objective to the trial of a search after each validation, and stops the training if that is pruned.

    In every run, with a trial or without one, as the processes of a run on several devices stop together.

    Args:
        trial: of the job; None in a run that is of none, and in all processes of a job but the first.
        monitor: the metric that is reported.
    """

    def __init__(self, trial: JobTrial | None, monitor: str | None) -> None:
        self.trial, self._monitor = trial, monitor
        self._validations = 0
        self._pruned_by: str | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def refuse_pruned(self) -> None:
        """Says that the training was stopped, once it has ended.

        Raises:
            PrunedError: it was.
        """
        if self._pruned_by:
            raise PrunedError(self._pruned_by)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn is not TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validations += 1
        value = float(trainer.callback_metrics.get(self._monitor or "", math.nan))
        if self.trial:
            self.trial.report(value, self._validations)
        is_pruned = self.trial is not None and not _is_over(trainer) and self.trial.is_pruned()
        if _on_any_rank(trainer, is_pruned):
            trainer.should_stop = True
            self._pruned_by = (
                f"pruned after validation {self._validations} ({self._monitor}={value:.4g}): other trials of this "
                "search were better by then"
            )


def _is_over(trainer: Trainer) -> bool:
    """Whether there is nothing left of the training that stopping would save."""
    steps = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    epochs = trainer.max_epochs not in (None, -1) and trainer.current_epoch + 1 >= trainer.max_epochs
    return trainer.should_stop or steps or (epochs and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)
