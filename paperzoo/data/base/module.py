"""The base of DataModules whose batches are gathered from items, or generated."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict

import torch
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.data.base.items import Deferred, DeferredBatch, ItemSet, Movable, Stream
from paperzoo.data.base.order import BatchLoader, BatchOrder, RunOrder
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.prepared.stored import StoredArray
from paperzoo.datamodule import AS_VALIDATED, PaperData, Prepared, stream_seed

log = logging.getLogger(__name__)

TRAIN, VAL, TEST, PREDICT = "train", "val", "test", "predict"

# A set goes onto the accelerator by itself if it takes no more than this part of its memory.
RESIDENT_FRACTION = 1 / 4

Residency = Literal["auto"] | bool
Augmentation = Callable[[Any], Any]
"""Changes a whole training batch at random, on the device it is on, from torch's global generators."""


class Loading(TypedDict):
    """The arguments that all `ItemData` share, for their `**loading`; see there."""

    seed: int
    workers: NonNegativeInt
    batch_size: PositiveInt
    eval_batch_size: PositiveInt
    device_resident: Residency


class ItemData(PaperData):
    """A DataModule of items; subclasses implement `load`, and `order` where it is not that of single items.

    Args:
        seed: names the random streams.
        workers: processes that make batches; 0 makes them in the training process.
        batch_size: training items in a batch, on each device.
        eval_batch_size: items a batch in validation, test and prediction, on each device.
        device_resident: keep all items on the accelerator; "auto" does so on CUDA if they fit a quarter of its memory.
        augment: random changes of whole training batches, in this order.

    Attributes:
        parts: what `load` gave.
    """

    def __init__(
        self,
        seed: int,
        workers: NonNegativeInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        device_resident: Residency,
        augment: Sequence[Augmentation] = (),
    ) -> None:
        super().__init__(workers, seed)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.device_resident = device_resident
        self.augmentations = augment
        self.parts: Mapping[str, ItemSet | Stream] = {}
        self._resident: dict[tuple[int, torch.device], Any] = {}

    data_root: str
    """The folder for all data sets; of those that are prepared from files."""
    download: bool = True

    @property
    def file_sets(self) -> Sequence[FileSet]:
        """What is prepared from files before anything is loaded, in this order."""
        return ()

    def prepare_data(self) -> None:
        """Downloads and prepares the arrays, once for all processes of the machine.

        Raises:
            UserError: no network, missing, damaged or wrong files, no space.
        """
        for file_set in self.file_sets:
            file_set.prepare(self.data_root, download=self.download)

    def prepared_sets(self) -> list[Prepared]:
        self.prepare_data()
        found = []
        for file_set in self.file_sets:
            cache = file_set.cache(self.data_root)
            cache.verify(thorough=True)
            size = sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file())
            terms = file_set.terms or (f"its own, on {file_set.page}" if file_set.page else "")
            found.append(Prepared(file_set.title or file_set.name, cache.folder, size, terms))
        return found

    def load(self) -> Mapping[str, ItemSet | Stream]:
        """The sets that there are: "train", "val", unless nothing is held out, "test", and "predict", else "test".

        Raises:
            UserError: files are missing or damaged.
        """
        raise NotImplementedError(f"{type(self).__name__} has no load")

    def setup(self, stage: str | None = None) -> None:
        if not self.parts:
            self.parts = self.load()
            if stage == "fit":  # test and prediction end with them
                for problem in self.unreadable:
                    log.warning("%s; left out", problem)

    @property
    def tests_on_validation(self) -> bool:
        return VAL in self.parts and self.parts[VAL] is self.parts.get(TEST)

    def order(self, part: str) -> RunOrder[Any]:
        """In which order a part is gone through."""
        items: Any = self.parts[part]
        size = self.batch_size if part == TRAIN else self.eval_batch_size
        return BatchOrder(len(items), size, self, shuffle=part == TRAIN)

    def loader(self, part: str) -> BatchLoader:
        """The batches of a part, in its order."""
        items: Any = self.parts[part]
        if self._is_resident():
            return BatchLoader(Deferred(items), sampler=self.order(part), batch_size=None)
        return BatchLoader(
            items,
            sampler=self.order(part),
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> BatchLoader:
        items = self.parts.get(TRAIN)
        if isinstance(items, ItemSet) and 0 < len(items) < self.batch_size:
            log.warning(
                "data.batch_size=%d: there are %d training items, so each batch has these", self.batch_size, len(items)
            )
        return self.loader(TRAIN)

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        return self.loader(VAL) if VAL in self.parts else []

    def test_dataloader(self) -> BatchLoader:
        return self.loader(TEST)

    def predict_dataloader(self) -> BatchLoader:
        return self.loader(self._predicted)

    @property
    def _predicted(self) -> str:
        return PREDICT if PREDICT in self.parts else TEST

    def _is_resident(self) -> bool:
        if not all(isinstance(items, Movable) for items in self.parts.values()):
            return False
        if self.device_resident != "auto":
            return self.device_resident
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type != "cuda":
            return False
        arrays = {id(array): array.nbytes for items in self.parts.values() for array in _arrays(items)}
        return sum(arrays.values()) <= RESIDENT_FRACTION * torch.cuda.get_device_properties(device).total_memory

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if not isinstance(batch, DeferredBatch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        place = (id(batch.items), device)
        if place not in self._resident:
            self._resident[place] = batch.items.to(device)
        return self._resident[place][batch.index]

    def augment(self, batch: Any) -> Any:
        for change in self.augmentations:
            batch = change(batch)
        return batch

    def initial_batch(self, size: int) -> Any:
        """The first `size` training items in the order of epoch 0; of generated batches the first one, whole."""
        self.setup("fit")
        first = self.order(TRAIN).first(size)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(stream_seed(self.seed, "initial"))
            return self.augment(self.parts[TRAIN][first])

    def amounts(self) -> dict[str, str]:
        known = {part: self.parts[part] for part in (TRAIN, VAL, TEST, PREDICT) if part in self.parts}
        words = {part: self.amount(items) for part, items in known.items()}
        return words | ({TEST: AS_VALIDATED} if self.tests_on_validation else {})

    def amount(self, items: ItemSet | Stream) -> str:
        """How much there is of a part, in words."""
        return f"{len(items):,}" if isinstance(items, ItemSet) else "ever new ones"

    @property
    def stored_bytes(self) -> int:
        movable = (items for items in self.parts.values() if isinstance(items, Movable))
        arrays = {id(array): array for items in movable for array in _arrays(items)}
        return sum(array.nbytes for array in arrays.values() if isinstance(array, StoredArray))

    def item_names(self) -> list[str]:
        self.setup("predict")
        items: Any = self.parts[self._predicted]
        return [str(index) for index in range(len(items))]


def _arrays(items: Any) -> Iterator[Any]:
    yield from items.arrays
