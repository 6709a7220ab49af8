"""One image, again and again: no validation."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from paperzoo.batches import Images
from paperzoo.data.base.items import ArrayItems, ItemSet, Stream
from paperzoo.data.base.module import TRAIN, ItemData, Loading
from paperzoo.data.base.order import RunOrder, StreamOrder


class Again:
    """The same image, whatever the number."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    def __getitem__(self, number: int) -> Images:
        return Images(self.image)


class ToyImage(ItemData):
    yields: ClassVar[type] = Images

    def __init__(self, iterations: int, **loading: Unpack[Loading]) -> None:
        super().__init__(**loading)
        self.iterations = iterations

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"image_shape": (1, 6, 6)}

    def load(self) -> Mapping[str, ItemSet | Stream]:
        image = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6) * 7
        return {"train": Again(image), "test": ArrayItems(Images, {"image": image})}

    def order(self, part: str) -> RunOrder[Any]:
        return StreamOrder(self.iterations, self) if part == TRAIN else super().order(part)
