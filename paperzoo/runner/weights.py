"""Trained weights: given to a model that meets other data, and to one that stands on another run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from paperzoo.batches import Names
from paperzoo.config import class_of, instantiate
from paperzoo.errors import UserError
from paperzoo.module import PaperModule
from paperzoo.runner.folder import PROVENANCE, find_checkpoint, provenance_of, read_checkpoint


def load_model(name: str) -> PaperModule:
    """A trained model with its names, in evaluation mode, for another one that stands on it.

    Random streams are as they were before.

    Args:
        name: a run folder or a checkpoint.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = find_checkpoint(Path(name))
    checkpoint = read_checkpoint(path)
    model = provenance_of(checkpoint, path)["config"].get("model")
    if not isinstance(model, dict) or class_of(model, PaperModule) is None:
        raise UserError(f"checkpoint {path}: holds no model of paperzoo")
    with torch.random.fork_rng(devices=()):
        module: PaperModule = instantiate(model, "model")
    give_weights(module, checkpoint, path)
    module.names = Names.from_plain(checkpoint[PROVENANCE]["names"])
    return module.eval()


def load_weights(module: PaperModule, path: Path) -> None:
    """Gives `module` the weights of a checkpoint, which must have been trained on data that mean the same.

    The names that the data do not say are those of the training.

    Raises:
        UserError: the weights are those of another architecture, or were trained on data with other names.
    """
    checkpoint = read_checkpoint(path)
    give_weights(module, checkpoint, path)
    trained = Names.from_plain(checkpoint[PROVENANCE]["names"])
    problems = list(_name_problems(module, trained))
    if problems:
        raise UserError(*(f"checkpoint {path}: {problem}" for problem in problems))
    module.names = module.names.completed(trained)


def give_weights(module: PaperModule, checkpoint: dict[str, Any], path: Path) -> None:
    """Gives `module` the weights of what `read_checkpoint` read from `path`.

    Raises:
        UserError: the weights are those of another architecture.
    """
    try:
        module.load_state_dict(checkpoint["state_dict"])
        module.on_load_checkpoint(checkpoint)
    except (RuntimeError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise UserError(f"checkpoint {path}: its weights do not fit this model: {' '.join(lines)[:400]}") from error


def _name_problems(module: PaperModule, trained: Names) -> Iterator[str]:
    for field in module.learned_names:
        then, now = getattr(trained, field), getattr(module.names, field)
        if then and now and then != now:
            yield f"was trained on the {field} {', '.join(then)}; those of the data are {', '.join(now)}"
