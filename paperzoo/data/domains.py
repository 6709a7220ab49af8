"""Pairs of domains: labelled items of a source and unlabelled items of a target (Ganin et al. 2016, section 3)."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int64, Shaped
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from paperzoo.batches import HIDDEN, SOURCE, TARGET
from paperzoo.data.base import BatchLoader, BatchOrder, PaperData, RunOrder, stream_seed
from paperzoo.data.splits import fixed_permutation, hold_out
from paperzoo.errors import UserError

Index = Int64[Tensor, " batch"]
Labels = Int64[Tensor, " item"]


@runtime_checkable
class Gather(Protocol):
    """Gives the items of an index as one tensor: a tensor does, and so do memory-mapped images."""

    def __getitem__(self, index: Index, /) -> Shaped[Tensor, "batch ..."]: ...

    def to(self, device: torch.device, /) -> "Gather": ...


@dataclass(frozen=True, eq=False)
class Items:
    """Items of one domain with their labels.

    Attributes:
        values: the images or vectors.
        labels: their classes; `HIDDEN` where nobody knows.
        rows: the place in `values` of each item; None if it is the item's own.
    """

    values: Gather
    labels: Labels
    rows: Labels | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Index) -> tuple[Shaped[Tensor, "batch ..."], Int64[Tensor, " batch"]]:
        index = index.to(self.labels.device)
        return self.values[index if self.rows is None else self.rows[index]], self.labels[index]

    def select(self, index: Labels) -> "Items":
        """The items at `index`, in its order."""
        return Items(self.values, self.labels[index], index if self.rows is None else self.rows[index])

    def labelled(self, labels: Labels) -> "Items":
        """The same items with other labels."""
        return replace(self, labels=labels)

    def hide(self, labels_per_class: int = 0) -> "Items":
        """The same items without labels, but for `labels_per_class` of each class, the same ones in every run.

        Raises:
            UserError: a class has fewer.
        """
        labels = torch.full_like(self.labels, HIDDEN)
        if labels_per_class:
            order = torch.from_numpy(fixed_permutation(len(self)))
            for label, size in enumerate(torch.bincount(self.labels).tolist()):
                if size < labels_per_class:
                    raise UserError(
                        f"data.labels_per_class={labels_per_class}: the target has only {size} training items of class "
                        f"{label}; choose less"
                    )
                labels[order[self.labels[order] == label][:labels_per_class]] = label
        return self.labelled(labels)

    def to(self, device: torch.device) -> "Items":
        """The same items, gathered on `device`."""
        rows = None if self.rows is None else self.rows.to(device)
        return Items(self.values.to(device), self.labels.to(device), rows)


@dataclass(frozen=True, eq=False)
class Domain:
    """A domain: what is trained on, what is held out of it, and what is tested on. The last two may be the same."""

    train: Items
    val: Items
    test: Items

    @classmethod
    def holding_out(cls, fraction: float | int, train: Items, test: Items, name: str) -> "Domain":
        """A domain that validates on a `fraction` of its training items, the same ones in every run.

        Where that is none of them it validates on `test`.

        Args:
            fraction: `data.validation_fraction`.
            train: all training items.
            test: what is tested on.
            name: what the domain is called in messages.

        Raises:
            UserError: nothing would be left to train on.
        """
        size = len(train)
        held = round(fraction * size)
        if not held:
            return cls(train, test, test)
        if held == size:
            raise UserError(
                f"data.validation_fraction={fraction}: it leaves none of the {size} training items of {name}; "
                "choose less"
            )
        kept, validation = (torch.from_numpy(rows) for rows in hold_out(size, held))
        return cls(train.select(kept), train.select(validation), test)


class PairIndex(NamedTuple):
    """The items of a training batch."""

    source: Index
    target: Index


class PairOrder(RunOrder[PairIndex]):
    """Yields the items of one training batch after the other, `batch_size` of each domain.

    Each domain goes through an order of its own, drawn anew for every pass over it and cut to whole batches, so the
    smaller one comes round more often. A domain smaller than a batch gives all it has.

    Args:
        source: items of the source domain.
        target: items of the target domain.
        batch_size: items of each domain in a batch, on each rank.
        batches: batches that count as an epoch, on each rank; None: one pass over the source.
        data: the DataModule.
    """

    def __init__(self, source: int, target: int, batch_size: int, batches: int | None, data: PaperData) -> None:
        super().__init__(data)
        self.sizes, self.batch_size, self.batches = (source, target), batch_size, batches
        self._order = lru_cache(maxsize=2)(self._draw)

    def __len__(self) -> int:
        return self.batches or max(1, self.sizes[0] // (self.batch_size * self._ranks[1]))

    def __iter__(self) -> Iterator[PairIndex]:
        rank, world = self._ranks
        epoch, position = self._next_in_run()
        first, last = epoch * len(self) + position, (epoch + 1) * len(self)
        return (self._pair(number * world + rank) for number in range(first, last))

    def _pair(self, number: int) -> PairIndex:
        return PairIndex(*(self._batch(domain, number) for domain in (SOURCE, TARGET)))

    def _batch(self, domain: int, number: int) -> Index:
        passes, place = divmod(number, max(1, self.sizes[domain] // self.batch_size))
        return self._order(domain, passes)[place * self.batch_size :][: self.batch_size]

    def _draw(self, domain: int, passes: int) -> Labels:
        generator = torch.Generator().manual_seed(stream_seed(self.data.seed, "order", domain, passes))
        return torch.randperm(self.sizes[domain], generator=generator)


class TrainingPairs(Dataset[Any]):
    """Batches of source items, then target items.

    Args:
        source: its labels are known.
        target: its labels are what training may see of them, see `DomainData`.
        batch_type: makes the batch of values, labels and domains.
    """

    def __init__(self, source: Items, target: Items, batch_type: type) -> None:
        self.source, self.target, self.batch_type = source, target, batch_type

    def __getitem__(self, index: PairIndex) -> Any:
        return _batch(self.batch_type, {SOURCE: self.source[index.source], TARGET: self.target[index.target]})

    def to(self, device: torch.device) -> "TrainingPairs":
        return TrainingPairs(self.source.to(device), self.target.to(device), self.batch_type)


class EvaluationItems(Dataset[Any]):
    """All items of the source, then all of the target, with their labels."""

    def __init__(self, source: Items, target: Items, batch_type: type) -> None:
        self.source, self.target, self.batch_type = source, target, batch_type

    def __len__(self) -> int:
        return len(self.source) + len(self.target)

    def __getitem__(self, index: Index) -> Any:
        first = len(self.source)
        parts = {SOURCE: (self.source, index[index < first]), TARGET: (self.target, index[index >= first] - first)}
        return _batch(
            self.batch_type, {domain: items[places] for domain, (items, places) in parts.items() if len(places)}
        )

    def to(self, device: torch.device) -> "EvaluationItems":
        return EvaluationItems(self.source.to(device), self.target.to(device), self.batch_type)


def _batch(batch_type: type, parts: dict[int, tuple[Shaped[Tensor, "_ ..."], Labels]]) -> Any:
    values, labels = zip(*parts.values(), strict=True)
    domain = [torch.full_like(label, domain) for domain, label in zip(parts, labels, strict=True)]
    return batch_type(torch.cat(values), torch.cat(labels), torch.cat(domain))


class DomainData(PaperData):
    """Base of the DataModules of domain pairs.

    A training batch has `batch_size` items of the source with their labels, then as many of the target without.
    Validation and test give the source, then the target, with all labels: of items held out of training, and of the
    domains' test items. Prediction gives the target's test items. Subclasses implement `load`.

    Args:
        seed: names the random streams.
        workers: processes that gather batches; 0 gathers them in the training process.
        batch_size: training items of each domain in a batch, on each device.
        eval_batch_size: items a batch in validation, test and prediction, on each device.
        batches_per_epoch: batches that count as an epoch; None: one pass over the source.
        labels_per_class: training items of each class of the target whose labels training sees, the same ones in every
            run (semi-supervised adaptation, Fig. 7).
    """

    def __init__(
        self,
        seed: int,
        workers: NonNegativeInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        batches_per_epoch: PositiveInt | None,
        labels_per_class: NonNegativeInt = 0,
    ) -> None:
        super().__init__(workers, seed)
        self.batch_size = batch_size
        self.labels_per_class = labels_per_class
        self.eval_batch_size = eval_batch_size
        self.batches_per_epoch = batches_per_epoch
        self.domains: dict[int, Domain] = {}

    @property
    def class_names(self) -> list[str]:
        """What the labels 0, 1, 2, ... stand for."""
        raise NotImplementedError(f"{type(self).__name__} has no class_names")

    def load(self) -> tuple[Domain, Domain]:
        """The source and the target.

        Raises:
            UserError: files are missing or damaged.
        """
        raise NotImplementedError(f"{type(self).__name__} has no load")

    def setup(self, stage: str | None = None) -> None:
        if not self.domains:
            self.domains = dict(zip((SOURCE, TARGET), self.load(), strict=True))

    def reversed(
        self, train_labels: Int64[Tensor, " training_item"], val_labels: Int64[Tensor, " held_out_item"]
    ) -> "DomainData":
        """The way back, for reverse validation (section 5.1.2): the target, labelled by a classifier, is the source.

        Its test items of the target are the source's held-out items with their true labels.

        Args:
            train_labels: what the classifier says of the target's training items.
            val_labels: what it says of the target's held-out items.
        """
        source, target = self.domains[SOURCE], self.domains[TARGET]
        way_back = copy(self)
        way_back.trainer = None  # its place in the run is not that of the way back
        way_back.labels_per_class = 0
        labelled = replace(target, train=target.train.labelled(train_labels), val=target.val.labelled(val_labels))
        way_back.domains = {
            SOURCE: replace(labelled, test=labelled.val),
            TARGET: replace(source, train=source.train.hide(), test=source.val),
        }
        return way_back

    def train_dataloader(self) -> BatchLoader:
        source, target = self.domains[SOURCE].train, self.domains[TARGET].train
        order = PairOrder(len(source), len(target), self.batch_size, self.batches_per_epoch, self)
        return self._loader(TrainingPairs(source, target.hide(self.labels_per_class), self.yields), order)

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation(self.domains[SOURCE].val, self.domains[TARGET].val)

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation(self.domains[SOURCE].test, self.domains[TARGET].test)

    def predict_dataloader(self) -> BatchLoader:
        target = self.domains[TARGET].test
        return self._evaluation(target.select(torch.arange(0)), target)

    def target_dataloaders(self) -> tuple[BatchLoader, BatchLoader]:
        """The target's training items and its held-out items, in order: what `reversed` wants labels for."""
        target = self.domains[TARGET]
        nothing = target.train.select(torch.arange(0))
        return self._evaluation(nothing, target.train.hide()), self._evaluation(nothing, target.val.hide())

    def _evaluation(self, source: Items, target: Items) -> BatchLoader:
        items = EvaluationItems(source, target, self.yields)
        return self._loader(items, BatchOrder(len(items), self.eval_batch_size, self, shuffle=False))

    def _loader(self, items: TrainingPairs | EvaluationItems, order: RunOrder[Any]) -> BatchLoader:
        return BatchLoader(
            items,
            sampler=order,
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def initial_batch(self, size: int) -> Any:
        """The first `size` training items of each domain in the order of epoch 0."""
        self.setup()
        source, target = self.domains[SOURCE].train, self.domains[TARGET].train
        pairs = PairOrder(len(source), len(target), self.batch_size, self.batches_per_epoch, self)
        index = PairIndex(*(pairs._order(domain, 0)[:size] for domain in (SOURCE, TARGET)))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(stream_seed(self.seed, "initial"))
            return self.augment(TrainingPairs(source, target.hide(self.labels_per_class), self.yields)[index])

    def item_names(self) -> list[str]:
        self.setup()
        return [str(index) for index in range(len(self.domains[TARGET].test))]
