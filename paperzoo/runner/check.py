"""Everything that can be known to be wrong with a run before anything is built.

Types and ranges come from the annotations of the constructors (`levels: Annotated[int, Ge(1)]`), so a class says once
what it takes; what annotations cannot say, it says in its classmethod `check`.
"""

import difflib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from paperzoo.allowed import place_problems
from paperzoo.choices import MODES, SMOKE
from paperzoo.config import FACTS, T, adapter, class_of, find_target, placed, signature, special_key_problems
from paperzoo.datamodule import PaperData
from paperzoo.errors import UserError
from paperzoo.module import PaperModule
from paperzoo.reporting import results
from paperzoo.reporting.loggers import SUPPLIED as SUPPLIED_TO_LOGGERS
from paperzoo.runner.callbacks import SUPPLIED as SUPPLIED_TO_CALLBACKS
from paperzoo.runner.callbacks import SUPPLIED_TO_TRAINER
from paperzoo.runner.folder import differences, saved_settings
from paperzoo.runner.job import Job
from paperzoo.runner.judge import Judge

KEYS = {
    *("mode", "seed", "threads", "resume", "checkpoint", "optimize", "optimize_direction", "data_root", "weights"),
    *("output_root", "published", "measured", "model", "data", "trainer", "callbacks", "logger", "paper", "judge"),
    *("case", "average", "pruner"),
}
"""Of a run."""


def check(job: Job) -> None:
    """Finds everything that can be known to be wrong before anything is built.

    Raises:
        UserError: with all problems together.
    """
    settings = job.settings
    if settings["mode"] == "prepare":
        if problems := [*_run_problems(settings), *_section_problems(settings, "data", PaperData)]:
            raise UserError(*dict.fromkeys(problems))
        return
    problems = [
        *_run_problems(settings),
        *_sweep_problems(job),
        *results.problems(settings["published"], settings["measured"]),
    ]
    for section, base in (("model", PaperModule), ("data", PaperData), ("trainer", None)):
        problems += _section_problems(settings, section, base)
    if settings.get("judge"):
        problems += _section_problems(settings, "judge", Judge)
    if settings.get("pruner"):
        problems += _section_problems(settings, "pruner", None)
    for group, supplied in (("callbacks", SUPPLIED_TO_CALLBACKS), ("logger", SUPPLIED_TO_LOGGERS)):
        for name, node in (settings.get(group) or {}).items():
            if not isinstance(node, dict) or "_target_" not in node:
                problems.append(f"{group}.{name}: has no _target_; to switch it off: '~{group}.{name}'")
                continue
            problems += target_problems(node, f"{group}.{name}", supplied)
    problems += [*place_problems(settings, job.folder), *_average_problems(job)]
    problems += pair_problems(settings, job.choices)
    if not problems:
        problems += [*_weights_problems(settings), *_optimize_problems(settings)]
    if settings["resume"] and (saved := saved_settings(job.folder)):
        problems += [
            f"resume={settings['resume']}: this is not the run that was started; {change}"
            for change in differences(saved, settings)
        ]
    if problems:
        raise UserError(*dict.fromkeys(problems))


def _section_problems(settings: Mapping[str, Any], section: str, base: type | None) -> list[str]:
    node = settings.get(section)
    if not isinstance(node, dict) or "_target_" not in node:
        return [f"{section}: no {section} is configured; choose one with {section}=..."]
    if (problems := target_problems(node, section)) or base is None:
        return problems
    found: type | None = class_of(node, base)
    if found is None:
        return [f"{section}._target_={node['_target_']}: is not a {base.__name__}"]
    declared = {PaperModule: ("accepts", "objective"), PaperData: ("yields",), Judge: ("accepts", "metric")}[base]
    return [f"{section}._target_={node['_target_']}: declares no `{d}`" for d in declared if not hasattr(found, d)]


def _run_problems(settings: dict[str, Any]) -> Iterator[str]:
    mode, seed = settings["mode"], settings["seed"]
    if mode not in MODES:
        yield f"mode={mode}: should be one of {', '.join(MODES)}"
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        yield f"seed={seed}: should be a whole number from 0 to 4294967295"
    if settings["optimize_direction"] not in (None, "min", "max"):
        yield f"optimize_direction={settings['optimize_direction']}: should be min, max or null"
    if settings["weights"] not in (None, "best", "last"):
        yield f"weights={settings['weights']}: should be best, last or null"
    for name in set(SUPPLIED_TO_TRAINER) & (settings.get("trainer") or {}).keys():
        yield f"trainer.{name}: every run fills it in; callbacks= and logger= are groups of their own"
    threads = settings["threads"]
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        yield f"threads={threads}: should be a whole number from 1, or null"
    trainer = settings.get("trainer") or {}
    if mode == "train" and trainer.get("limit_train_batches") == 0:
        yield "trainer.limit_train_batches=0: leaves no batch to train with; 1.0 takes all of them, 10 takes ten"
    cores, ranks = max(2, os.cpu_count() or 1), trainer.get("devices")
    is_on_cpu = trainer.get("accelerator") == "cpu" or not torch.accelerator.is_available()
    if is_on_cpu and isinstance(ranks, int) and ranks > cores:
        yield f"trainer.devices={ranks}: that is as many processes, and this machine has {cores} CPU cores"
    if mode in ("test", "predict") and not settings["checkpoint"]:
        yield f"mode={mode} needs a trained model: checkpoint=<run folder or .ckpt file>"
    if mode in ("train", "estimate") and settings["checkpoint"]:
        yield "checkpoint= goes with mode=test or mode=predict; to continue a run: resume=<run folder>"
    if settings["resume"] and mode != "train":
        yield f"resume= continues a training; with mode={mode} use checkpoint="
    for key in settings.keys() - KEYS:
        yield f"{key}: not a key of a run; the keys are {', '.join(sorted(KEYS))}"


def _sweep_problems(job: Job) -> Iterator[str]:
    sweep, hydra = job.choices.get("sweep"), HydraConfig.get()
    is_of_a_job = hydra.output_subdir is None  # that is resumed, or of another process of it
    if sweep and hydra.mode is not RunMode.MULTIRUN and not is_of_a_job:
        yield f"sweep={sweep}: is for many runs, and this command starts one; type -m too: python train.py -m ..."


def _average_problems(job: Job) -> Iterator[str]:
    average: Any = job.settings.get("average")
    problems = results.average_problems(average)
    yield from problems
    for key in average["over"] if average and not problems else ():
        if key not in job.choices and not _has(job.settings, key):
            yield f"average.over={_shown(average['over'])}: there is no key '{key}' in the config"


def _has(settings: Any, key: str) -> bool:
    name, _, rest = key.partition(".")
    return isinstance(settings, Mapping) and name in settings and (not rest or _has(settings[name], rest))


def _weights_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    model = class_of(settings["model"], PaperModule)
    if model is not None and model.objective is None and settings["optimize"] is None and settings["weights"] == "best":
        yield "weights=best: this model has no metric that says which weights are best; name one with optimize="


def _optimize_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    model = class_of(settings["model"], PaperModule)
    metric: str | None = settings["optimize"] or (model.objective if model else None)
    if model is None or metric is None or not model.measures:
        return
    if metric != model.objective and model.measured_as(metric) is None:
        logged = [f"val/{name}" for name in model.measures]
        close = difflib.get_close_matches(metric, logged, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        yield f"optimize={metric}: the model's validation logs no such metric; {hint}It logs {', '.join(logged)}"
        return
    direction, said = model.direction(metric), settings["optimize_direction"]
    if direction is None and said is None:
        yield f"optimize_direction: say whether small or large values of {metric} are good: min or max"
    if direction and said and said != direction:
        good = {"min": "small", "max": "large"}[direction]
        yield f"optimize_direction={said}: {metric} is good when it is {good}; leave this key out"


def pair_problems(settings: Mapping[str, Any], choices: Mapping[str, str | None]) -> list[str]:
    """What keeps model and data, or the judge and the data, from going together."""
    if not all(isinstance(settings.get(section), dict) for section in ("model", "data")):
        return []
    model = class_of(settings["model"], PaperModule)
    data = class_of(settings["data"], PaperData)
    if not (model and data and hasattr(model, "accepts") and hasattr(data, "yields")):
        return []

    def taken(model: type[PaperModule]) -> tuple[type, ...]:
        return getattr(model, "accepts", ()) + (model.predicts if settings.get("mode") == "predict" else ())

    if data.yields not in taken(model):
        wanted = " or ".join(batch.__name__ for batch in taken(model))
        fitting = [name for name, c in _options("data", PaperData) if c.yields in taken(model)]
        takers = [name for name, c in _options("model", PaperModule) if data.yields in taken(c)]
        return [
            f"model '{choices['model']}' takes {wanted}, data '{choices['data']}' yields {data.yields.__name__}.\n"
            f"  data that fit: {', '.join(fitting) or 'none'}\n"
            f"  models that take {data.yields.__name__}: {', '.join(takers) or 'none'}"
        ]
    judge = class_of(settings.get("judge") or {}, Judge)
    if judge is not None and data.yields not in judge.accepts:
        fitting = [name for name, c in _options("data", PaperData) if c.yields in judge.accepts]
        return [
            f"judge={choices.get('judge')}: judges runs on {' or '.join(b.__name__ for b in judge.accepts)}, "
            f"data '{choices['data']}' yields {data.yields.__name__}; choose data={', data='.join(fitting)}"
        ]
    return []


def _options(group: str, base: type[T]) -> Iterator[tuple[str, type[T]]]:
    """Name and class of every option of a config group, in all folders that Hydra searches."""
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(source.path) / group for source in sources if source.schema == "file"]
    for path in sorted(p for folder in folders for p in folder.glob("*.yaml")):
        node = OmegaConf.load(path)
        if isinstance(node, DictConfig) and (found := class_of(node, base)):
            yield path.stem, found


def target_problems(node: dict[str, Any], key: str, supplied: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with a resolved node that has a `_target_`: arguments, types, ranges, facts, nested nodes.

    Args:
        node: the resolved node.
        key: where it stands in the config, for the messages.
        supplied: arguments that the program adds itself when it builds the node.
    """
    target = find_target(node["_target_"], key)
    if isinstance(target, str):
        return [target]
    if problems := special_key_problems(node, key):
        return problems
    arguments = {k: v for k, v in node.items() if k != SMOKE and not re.fullmatch(r"_[a-z]+_", k)}
    says_facts: Callable[..., dict[str, Any]] | None = getattr(target, FACTS, None)
    stated = arguments.pop(FACTS, {}) if says_facts else {}
    parameters, takes_any = signature(target)
    for name, value in arguments.items():
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, 1)
            hint = f"did you mean {key}.{close[0]}?" if close else f"it takes {', '.join(parameters)}"
            problems += [f"{key}.{name}: {_name(target)} has no argument '{name}'; {hint}"] if not takes_any else []
        elif nested := list(_nested_targets(value, f"{key}.{name}")):
            problems += [problem for where, child in nested for problem in target_problems(child, where)]
        elif (annotation := parameters[name].annotation) is not inspect.Parameter.empty:
            problems += [f"{key}.{name}={_shown(value)}: {what}" for what in _type_problems(annotation, value)]
    if not node.get("_partial_"):
        missing = [n for n, p in parameters.items() if p.is_needed and n not in arguments and n not in supplied]
        problems += [f"{key}.{name}: missing; {_name(target)} needs it" for name in missing]
    if not problems and hasattr(target, "check"):
        problems += [placed(problem, key, parameters) for problem in target.check(**arguments)]
    if not problems and says_facts:
        problems += [placed(problem, key, ()) for problem in _fact_problems(stated, says_facts(**arguments))]
    return problems


def _fact_problems(stated: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with what a node states of its data; `facts` are what the class says."""
    for name, value in stated.items():
        if name not in facts:
            yield f"{FACTS}.{name}: there is no such fact of these data; they are {', '.join(facts) or 'none'}"
            continue
        fact = list(facts[name]) if isinstance(facts[name], tuple) else facts[name]
        if value != fact:
            yield f"{FACTS}.{name}={_shown(value)}: it is {_shown(fact)} in these data; set that"


def _nested_targets(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield key, value
        else:
            for name, child in value.items():
                yield from _nested_targets(child, f"{key}.{name}")
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _nested_targets(child, f"{key}[{i}]")


def _type_problems(annotation: Any, value: Any) -> list[str]:
    try:
        checker = adapter(annotation)
    except (PydanticUserError, TypeError):
        return []  # an annotation that only a type checker understands
    try:
        checker.validate_json(json.dumps(value))  # JSON, so that a YAML list counts as a tuple
    except ValidationError as error:
        messages = (e["msg"].replace("Input should be", "should be") for e in error.errors())
        found = {message for message in messages if "instance" not in message}  # a config holds values, not instances
        return [" or ".join(sorted(found)) or "has the wrong type"]
    return []


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", str(target))
