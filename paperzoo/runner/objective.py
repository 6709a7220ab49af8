"""What a run optimises, what chooses its weights, and what compares it with others."""

from collections.abc import Mapping
from typing import Any

from paperzoo.config import class_of
from paperzoo.module import Direction, PaperModule, Tested
from paperzoo.reporting.results import Objective
from paperzoo.runner.job import Job
from paperzoo.runner.judge import Judge


def objective(settings: Mapping[str, Any], model: type[PaperModule]) -> tuple[str | None, Direction]:
    """The metric that chooses `best.ckpt`, None for none, and whether small or large values of it are good."""
    metric = settings["optimize"] or model.objective
    return metric, settings["optimize_direction"] or model.direction(metric) or model.objective_direction


def tested(job: Job, module: PaperModule) -> Tested:
    """The weights that a training tests in the end."""
    metric, _ = objective(job.settings, type(module))
    return "last" if metric is None else job.settings["weights"] or module.tested


def judged_by(settings: Mapping[str, Any], model: type[PaperModule]) -> Objective | None:
    """The metric that compares a run with others: what `run()` returns."""
    is_training = settings["mode"] == "train"
    judge = class_of(settings.get("judge") or {}, Judge)
    if judge and is_training:
        return Objective(judge.metric, judge.direction)
    metric, direction = objective(settings, model)
    if metric is None:
        return None
    return Objective(metric if is_training else f"test/{metric.partition('/')[2]}", direction)
