"""What several questions are about."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from paperzoo.data.base.items import Gather, Index


@dataclass(frozen=True, eq=False)
class Shared:
    """An array by question that holds once what several questions are about: `shared[index]`.

    Attributes:
        array: an image, a scene, ... a row.
        row: of each question.
    """

    array: Gather
    row: Int64[Tensor, " question"]

    @property
    def nbytes(self) -> int:
        return self.array.nbytes + self.row.nbytes

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Index) -> Shaped[Tensor, "batch ..."]:
        return self.array[self.row[index]]

    def to(self, device: torch.device) -> "Shared":
        return Shared(self.array.to(device), self.row.to(device))
