"""The jobs of a multirun, known and checked before the first one starts."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from paperzoo.errors import UserError
from paperzoo.refusals import refusal
from paperzoo.runner.check import check
from paperzoo.runner.folder import has_begun
from paperzoo.runner.job import Job
from paperzoo.runner.settle import settle
from paperzoo.runner.study import settle_study

SHOWN_JOBS = 8
ABSENT = object()  # null is a value


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
        settle_study(config, plan.space, jobs)
    elif config.get("pruner"):
        raise UserError("pruner: stops trials of a search, and this is none; add sweep=..., or leave pruner out")


def planned(config: DictConfig) -> Plan:
    """The jobs that this multirun will start.

    Raises:
        UserError: an interval, of which only a search can take values; a sweep through keys that the model has not.
    """
    params = config.hydra.sweeper.get("params") or {}
    refuse_unknown(config, params)
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


def refuse_unknown(config: DictConfig, params: Mapping[str, Any]) -> None:
    """Refuses what a sweep goes through and the config has not, with the sweeps that would fit.

    Raises:
        UserError: there is such a key.
    """
    unknown = [key for key in params if not _is_key(config, key)]
    if not unknown:
        return
    choices = config.hydra.runtime.choices
    sweep, model = choices.get("sweep"), choices.get("model")
    what = f"sweep={sweep}: goes" if sweep else "hydra.sweeper.params: go"
    fitting = [name for name, keys in _sweeps() if all(_is_key(config, key) for key in keys)]
    hint = f"; sweeps that fit: {', '.join(fitting)}" if fitting else ""
    raise UserError(f"{what} through {', '.join(unknown)}, which model={model} has not{hint}")


def _is_key(config: DictConfig, key: str) -> bool:
    is_added, is_choice = key.startswith(("+", "~")), key in config.hydra.runtime.choices
    if is_added or is_choice:
        return True
    found = OmegaConf.select(config, key, default=ABSENT, throw_on_resolution_failure=False)
    return found is not ABSENT


def _sweeps() -> Iterator[tuple[str, list[str]]]:
    """The searches among the options of `sweep`, with the keys that each goes through."""
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(source.path) / "sweep" for source in sources if source.schema == "file"]
    for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        if {"override /hydra/sweeper": "optuna"} in content.get("defaults", []):
            yield path.stem, list(content["hydra"]["sweeper"]["params"])


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
        options = GlobalHydra.instance().config_loader().get_group_options
        raise UserError(refusal(error, overrides, options)) from error
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
