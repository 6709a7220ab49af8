"""The jobs of a multirun, known and checked before the first one starts; what a search optimises, and where it lies."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from paperzoo.config import class_of
from paperzoo.errors import UserError
from paperzoo.module import PaperModule
from paperzoo.reporting.results import Objective
from paperzoo.runner.check import check
from paperzoo.runner.ending import judged_by
from paperzoo.runner.folder import LENGTHS, has_begun, identity, quoted
from paperzoo.runner.job import Job
from paperzoo.runner.settle import settle

STUDY = "study.db"
DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}
SHOWN_JOBS = 8


@dataclass(frozen=True)
class Plan:
    """The jobs of a multirun as far as they are known.

    Attributes:
        jobs: the overrides of each: all of them, or of a search those at the ends of its space.
        is_search: whether the jobs are chosen while it runs.
        space: what is varied, as it was written.
    """

    jobs: Sequence[Sequence[str]]
    is_search: bool
    space: Sequence[str]


def settle_multirun(config: DictConfig) -> None:
    """Checks all jobs that are known, and names the study of a search.

    Args:
        config: of the multirun, as Hydra composed it; the sweeper will be made of it.

    Raises:
        UserError: with the problems of all jobs; jobs that optimise different things; a direction that is not theirs.
    """
    plan = planned(config)
    jobs = list(_checked(config, plan))
    if "optuna" in str(config.hydra.sweeper.get("_target_")):
        _settle_study(config, plan, jobs)


def planned(config: DictConfig) -> Plan:
    """The jobs that this multirun will start.

    Raises:
        UserError: an interval, of which only a search can take values.
    """
    params = config.hydra.sweeper.get("params") or {}
    lines = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = {override.get_key_element(): override for override in parser.parse_overrides(lines)}
    space = [str(o.input_line) for o in overrides.values() if o.is_sweep_override()]
    if not str(config.hydra.sweeper.get("_target_")).endswith("BasicSweeper"):
        return Plan(list(_ends(overrides.values())), True, space)
    if wide := [o for o in overrides.values() if o.is_sweep_override() and not o.is_discrete_sweep()]:
        raise UserError(*(f"{o.input_line}: only a search takes values of it: hydra/sweeper=optuna" for o in wide))
    (jobs,) = BasicSweeper.split_arguments(list(overrides.values()), None)
    return Plan(jobs, False, space)


def _ends(overrides: Iterable[Override]) -> Iterator[list[str]]:
    """A job at the first value of everything, and one for each other value that is an end or a choice."""
    values = [_values(override) for override in overrides]
    first = [texts[0] for texts in values]
    yield first
    for place, texts in enumerate(values):
        for text in texts[1:]:
            yield [*first[:place], text, *first[place + 1 :]]


def _values(override: Override) -> list[str]:
    key, sweep = override.get_key_element(), override.value()
    if isinstance(sweep, IntervalSweep):
        return [f"{key}={value}" for value in (sweep.start, sweep.end)]
    if not override.is_sweep_override():
        return [str(override.input_line)]
    texts = [f"{key}={text}" for text in override.sweep_string_iterator()]
    return texts if isinstance(sweep, ChoiceSweep) else [texts[0], texts[-1]]


def _checked(config: DictConfig, plan: Plan) -> Iterator[Job]:
    """Settles and checks each job; nothing is built.

    Raises:
        UserError: after the last one, with the problems of all.
    """
    problems: dict[str, list[int]] = {}
    surroundings = HydraConfig.instance().cfg
    try:
        for number, overrides in enumerate(plan.jobs):
            try:
                yield _job(config, overrides, number, resumes=not plan.is_search)
            except UserError as error:
                for problem in error.problems:
                    problems.setdefault(problem, []).append(number)
    finally:
        HydraConfig.instance().cfg = surroundings
    if problems:
        raise UserError(*(f"{_of(jobs, plan)}{problem}" for problem, jobs in problems.items()))


def _of(jobs: Sequence[int], plan: Plan) -> str:
    """Which of the jobs, in front of their problem; nothing where it is all of them, or where the key says it."""
    if plan.is_search or len(jobs) == len(plan.jobs):
        return ""
    shown = ", ".join(map(str, jobs[:SHOWN_JOBS]))
    return f"job{'s' if len(jobs) > 1 else ''} {shown}{' and others' if len(jobs) > SHOWN_JOBS else ''}: "


def _job(config: DictConfig, overrides: Sequence[str], number: int, *, resumes: bool) -> Job:
    """A job as it will be run; `resumes` what its folder has, if its number is the one that it will have.

    Raises:
        UserError: it would be refused.
    """
    try:
        composed = GlobalHydra.instance().config_loader().load_sweep_config(config, list(overrides))
    except ConfigCompositionException as error:
        raise UserError(str(error).splitlines()[0]) from error
    with read_write(composed.hydra), read_write(composed.hydra.job), open_dict(composed.hydra.job):
        composed.hydra.job.id, composed.hydra.job.num = str(number), number
    HydraConfig.instance().set_config(composed)
    folder = Path(composed.hydra.sweep.dir, str(composed.hydra.sweep.subdir)).resolve()
    with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
        composed.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(composed)
    task = copy.deepcopy(composed)
    with read_write(task), open_dict(task):
        del task["hydra"]
        if resumes and has_begun(folder):
            task.resume = str(folder)
    job = settle(task)
    check(job)
    return job


# A search


def _settle_study(config: DictConfig, plan: Plan, jobs: Sequence[Job]) -> None:
    """Gives Optuna what the jobs say: the direction, the study's name and its database, how many trials are left."""
    sweeper, folder = config.hydra.sweeper, Path(config.hydra.sweep.dir).resolve()
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
    _set(config, "hydra.sweeper.direction", direction)
    _set(config, "hydra.sweeper.study_name", sweeper.study_name or _study_name(plan, jobs, objective))
    _set(config, "hydra.sweeper.storage", sweeper.storage or f"sqlite:///{folder / STUDY}")
    if "hydra.sweeper.max_failure_rate" not in typed:
        _set(config, "hydra.sweeper.max_failure_rate", 1.0)  # a trial that fails is told, and does not end the search
    _go_on(config, folder)


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


def _study_name(plan: Plan, jobs: Sequence[Job], objective: Objective) -> str:
    """The same for searches of the same space with the same runs, and for no others."""
    settings = jobs[0].settings
    searched = {
        **settings,
        "lengths": [settings["trainer"].get(key.partition(".")[2]) for key in LENGTHS],
        "space": sorted(plan.space),
        "objective": list(objective),
    }
    names = {job.name for job in jobs}
    return f"{names.pop() if len(names) == 1 else 'multirun'} {identity(searched)}"


def _go_on(config: DictConfig, folder: Path) -> None:
    """Of a search that goes on in its folder: only the trials that are missing, in folders of their own."""
    numbers = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    if not numbers:
        return
    import optuna

    sweeper = config.hydra.sweeper
    study = optuna.create_study(study_name=sweeper.study_name, storage=sweeper.storage, load_if_exists=True)
    ended = sum(trial.state.is_finished() for trial in study.trials)
    _set(config, "hydra.sweeper.n_trials", max(0, sweeper.n_trials - ended))
    _set(config, "hydra.sweep.subdir", f"${{paperzoo.sum:${{hydra.job.num}},{max(numbers) + 1}}}")
