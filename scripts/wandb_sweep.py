"""Writes the file of a W&B sweep through what `sweep=...` searches: `python scripts/wandb_sweep.py KEY=VALUE ...`.

    python scripts/wandb_sweep.py experiment=glow/digits_laptop sweep=glow
    wandb sweep wandb_sweep.yaml

The overrides are those of `python train.py -m`; values to choose from may be typed, 'model.width=choice(16,32)'.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from paperzoo.cli import CONFIG_FOLDER, complete_arguments, options
from paperzoo.config import class_of
from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error
from paperzoo.files import write_text
from paperzoo.module import PaperModule
from paperzoo.refusals import refusal
from paperzoo.reporting.sweep_jobs import SEEDS
from paperzoo.runner.check import check
from paperzoo.runner.job import Job
from paperzoo.runner.objective import judged_by
from paperzoo.runner.planned import refuse_unknown
from paperzoo.runner.settle import settle

METHODS = ("bayes", "random", "grid")
GOALS = {"min": "minimize", "max": "maximize"}
EARLY_STOP = {"type": "hyperband", "min_iter": 3, "eta": 3}  # the only one that W&B has; counts validations


def wandb_sweep(typed: Sequence[str], method: str) -> dict[str, Any]:
    """The content of the file.

    Args:
        typed: what would be typed after `python train.py -m`.
        method: bayes, random or grid.

    Raises:
        UserError: the runs would be refused; there is nothing to search, or what W&B cannot.
    """
    arguments = complete_arguments(list(typed))
    parsed = OverridesParser.create().parse_overrides(arguments)
    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    config, job = composed(fixed)
    space = {**(config.hydra.sweeper.get("params") or {})}
    refuse_unknown(config, space)
    for key in [str(o.key_or_group) for o in parsed]:
        space.pop(key, None)  # what was typed counts
    lines = [
        *(f"{key}={value}" for key, value in space.items()),
        *(str(o.input_line) for o in parsed if o.is_sweep_override()),
    ]
    if not lines:
        raise UserError("there is nothing to search: add sweep=..., or 'KEY=choice(1,2)'")
    model = class_of(job.settings["model"], PaperModule)
    objective = judged_by(job.settings, model) if model else None
    if objective is None:
        raise UserError("optimize: a search needs the metric that says which run is best: optimize=val/...")
    return {
        "name": job.name,
        "program": "train.py",
        "command": ["${env}", "${interpreter}", "${program}", *_command(fixed, job), "${args_no_hyphens}"],
        "method": method,
        "metric": {"name": objective.metric, "goal": GOALS[objective.direction]},
        "run_cap": int(config.hydra.sweeper.get("n_trials") or 0) or None,
        "early_terminate": EARLY_STOP if config.get("pruner") else None,
        "parameters": parameters(lines),
    }


def composed(fixed: Sequence[str]) -> tuple[Any, Job]:
    """The config of what is common to all runs, checked as one of them.

    Raises:
        UserError: it would be refused.
    """
    try:
        with initialize_config_dir(str(CONFIG_FOLDER)):
            config = compose(
                "train", [*fixed, "hydra.mode=MULTIRUN", "hydra.runtime.output_dir=."], return_hydra_config=True
            )
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(refusal(error, fixed, options)) from error
    with open_dict(config.hydra):
        config.hydra.overrides.task = list(fixed)
    HydraConfig.instance().set_config(config)
    task = config.copy()
    with open_dict(task):
        del task["hydra"]
    job = settle(task)
    check(job)
    return config, job


def _command(fixed: Sequence[str], job: Job) -> list[str]:
    """What each run is started with: without the sweep, but with the judge that it chose; in W&B."""
    typed = [argument for argument in fixed if not argument.startswith(("sweep=", "pruner", "hydra"))]
    keys = {argument.partition("=")[0] for argument in typed}
    judge = [f"judge={job.choices['judge']}"] if job.choices.get("judge") and "judge" not in keys else []
    return [*typed, *judge, *([] if "logger" in keys else ["logger=wandb"])]


def parameters(lines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """W&B's distributions for what is searched.

    Raises:
        UserError: W&B has none for it, or cannot name its key.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
    from optuna import distributions

    space, _, _ = create_params_from_overrides(list(lines))
    found: dict[str, dict[str, Any]] = {}
    for key, values in space.items():
        if key in SEEDS["over"]:
            raise UserError(f"{key}: W&B takes no means over runs; leave it out, or search with hydra/sweeper=optuna")
        if not key.replace(".", "").isidentifier():
            raise UserError(f"{key}: W&B takes keys of letters, digits and dots only; search with hydra/sweeper=optuna")
        is_choice = isinstance(values, distributions.CategoricalDistribution)
        bounds = {} if is_choice else {"min": values.low, "max": values.high}
        match values:
            case distributions.CategoricalDistribution():
                found[key] = {"values": list(values.choices)}
            case distributions.FloatDistribution(log=True):
                found[key] = {"distribution": "log_uniform_values", **bounds}
            case distributions.IntDistribution(log=True):
                found[key] = {"distribution": "q_log_uniform_values", "q": 1, **bounds}
            case distributions.FloatDistribution(step=None):
                found[key] = {"distribution": "uniform", **bounds}
            case distributions.IntDistribution(step=1):
                found[key] = {"distribution": "int_uniform", **bounds}
            case distributions.IntDistribution():
                found[key] = {"values": list(range(values.low, values.high + 1, values.step))}
            case _:
                found[key] = {"distribution": "q_uniform", "q": values.step, **bounds}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0] + ".")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="+", help="as for train.py -m, with sweep=...")
    parser.add_argument("--method", choices=METHODS, default="bayes", help="how W&B chooses; bayes unless told")
    parser.add_argument("--file", type=Path, default=Path("wandb_sweep.yaml"))
    arguments = parser.parse_args()
    try:
        content = wandb_sweep(arguments.overrides, arguments.method)
        known = {name: value for name, value in content.items() if value is not None}
        write_text(arguments.file, yaml.safe_dump(known, sort_keys=False))
    except UserError as error:
        report_user_error(error)
        return EXIT_USER_ERROR
    print(f"wrote {arguments.file}; begin it here: wandb sweep {arguments.file}, then the command that it prints")
    return 0


if __name__ == "__main__":
    sys.exit(main())
