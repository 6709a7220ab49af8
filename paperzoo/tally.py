"""Metrics that are means over items, of which not every one counts for every metric."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Tally:
    """Means over the items of an evaluation, whatever its batches and processes."""

    def __init__(self) -> None:
        self.sums: dict[str, Float[Tensor, 2]] = defaultdict(lambda: torch.zeros(2))

    def add(self, name: str, values: Tensor) -> None:
        """Adds one value for each item that counts; there may be none."""
        self.sums[name] = self.sums[name] + torch.tensor([float(values.sum()), values.numel()])

    def means(self, reduce: Callable[..., Any], device: torch.device) -> dict[str, float]:
        """The mean of each name that any item counted for; `reduce` is the strategy's."""
        totals = {name: reduce(pair.to(device), reduce_op="sum") for name, pair in self.sums.items()}
        return {name: float(total / count) for name, (total, count) in totals.items() if count > 0}
