"""In which order a run goes through its data: a function of (seed, epoch, rank, position in the epoch) alone."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from paperzoo.datamodule import PaperData, epochs_of, stream_seed
from paperzoo.errors import UserError

Item = TypeVar("Item", covariant=True)


class RunOrder(Sampler[Item]):
    """Base of samplers that know the place of a run: a resumed epoch starts at the batch that was next.

    Args:
        data: the DataModule, asked for seed, rank and place in the run; without a trainer it is at the start.
    """

    def __init__(self, data: PaperData) -> None:
        self.data = data

    def first(self, size: int) -> Item:
        """The index of the first `size` items of epoch 0, whatever the place of the run and the number of ranks."""
        raise NotImplementedError(f"{type(self).__name__} has no first")

    @property
    def _ranks(self) -> tuple[int, int]:
        trainer = self.data.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def _next_in_run(self) -> tuple[int, int]:
        """(epoch, position) of the batch that is trained on next: to be asked when that batch is, see `BatchLoader`."""
        if self.data.trainer is None:
            return 0, 0
        position = self.data.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return epochs_of(self.data.trainer.fit_loop).processed if self.data.reshuffles else 0, position


class BatchOrder(RunOrder[Tensor]):
    """Yields the indices of one batch after the other: int64 tensors of at most `batch_size`.

    Training order is a permutation drawn from (seed, epoch), cut to whole batches and dealt to the ranks in turn;
    evaluation order is 0, 1, 2, ... with nothing dropped and nothing repeated, but with `SpreadEvaluation`; ranks share
    what is left in the end. A single process may train on a set that is smaller than one batch.

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
            if 0 < self.size < world:
                raise UserError(
                    f"trainer.devices={world}: there are {self.size} items to evaluate, less than one for each device; "
                    "choose fewer devices"
                )
            full, left = divmod(self.size, self.batch_size * world)
            return full + (rank < left)
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

    def first(self, size: int) -> Tensor:
        return self.order(0)[:size]

    def __iter__(self) -> Iterator[Tensor]:
        rank, world = self._ranks
        if not self.shuffle:
            return iter(self._evaluated())
        epoch, position = self._next_in_run()
        batches = self.order(epoch).split(self.batch_size)[rank::world][: len(self)]
        return iter(batches[position:])

    def _evaluated(self) -> tuple[Tensor, ...]:
        """The batches of this rank."""
        rank, world = self._ranks
        limit = self._limit() if self.data.spreads_evaluation else None
        if limit is None or limit >= len(self):
            rounds = torch.arange(self.size).split(self.batch_size * world)
            return tuple(items.tensor_split(world)[rank] for items in rounds)[: len(self)]
        batches = limit * world
        spread = torch.arange(batches * self.batch_size) * self.size // (batches * self.batch_size)
        return tuple(spread.view(self.batch_size, batches).T[rank::world])

    def _limit(self) -> int | None:
        """Batches of the validation or test under way on each rank; None: it is not limited."""
        trainer = self.data.trainer
        if trainer is None or not (trainer.testing or trainer.validating):
            return None
        limit = trainer.limit_test_batches if trainer.testing else trainer.limit_val_batches
        return limit if isinstance(limit, int) else int(limit * len(self))


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

    def first(self, size: int) -> int:
        return 0

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


class SpreadEvaluation(Callback):
    """Where `trainer.limit_val_batches` or `trainer.limit_test_batches` are few, evaluates items from all over the set.

    Without it they are the first ones, of one domain or one kind only.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, PaperData):
            data.spreads_evaluation = True


class BatchLoader(DataLoader[Any]):
    """A DataLoader of whole batches in a `RunOrder`. Lightning takes it for one that can resume, and it can.

    There is no state to save: `RunOrder` reads its place from the counters of the run. Lightning may make the iterator
    before it has restored these (a model that asks for `trainer.estimated_stepping_batches` lets it), so that an
    iterator, with workers or without, begins when its first batch is asked for.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def fixed_permutation(size: int) -> Int64[np.ndarray, " size"]:
    """A permutation of 0 ... size-1 that is the same in every run, whatever its seed."""
    generator = torch.Generator().manual_seed(stream_seed("fixed split", size))
    return torch.randperm(size, generator=generator).numpy()


def hold_out(size: int, held: int, fold: int = 0) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held"]]:
    """(kept, held out) rows of a set of `size`: disjoint, sorted, the same in every run.

    Other folds hold out other rows: those of any two are disjoint.

    Raises:
        UserError: there are not as many folds.
    """
    if (fold + 1) * held > size:
        raise UserError(f"data.fold={fold}: {held} of {size} items are held out; choose 0 ... {size // held - 1}")
    order = fixed_permutation(size)
    return np.sort(np.delete(order, slice(fold * held, (fold + 1) * held))), np.sort(order[fold * held :][:held])
