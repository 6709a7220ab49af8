"""What prunes a trial, and what a pruned one is called."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException

from paperzoo.config import instantiate
from paperzoo.errors import UserError

PRUNED = "pruned"
"""What a job of a pruned trial returns, its state, and the attribute of the trial that says so."""


class PrunedError(Exception):
    """The trial of this run was pruned: it promises less than the others."""


def pruner_of(node: Mapping[str, Any] | None) -> Any:
    """Optuna's pruner that a config describes; None for none.

    Raises:
        UserError: it refuses its arguments.
    """
    if not node:
        return None
    try:
        return instantiate(dict(node), "pruner")
    except (InstantiationException, ValueError, TypeError) as error:
        raise UserError(f"pruner: {str(error.__cause__ or error).splitlines()[0]}") from error
