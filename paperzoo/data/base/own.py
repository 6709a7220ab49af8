"""The base of sets of a user's own items."""

from typing import Any, ClassVar

from pydantic import NonNegativeInt, PositiveInt

from paperzoo.data.base.module import ItemData
from paperzoo.data.base.order import BatchLoader
from paperzoo.errors import UserError


class OwnData(ItemData):
    """A DataModule of a user's own items, for a trained model; subclasses implement `load`, without a part to train on.

    Args:
        seed: names the random streams.
        workers: processes that gather batches; 0 gathers them in this process.
        eval_batch_size: items a batch, on each device.
    """

    reads_own_items = True
    instead: ClassVar[str]
    """What to say to those who would train on them, or use another part that there is not."""

    def __init__(self, seed: int, workers: NonNegativeInt, eval_batch_size: PositiveInt) -> None:
        super().__init__(seed, workers, 1, eval_batch_size, device_resident=False)

    def loader(self, part: str) -> BatchLoader:
        if part not in self.parts:
            raise UserError(self.instead)
        return super().loader(part)

    def initial_batch(self, size: int) -> Any:
        raise UserError(self.instead)
