"""The base of sets whose batches are gathered, or generated, from the indices of their items."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.data.base import BatchLoader, BatchOrder, PaperData, stream_seed

PARTS = ("train", "val", "test", "predict")


@runtime_checkable
class ItemSet(Protocol):
    """Items that come as whole batches."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Int64[Tensor, " batch"]) -> Any:
        """The batch of these items, the same one whenever it is asked for."""
        ...


class IndexedData(PaperData):
    """A DataModule of `ItemSet`s; subclasses implement `load`.

    Args:
        seed: names the random streams.
        workers: processes that make batches; 0 makes them in the training process.
        batch_size: training items in a batch, on each device.
        eval_batch_size: items a batch in validation, test and prediction, on each device.
    """

    def __init__(
        self, seed: int, workers: NonNegativeInt, batch_size: PositiveInt, eval_batch_size: PositiveInt
    ) -> None:
        super().__init__(workers, seed)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.parts: Mapping[str, ItemSet] = {}

    def load(self) -> Mapping[str, ItemSet]:
        """The sets that there are: "train", "val" and "test", and "predict", which is "test" if it is left out.

        Raises:
            UserError: files are missing or damaged.
        """
        raise NotImplementedError(f"{type(self).__name__} has no load")

    def setup(self, stage: str | None = None) -> None:
        if not self.parts:
            self.parts = self.load()

    def train_dataloader(self) -> BatchLoader:
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> BatchLoader:
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> BatchLoader:
        return self._loader(self._predicted, self.eval_batch_size)

    @property
    def _predicted(self) -> str:
        return "predict" if "predict" in self.parts else "test"

    def _loader(self, part: str, batch_size: int, *, shuffle: bool = False) -> BatchLoader:
        items: Any = self.parts[part]
        return BatchLoader(
            items,
            sampler=BatchOrder(len(items), batch_size, self, shuffle=shuffle),
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def initial_batch(self, size: int) -> Any:
        """The first `size` training items in the order of epoch 0."""
        self.setup()
        items = self.parts["train"]
        order = BatchOrder(len(items), self.batch_size, self, shuffle=True).order(0)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(stream_seed(self.seed, "initial"))
            return self.augment(items[order[:size]])

    def item_names(self) -> list[str]:
        self.setup()
        return [str(index) for index in range(len(self.parts[self._predicted]))]


class QuestionData(IndexedData):
    """The base of the sets of questions: what the numbers in their batches stand for."""

    kind_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Kinds of questions that the papers report together, by the name of the group."""

    @property
    def answer_names(self) -> list[str]:
        """What the answers 0, 1, 2, ... stand for."""
        raise NotImplementedError(f"{type(self).__name__} has no answer_names")

    @property
    def kind_names(self) -> list[str]:
        """What the kinds 0, 1, 2, ... stand for, as they end the names of metrics; one kind alone is not reported."""
        raise NotImplementedError(f"{type(self).__name__} has no kind_names")

    def question_texts(self, batch: Any) -> list[str]:
        """The questions of a batch as a reader would ask them."""
        raise NotImplementedError(f"{type(self).__name__} has no question_texts")

    def context_texts(self, batch: Any) -> list[str]:
        """What each question is about, as text (a story, a list of objects); empty strings where an image shows it."""
        return [""] * len(batch.answer)
