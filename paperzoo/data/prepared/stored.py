"""Prepared arrays, memory-mapped and gathered a whole batch at a time."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from paperzoo.data.prepared.cache import ArrayCache


class StoredArray:
    """A prepared array on the disk: `array[index]` reads the rows `index`.

    Args:
        cache: where it is.
        name: what it is called there.
    """

    def __init__(self, cache: ArrayCache, name: str) -> None:
        self.cache, self.name = cache, name
        self._copies: dict[torch.device, Tensor] = {}

    @cached_property
    def values(self) -> np.ndarray:
        return self.cache.open(self.name)

    def __getstate__(self) -> dict[str, Any]:
        # a worker process maps the file itself instead of being sent its contents
        return {"cache": self.cache, "name": self.name, "_copies": {}}

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def __getitem__(self, index: Int64[Tensor, " batch"]) -> Shaped[Tensor, "batch ..."]:
        return torch.from_numpy(self.values.take(index.numpy(), axis=0))

    def read(self) -> Tensor:
        """All of it, in memory."""
        return torch.from_numpy(np.array(self.values))

    def to(self, device: torch.device) -> Tensor:
        """All of it on `device`: one copy, whoever asks."""
        if device not in self._copies:
            self._copies[device] = torch.from_numpy(self.values).to(device)
        return self._copies[device]
