"""Metrics that are means over items, of which not every one counts for every metric; and what ranks put together."""

from collections.abc import Callable
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Tally:
    """Means over the items of an evaluation, whatever its batches and processes."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Adds one value for each item that counts; there may be none."""
        self._add(name, float(values.sum(dtype=torch.float64)), values.numel())

    def add_mean(self, name: str, mean: Tensor, items: int) -> None:
        """Adds the mean of so many items."""
        self._add(name, float(mean) * items, items)

    def _add(self, name: str, total: float, items: int) -> None:
        self.sums[name] = self.sums.get(name, _nothing()) + torch.tensor([total, items], dtype=torch.float64)

    def means(self, reduce: Callable[..., Any], device: torch.device) -> dict[str, float]:
        """The mean of each name that any item of any process counted for.

        Processes may have seen different names: the sums are added by name.

        Args:
            reduce: the strategy's.
            device: where the processes exchange tensors.
        """
        names = _of_all_processes(list(self.sums))
        if not names:
            return {}
        here = torch.stack([self.sums.get(name, _nothing()) for name in names])
        totals = reduce(here.to(device), reduce_op="sum")
        return {name: float(total / count) for name, (total, count) in zip(names, totals, strict=True) if count > 0}


def _nothing() -> Tensor:
    return torch.zeros(2, dtype=torch.float64)


def of_all_ranks(batches: list[T]) -> list[T]:
    """What all processes have kept of their batches, in the order of the items, as one process would have it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    everything: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everything, batches)
    return [batch for batch in chain.from_iterable(zip_longest(*everything)) if batch is not None]


def _of_all_processes(names: list[str]) -> list[str]:
    """The names that any process knows, in the same order on all of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return names
    known: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(known, names)
    return sorted(set().union(*known))
