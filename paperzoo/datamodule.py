"""The base of every DataModule: the data's side of the contract, and the random streams of a run.

Randomness is a function of (seed, epoch, rank, position in the epoch) alone, so a run that was killed and resumed sees
what the uninterrupted one would have seen, whatever happened to the global generators in between.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from pytorch_lightning import LightningDataModule

from paperzoo.batches import Names, Told


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed for the random stream named by `parts`; streams with different names are independent."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_generators(seed: int, device: torch.device) -> None:
    """`torch.manual_seed` for the CPU and `device` alone: a hundredth of its time, which asks every kind of device."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@dataclass(frozen=True)
class Bounds:
    """What a trivial predictor reaches on held-out data; empty where nobody has asked.

    Attributes:
        values: by metric, with its stage: `{"test/accuracy": 0.7}`.
        predictor: which one that is, as a sentence.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    predictor: str = ""


class Prepared(NamedTuple):
    """A data set that is prepared on this machine."""

    name: str
    folder: Path
    size: int
    """In bytes, with the files that it was made from where these lie in it."""
    terms: str
    """The licence, or under which terms it may be used; empty where we do not know."""


AS_VALIDATED = "the same"
"""What `PaperData.amounts` says of a test on the items of the validation."""


class PaperData(LightningDataModule):
    """Base of every DataModule.

    Subclasses implement `prepare_data`, `setup` (both may run more than once and without a trainer) and the
    dataloaders; those of items, whatever they are, get most of that from `paperzoo.data.base.module.ItemData`.

    Args:
        workers: processes that make batches; 0 makes them in the training process.
        seed: names the random streams of order, augmentation and the model's own noise.
    """

    yields: ClassVar[type]
    reshuffles = True
    """Whether every epoch has an order of its own; see `RepeatFirstEpoch`."""
    spreads_evaluation = False
    """Whether the items of a limited evaluation come from all over the set; see `SpreadEvaluation`."""
    batch_key: ClassVar[str] = "batch_size"
    """The argument that says how large a training batch is, in the unit of `initial_batch`."""
    eval_batch_key: ClassVar[str] = "eval_batch_size"
    fewest: ClassVar[int] = 2
    """The size of a small batch, with which a step is measured."""
    answered_by: ClassVar[str | None] = None
    """The preset whose runs answer for items that are only asked about; where nobody trains on them."""
    reads_own_items: ClassVar[bool] = False
    """Whether its `path` names items of the user's own."""
    follows_model: ClassVar[tuple[str, ...]] = ()
    """Arguments that take the value a model was trained with, when the model is used on other data than its own."""

    def __init__(self, workers: int, seed: int) -> None:
        super().__init__()
        self.workers = workers
        self.seed = seed
        self.unreadable: list[str] = []
        """What is wrong with each of the user's items that had to be left out; the others are answered."""

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        """Yields what is wrong with these constructor arguments that types cannot say (missing files, combinations).

        A problem starts with the argument, "batch_size=3: ...", or names the file. Cheap: called before anything is
        built, never touches the network, prepares nothing.
        """
        return iter(())

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        """What a model must know of the data that these constructor arguments choose: `{"num_classes": 10}`.

        A config states them as `data.facts`, where models find them; a wrong statement is refused.
        """
        return {}

    @property
    def names(self) -> Names:
        """What the numbers in the batches stand for; known without any file having been prepared."""
        return Names()

    @property
    def tests_on_validation(self) -> bool:
        """Whether validation and test are the same items, once they are set up: the choice of weights has seen them."""
        return False

    def bounds(self) -> Bounds:
        """What a trivial predictor reaches on the parts that were set up; it stands beside the results of a run."""
        return Bounds()

    def tell(self, batch: Any) -> list[Told]:
        """Each item of a batch as a reader would be told it."""
        return [Told()] * len(batch[0])

    def initial_batch(self, size: int) -> Any:
        """The first `size` training items of epoch 0, augmented as in training: the same on every rank."""
        raise NotImplementedError(f"{type(self).__name__} has no initial_batch")

    def prepared_sets(self) -> list[Prepared]:
        """Prepares what is prepared from files, checks all of it, and says what it is; nothing of what is generated.

        Raises:
            UserError: no network, missing, damaged or wrong files, no space.
        """
        self.prepare_data()
        return []

    def amounts(self) -> dict[str, str]:
        """How much there is of the parts that are set up, in words: `{"train": "50,000", "test": "10,000"}`.

        `AS_VALIDATED` where the test is on the items of the validation.
        """
        return {}

    @property
    def stored_bytes(self) -> int:
        """What the prepared files of the parts that were set up take on the disk."""
        return 0

    def item_names(self) -> list[str]:
        """A name (a file name, or an index) for each item that `predict_dataloader` gives, in its order."""
        raise NotImplementedError(f"{type(self).__name__} has no item_names")

    def augment(self, batch: Any) -> Any:
        """Augments a whole training batch on the model's device, from torch's global generators, seeded for it."""
        return batch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Seeds torch for this batch: randomness becomes a function of the seed and the place in the run."""
        assert self.trainer is not None
        seed_generators(stream_seed(self.seed, *self._place_in_run()), self.trainer.strategy.root_device)
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if all(isinstance(column, torch.Tensor) and column.device == device for column in batch):
            return batch  # Lightning would look into it column by column, in a tenth of a millisecond
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        assert self.trainer is not None
        return self.augment(batch) if self.trainer.training else batch

    def _place_in_run(self) -> tuple[str | int, ...]:
        """(stage, epoch, position, rank) of the batch that is used next; evaluation does not depend on the epoch."""
        trainer = self.trainer
        assert trainer is not None
        fit_loop = trainer.fit_loop
        if trainer.training:
            # not trainer.current_epoch: with max_steps it lags behind in a resumed run
            epoch = epochs_of(fit_loop).processed
            return "train", epoch, fit_loop.epoch_loop.batch_progress.current.ready, trainer.global_rank
        assert trainer.state.stage is not None
        stage = trainer.state.stage.value
        loop: Any = {
            "sanity_check": fit_loop.epoch_loop.val_loop,
            "validate": fit_loop.epoch_loop.val_loop if trainer.state.fn == "fit" else trainer.validate_loop,
            "test": trainer.test_loop,
            "predict": trainer.predict_loop,
        }[stage]
        return stage, loop.batch_progress.current.ready, trainer.global_rank


def epochs_of(fit_loop: Any) -> Any:
    """Lightning's counters of epochs: started, and processed (which the epoch under way is not yet)."""
    return fit_loop.epoch_progress.current
