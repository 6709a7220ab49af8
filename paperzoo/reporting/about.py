"""What W&B and TensorBoard show of a run beside its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class About:
    """A run among others.

    Attributes:
        name: what ran: `<paper>/<preset>`, or `<model>/<data>` without one.
        label: what was varied, `lr=0.003 seed=1`; without that, its folder's name.
        mode: train, test, ...
        tags: what it is found by.
        hyperparameters: what decides its numbers, by config keys.
        directions: whether small or large values of a metric, or of all that match a pattern, are good.
        shown: the metrics that it is compared by, the most important first.
        parameters: trainable parameters of the model.
        commit: of the code; None without a repository.
    """

    name: str
    label: str
    mode: str
    tags: Sequence[str] = ()
    hyperparameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    directions: Mapping[str, Literal["min", "max"]] = field(default_factory=dict)
    shown: Sequence[str] = ()
    parameters: int = 0
    commit: str | None = None
