"""The study of a search: what it optimises, and what it is called."""

from collections.abc import Sequence
from typing import Literal

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from paperzoo.config import class_of, plain
from paperzoo.errors import UserError
from paperzoo.module import PaperModule
from paperzoo.reporting.results import Objective
from paperzoo.runner.folder import LENGTHS, STORAGE, identity, quoted
from paperzoo.runner.job import Job
from paperzoo.runner.objective import judged_by
from paperzoo.runner.pruned import pruner_of
from paperzoo.runner.storage import SEARCH, storage_of

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}


def settle_study(config: DictConfig, space: Sequence[str], jobs: Sequence[Job]) -> None:
    """Gives Optuna what the jobs say: the direction, the study's name and its database.

    Args:
        config: of the multirun, as Hydra composed it; the sweeper will be made of it.
        space: what is varied, as it was written.
        jobs: those that are known.

    Raises:
        UserError: the jobs optimise different things, or in another direction, or are a mean over no list; the pruner
            refuses its arguments, or has nothing to see; the database cannot be reached, or is not known any more.
    """
    from hydra.core.plugins import Plugins

    from paperzoo.runner.searching import Search, averaged

    sweeper = config.hydra.sweeper
    objective = _objective(jobs)
    typed = {override.partition("=")[0] for override in config.hydra.overrides.hydra}
    direction = DIRECTIONS[objective.direction]
    said = str(getattr(sweeper.direction, "name", sweeper.direction))
    is_default = said == "minimize" and "hydra.sweeper.direction" not in typed
    if said != direction and not is_default:
        raise UserError(
            f"hydra.sweeper.direction={said}: {objective.metric} is to be {direction}d, as the model, "
            "optimize_direction or the judge says; leave this key out"
        )
    if config.get("pruner") and config.get("judge"):
        raise UserError(
            "pruner: the judge speaks at the end of a training, so it prunes nothing; leave one out: '~pruner'"
        )
    averaged(config, space)
    pruner_of(plain(config.get("pruner")))
    storage = storage_of(config)
    Plugins.instance().register(Search)
    _set(config, "hydra.sweeper._target_", SEARCH)
    _set(config, "hydra.sweeper.direction", direction)
    _set(config, "hydra.sweeper.study_name", sweeper.study_name or _study_name(space, jobs, objective))
    _set(config, STORAGE, storage)
    if "hydra.sweeper.max_failure_rate" not in typed:
        _set(config, "hydra.sweeper.max_failure_rate", 1.0)  # a trial that fails is told, and does not end the search


def _set(config: DictConfig, key: str, value: str | float) -> None:
    """Gives a key of Hydra a value in the multirun's config and, by an override, in those of its jobs."""
    with read_write(config.hydra), open_dict(config.hydra):
        OmegaConf.update(config, key, value)
        config.hydra.overrides.hydra.append(f"{key}={quoted(value) if isinstance(value, str) else value}")


def _objective(jobs: Sequence[Job]) -> Objective:
    models = [class_of(job.settings["model"], PaperModule) for job in jobs]
    objectives = {judged_by(job.settings, model) for job, model in zip(jobs, models, strict=True) if model}
    if None in objectives:
        raise UserError("optimize: a search needs the metric that says which job is best: optimize=val/...")
    if len(objectives) > 1:
        told = ", ".join(sorted(f"{one.metric} ({one.direction})" for one in objectives if one))
        raise UserError(f"optimize: the jobs of this search would optimise different things: {told}; name one")
    (objective,) = objectives
    assert objective is not None
    return objective


def _study_name(space: Sequence[str], jobs: Sequence[Job], objective: Objective) -> str:
    """The same for searches of the same space with the same runs, and for no others."""
    settings = jobs[0].settings
    searched = {
        **settings,
        "lengths": [settings["trainer"].get(key.partition(".")[2]) for key in LENGTHS],
        "space": sorted(space),
        "objective": list(objective),
    }
    names = {job.name for job in jobs}
    return f"{names.pop() if len(names) == 1 else 'multirun'} {identity(searched)}"
