"""The base of sets that are made when a run needs them."""

from collections.abc import Mapping

from paperzoo.data.base.items import ItemSet, Stream
from paperzoo.data.base.module import TEST, TRAIN, VAL, ItemData

NEEDED: Mapping[str | None, tuple[str, ...]] = {
    "fit": (TRAIN, VAL),
    "validate": (VAL,),
    "test": (TEST,),
    "predict": (TEST,),
    None: (TRAIN, VAL, TEST),
}
"""The parts that a stage of a run goes through."""


class GeneratedData(ItemData):
    """A DataModule whose parts are made one by one, when a stage needs them first; subclasses implement `make`."""

    def make(self, part: str) -> ItemSet | Stream:
        """The set "train", "val" or "test", a function of the seed.

        Raises:
            UserError: files are missing or damaged.
        """
        raise NotImplementedError(f"{type(self).__name__} has no make")

    def setup(self, stage: str | None = None) -> None:
        for part in NEEDED[stage]:
            if part not in self.parts:
                self.parts = {**self.parts, part: self.make(part)}
