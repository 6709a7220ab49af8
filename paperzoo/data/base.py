"""What every data set and generator shares: its contract, its order and its random streams.

Order and randomness are functions of (seed, epoch, rank, position in the epoch) alone, so a run that was killed and
resumed sees what the uninterrupted one would have seen, whatever happened to the global generators in between.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import Sampler

STAGES = ("train", "val", "test", "predict")


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed for the random stream named by `parts`; streams with different names are independent."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class PaperData(LightningDataModule):
    """Base of every DataModule.

    Subclasses implement `prepare_data`, `setup` (both may run more than once and without a trainer), the dataloaders,
    and `initial_batch`.

    Args:
        batch_size: items a training batch, on each device.
        eval_batch_size: items a validation, test or prediction batch, on each device.
        workers: processes that make batches; 0 makes them in the training process.
        seed: names the random streams of order, augmentation and the model's own noise.
    """

    yields: ClassVar[type]

    def __init__(self, batch_size: int, eval_batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.workers = workers
        self.seed = seed

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        """Yields what is wrong with these constructor arguments that their types cannot say (missing files, combinations).

        Cheap: called before anything is built, never touches the network, prepares nothing.
        """
        return iter(())

    def initial_batch(self, size: int) -> Any:
        """The first `size` training items of epoch 0, augmented as in training: the same on every rank and in every run of this seed."""
        raise NotImplementedError(f"{type(self).__name__} has no initial_batch")

    def item_names(self) -> list[str]:
        """A name for each item of the prediction set, in the order in which `predict_dataloader` gives them (a file name, or an index)."""
        raise NotImplementedError(f"{type(self).__name__} has no item_names")

    def augment(self, batch: Any) -> Any:
        """Augments a whole training batch on the model's device; draws from torch's global generators, seeded for this batch."""
        return batch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Seeds torch for this batch: augmentation, dequantisation and dropout become functions of (seed, stage, epoch, rank, position)."""
        torch.manual_seed(stream_seed(self.seed, *self._place_in_run()))
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        assert self.trainer is not None
        return self.augment(batch) if self.trainer.training else batch

    def _place_in_run(self) -> tuple[str | int, ...]:
        """(stage, epoch, position, rank) of the batch that is about to be used; evaluation does not depend on the epoch."""
        trainer = self.trainer
        assert trainer is not None
        if trainer.training:
            position = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            return "train", trainer.current_epoch, position, trainer.global_rank
        loop: Any = {
            "validate": trainer.fit_loop.epoch_loop.val_loop if trainer.state.fn == "fit" else trainer.validate_loop,
            "test": trainer.test_loop,
            "predict": trainer.predict_loop,
        }[trainer.state.stage.value if trainer.state.stage else "predict"]
        return trainer.state.stage.value, loop.batch_progress.current.ready, trainer.global_rank  # type: ignore[union-attr]


class BatchOrder(Sampler[Tensor]):
    """Yields the indices of one batch after the other: int64 tensors of at most `batch_size`.

    Training order is a permutation drawn from (seed, epoch), cut to whole batches and dealt to the ranks in turn;
    evaluation order is 0, 1, 2, ... with nothing dropped and nothing repeated. A resumed training epoch starts at the
    batch that was next.

    Args:
        size: items in the set.
        batch_size: items a batch, on each rank.
        data: the DataModule, asked for seed, rank and the place in the run; its trainer may be missing (rank 0, epoch 0).
        shuffle: training order instead of evaluation order.
    """

    def __init__(self, size: int, batch_size: int, data: PaperData, *, shuffle: bool) -> None:
        self.size, self.batch_size, self.data, self.shuffle = size, batch_size, data, shuffle

    @property
    def _ranks(self) -> tuple[int, int]:
        trainer = self.data.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def __len__(self) -> int:
        rank, world = self._ranks
        if self.shuffle:
            return max(1, self.size // (self.batch_size * world))
        return len(range(rank * self.batch_size, self.size, self.batch_size * world))

    def order(self, epoch: int) -> Tensor:
        """The permutation of the whole set for `epoch`, the same on every rank."""
        generator = torch.Generator().manual_seed(stream_seed(self.data.seed, "order", epoch))
        return torch.randperm(self.size, generator=generator)

    def __iter__(self) -> Iterator[Tensor]:
        rank, world = self._ranks
        if not self.shuffle:
            return (chunk for chunk in torch.arange(self.size).split(self.batch_size)[rank::world])
        epoch, start = 0, 0
        if self.data.trainer is not None:
            loop = self.data.trainer.fit_loop
            epoch, start = loop.epoch_progress.current.processed, loop.epoch_loop.batch_progress.current.ready
        batches = self.order(epoch).split(self.batch_size)[rank::world][: len(self)]
        return iter(batches[start:])
