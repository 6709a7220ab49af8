"""Splits of prepared arrays, gathered a whole batch at a time, on the host or on the accelerator."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from paperzoo.data.base import stream_seed
from paperzoo.data.cache import ArrayCache
from paperzoo.data.image_set import Shape

Index = Int64[Tensor, " batch"]
Rows = Int64[np.ndarray, " _"]


class ResidentBatch(NamedTuple):
    """Stands for a batch whose images already lie on the accelerator: which split, which items of it."""

    split: str
    items: Index


class Split(Dataset[Any]):
    """Some rows of prepared arrays; `split[index]` is the batch of the items `index`, in the shape that the model gets.

    Args:
        cache: where the arrays are.
        columns: the array behind each field of the batch.
        rows: the rows of the arrays that belong to the split, or None for all.
        shape: what the images are padded or cut to.
        batch_type: makes the batch of its fields.
    """

    def __init__(
        self,
        cache: ArrayCache,
        columns: dict[str, str],
        rows: Rows | None,
        shape: Shape,
        batch_type: Callable[..., Any],
    ) -> None:
        self.cache, self.columns, self.rows, self.shape, self.batch_type = cache, columns, rows, shape, batch_type

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        return {field: self.cache.open(name) for field, name in self.columns.items()}

    def __getstate__(self) -> dict[str, Any]:
        # a worker process maps the files itself instead of being sent their contents
        return {name: value for name, value in self.__dict__.items() if name != "arrays"}

    def __len__(self) -> int:
        return len(self.arrays["image"]) if self.rows is None else len(self.rows)

    @property
    def nbytes(self) -> int:
        return sum(len(self) * array[:1].nbytes for array in self.arrays.values())

    def __getitem__(self, index: Index) -> Any:
        rows = index.numpy() if self.rows is None else self.rows[index.numpy()]
        fields = {field: torch.from_numpy(array.take(rows, axis=0)) for field, array in self.arrays.items()}
        return self.batch_type(**fields | {"image": fit(fields["image"], self.shape)})


class ResidentSplit:
    """A copy of a `Split` on a device."""

    def __init__(self, split: Split, device: torch.device) -> None:
        rows = slice(None) if split.rows is None else split.rows
        self.fields = {field: torch.from_numpy(array[rows]).to(device) for field, array in split.arrays.items()}
        self.shape, self.batch_type, self.device = split.shape, split.batch_type, device

    def __getitem__(self, index: Index) -> Any:
        index = index.to(self.device, non_blocking=True)
        fields = {field: values.index_select(0, index) for field, values in self.fields.items()}
        return self.batch_type(**fields | {"image": fit(fields["image"], self.shape)})


class Indices(Dataset[ResidentBatch]):
    """Gives the indices of a batch of `split`, not its images, which are where they are needed already."""

    def __init__(self, split: str, size: int) -> None:
        self.split, self.size = split, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Index) -> ResidentBatch:
        return ResidentBatch(self.split, index)


def fit(image: UInt8[Tensor, "batch c h w"], shape: Shape) -> UInt8[Tensor, "batch channel height width"]:
    """Grey images repeated over the channels of `shape`; zeros added, or pixels cut off, evenly at all sides."""
    channels, height, width = shape
    if image.shape[1:] == shape:
        return image
    down, right = height - image.shape[2], width - image.shape[3]
    image = F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))
    return image.expand(-1, channels, -1, -1).contiguous()


def fixed_permutation(size: int) -> Int64[np.ndarray, " size"]:
    """A permutation of 0 ... size-1 that is the same in every run, whatever its seed."""
    generator = torch.Generator().manual_seed(stream_seed("fixed split", size))
    return torch.randperm(size, generator=generator).numpy()


def hold_out(size: int, held: int) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held"]]:
    """(kept, held out) rows of a set of `size`: disjoint, sorted, the same in every run."""
    order = fixed_permutation(size)
    return np.sort(order[held:]), np.sort(order[:held])
