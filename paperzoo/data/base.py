"""What every data set and generator shares: its contract, its order and its random streams.

Order and randomness are functions of (seed, epoch, rank, position in the epoch) alone, so a run that was killed and
resumed sees what the uninterrupted one would have seen, whatever happened to the global generators in between.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Int64
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from paperzoo.errors import UserError

Item = TypeVar("Item", covariant=True)


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed for the random stream named by `parts`; streams with different names are independent."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class PaperData(LightningDataModule):
    """Base of every DataModule.

    Subclasses implement `prepare_data`, `setup` (both may run more than once and without a trainer), the dataloaders,
    and `initial_batch`.

    Args:
        workers: processes that make batches; 0 makes them in the training process.
        seed: names the random streams of order, augmentation and the model's own noise.
    """

    yields: ClassVar[type]
    reshuffles = True
    """Whether every epoch has an order of its own; see `RepeatFirstEpoch`."""
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

        Cheap: called before anything is built, never touches the network, prepares nothing.
        """
        return iter(())

    def initial_batch(self, size: int) -> Any:
        """The first `size` training items of epoch 0, augmented as in training: the same on every rank."""
        raise NotImplementedError(f"{type(self).__name__} has no initial_batch")

    def item_names(self) -> list[str]:
        """A name (a file name, or an index) for each item that `predict_dataloader` gives, in its order."""
        raise NotImplementedError(f"{type(self).__name__} has no item_names")

    def augment(self, batch: Any) -> Any:
        """Augments a whole training batch on the model's device, from torch's global generators, seeded for it."""
        return batch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Seeds torch for this batch: randomness becomes a function of the seed and the place in the run."""
        torch.manual_seed(stream_seed(self.seed, *self._place_in_run()))
        return batch

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
            epoch = _epochs(fit_loop).processed
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


def _epochs(fit_loop: Any) -> Any:
    """Lightning's counters of epochs: started, and processed (which the epoch under way is not yet)."""
    return fit_loop.epoch_progress.current


class RunOrder(Sampler[Item]):
    """Base of samplers that know the place of a run: a resumed epoch starts at the batch that was next.

    Args:
        data: the DataModule, asked for seed, rank and place in the run; without a trainer it is at the start.
    """

    def __init__(self, data: PaperData) -> None:
        self.data = data

    @property
    def _ranks(self) -> tuple[int, int]:
        trainer = self.data.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def _next_in_run(self) -> tuple[int, int]:
        """(epoch, position) of the batch that is trained on next.

        Lightning makes the iterator of a resumed epoch before it brings its own counters up to date, so this reads the
        counters as they were saved: in the middle of an epoch, or after its last batch, which may or may not have been
        counted as an epoch yet.
        """
        if self.data.trainer is None:
            return 0, 0
        epochs = _epochs(self.data.trainer.fit_loop)
        batches: Any = self.data.trainer.fit_loop.epoch_loop.batch_progress
        epoch, position = (
            (epochs.started, 0) if batches.is_last_batch else (epochs.processed, batches.current.processed)
        )
        return epoch if self.data.reshuffles else 0, position


class BatchOrder(RunOrder[Tensor]):
    """Yields the indices of one batch after the other: int64 tensors of at most `batch_size`.

    Training order is a permutation drawn from (seed, epoch), cut to whole batches and dealt to the ranks in turn;
    evaluation order is 0, 1, 2, ... with nothing dropped and nothing repeated. A single process may train on a set that
    is smaller than one batch.

    Args:
        size: items in the set.
        batch_size: items a batch, on each rank.
        data: the DataModule.
        shuffle: training order instead of evaluation order.
    """

    def __init__(self, size: int, batch_size: int, data: PaperData, *, shuffle: bool) -> None:
        super().__init__(data)
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle

    def __len__(self) -> int:
        rank, world = self._ranks
        if not self.shuffle:
            return len(range(rank * self.batch_size, self.size, self.batch_size * world))
        if world == 1:
            return max(min(self.size, 1), self.size // self.batch_size)
        if self.size < self.batch_size * world:
            raise UserError(
                f"data.batch_size={self.batch_size}: {self.size} training items do not fill a batch on each of "
                f"{world} devices; choose at most {self.size // world}, or fewer devices"
            )
        return self.size // (self.batch_size * world)

    def order(self, epoch: int) -> Int64[Tensor, " size"]:
        """The permutation of the whole set for `epoch`, the same on every rank."""
        generator = torch.Generator().manual_seed(stream_seed(self.data.seed, "order", epoch))
        return torch.randperm(self.size, generator=generator)

    def __iter__(self) -> Iterator[Tensor]:
        rank, world = self._ranks
        if not self.shuffle:
            return iter(torch.arange(self.size).split(self.batch_size)[rank::world])
        epoch, position = self._next_in_run()
        batches = self.order(epoch).split(self.batch_size)[rank::world][: len(self)]
        return iter(batches[position:])


class StreamOrder(RunOrder[int]):
    """Yields the number of one generated training batch after the other: no number twice, in no epoch, on no rank.

    A generator makes the batch from (seed, number), so that there is no end of fresh ones.

    Args:
        batches: batches that count as an epoch, on each rank.
        data: the DataModule.
    """

    def __init__(self, batches: int, data: PaperData) -> None:
        super().__init__(data)
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[int]:
        rank, world = self._ranks
        epoch, position = self._next_in_run()
        return iter(range((epoch * self.batches + position) * world + rank, (epoch + 1) * self.batches * world, world))


class RepeatFirstEpoch(Callback):
    """Trains on the batches of the first epoch in every epoch; if these are few, a right model overfits them."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, PaperData):
            data.reshuffles = False


class BatchLoader(DataLoader[Any]):
    """A DataLoader of whole batches in a `RunOrder`. Lightning takes it for one that can resume, and it can.

    There is no state to save: `RunOrder` reads its place from the counters of the run.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Called when training resumes, before the loops look at their counters.

        If the checkpoint was saved after an epoch, Lightning would go through that epoch once more without a batch
        (with `max_steps`, or if it was saved in `on_train_epoch_start`), and so skip the order and the noise of one.
        """
        trainer = self.sampler.data.trainer if isinstance(self.sampler, RunOrder) else None
        if trainer is None:
            return
        batches, epochs = trainer.fit_loop.epoch_loop.batch_progress, trainer.fit_loop.epoch_progress
        if batches.is_last_batch and _epochs(trainer.fit_loop).started == _epochs(trainer.fit_loop).processed:
            batches.reset_on_run()
            if epochs.current.completed < _epochs(trainer.fit_loop).processed:
                epochs.increment_completed()
