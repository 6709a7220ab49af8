"""Items that come as whole batches: from arrays, from a numbered stream, from the accelerator that they lie on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils.data import Dataset

Index = Int64[Tensor, " batch"]
Rows = Int64[Tensor, " item"]
Items = TypeVar("Items", bound="ArrayItems")


@runtime_checkable
class ItemSet(Protocol):
    """Items that come as whole batches."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any:
        """The batch of these items, the same one whenever it is asked for."""
        ...


@runtime_checkable
class Stream(Protocol):
    """Batches without end: `stream[number]` is a function of the seed and the number alone."""

    def __getitem__(self, number: int, /) -> Any: ...


@runtime_checkable
class Gather(Protocol):
    """Gives the items of an index as one tensor: a tensor does, and so does `StoredArray`."""

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Index, /) -> Shaped[Tensor, "batch ..."]: ...

    def to(self, device: torch.device, /) -> "Gather": ...


@runtime_checkable
class Movable(Protocol):
    """Items that can be gathered on an accelerator."""

    @property
    def arrays(self) -> "Iterable[Gather]":
        """What they are gathered from."""
        ...

    def to(self, device: torch.device, /) -> Any:
        """The same items, gathered on `device`."""
        ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class ArrayItems:
    """Items from arrays side by side: `items[index]` is the batch of the items `index`.

    Attributes:
        batch_type: makes the batch of its columns.
        columns: by the fields of the batch.
        rows: the place in the columns of each item; None: it is the item's own.
    """

    batch_type: Callable[..., Any]
    columns: Mapping[str, Gather]
    rows: Rows | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.rows is None else len(self.rows)

    def __getitem__(self, index: Index) -> Any:
        if self.rows is not None:
            index = self.rows[index.to(self.rows.device)]
        return self.batch_type(**{name: column[index] for name, column in self.columns.items()})

    @property
    def arrays(self) -> Iterator[Gather]:
        for column in self.columns.values():
            yield from column.arrays if isinstance(column, Movable) else (column,)

    def select(self: Items, index: Rows) -> Items:
        """The items at `index`, in its order."""
        return replace(self, rows=index if self.rows is None else self.rows[index])

    def to(self: Items, device: torch.device) -> Items:
        rows = None if self.rows is None else self.rows.to(device)
        columns = {name: column.to(device) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=rows)


class DeferredBatch(NamedTuple):
    """Stands for a batch that lies on the accelerator already: of which items, which ones."""

    items: Movable
    index: Any


class Deferred(Dataset[DeferredBatch]):
    """Gives the indices of batches, not the batches, which are where they are needed already."""

    def __init__(self, items: Movable) -> None:
        self.items = items

    def __getitem__(self, index: Any) -> DeferredBatch:
        return DeferredBatch(self.items, index)
