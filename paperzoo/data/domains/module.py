"""Pairs of domains: labelled items of a source and unlabelled items of a target (Ganin et al. 2016, section 3)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar, Unpack

import torch
from annotated_types import Ge, Lt
from jaxtyping import Int64, Shaped
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import HIDDEN, SOURCE, TARGET
from paperzoo.data.base.items import ArrayItems, Gather, Index, ItemSet, Rows
from paperzoo.data.base.module import PREDICT, TEST, TRAIN, VAL, Augmentation, ItemData, Loading
from paperzoo.data.base.order import BatchLoader, RunOrder, fixed_permutation, hold_out
from paperzoo.datamodule import PaperData, stream_seed
from paperzoo.errors import UserError

Labels = Int64[Tensor, " item"]
AnyPair = TypeVar("AnyPair", bound="Pair")
Share = Annotated[float | int, Ge(0), Lt(1)]

SOURCE_TRAIN, TARGET_TRAIN, TARGET_VAL = "source train", "target train", "target val"


class Labelled(NamedTuple):
    """Some items of one domain."""

    value: Shaped[Tensor, "batch ..."]
    label: Int64[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Items(ArrayItems):
    """The items of one domain, images or vectors, with their labels; `HIDDEN` where nobody knows."""

    @classmethod
    def of(cls, values: Gather, labels: Labels) -> "Items":
        """All of `values` and their labels."""
        return cls(Labelled, {"value": values, "label": labels})

    @property
    def values(self) -> Gather:
        """What they are gathered from, at `rows`."""
        return self.columns["value"]

    @property
    def labels(self) -> Labels:
        """The label of each item."""
        labels = self.columns["label"]
        return labels[torch.arange(len(labels)) if self.rows is None else self.rows]

    def labelled(self, labels: Labels) -> "Items":
        """The same items with other labels."""
        if self.rows is not None:
            labels = torch.full((len(self.values),), HIDDEN).index_copy(0, self.rows, labels)
        return replace(self, columns={**self.columns, "label": labels})

    def hide(self, labels_per_class: int = 0) -> "Items":
        """The same items without labels, but for `labels_per_class` of each class, the same ones in every run.

        Raises:
            UserError: a class has fewer.
        """
        known = self.labels
        labels = torch.full_like(known, HIDDEN)
        if labels_per_class:
            order = torch.from_numpy(fixed_permutation(len(self)))
            for label, size in enumerate(torch.bincount(known[known != HIDDEN]).tolist()):
                if size < labels_per_class:
                    raise UserError(
                        f"data.labels_per_class={labels_per_class}: the target has only {size} training items of class "
                        f"{label}; choose less"
                    )
                labels[order[known[order] == label][:labels_per_class]] = label
        return self.labelled(labels)


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

    def first(self, size: int) -> PairIndex:
        """The first `size` items of each domain."""
        return PairIndex(*(self._order(domain, 0)[:size] for domain in (SOURCE, TARGET)))

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

    def _draw(self, domain: int, passes: int) -> Rows:
        generator = torch.Generator().manual_seed(stream_seed(self.data.seed, "order", domain, passes))
        return torch.randperm(self.sizes[domain], generator=generator)


@dataclass(frozen=True, eq=False)
class Pair:
    """Items of both domains.

    Attributes:
        source: gives its items as a tuple of columns.
        target: does so too, with what may be seen of its labels.
        batch_type: makes the batch of these columns and the domains.
    """

    source: ArrayItems
    target: ArrayItems
    batch_type: Callable[..., Any]

    def __len__(self) -> int:
        return len(self.source) + len(self.target)

    @property
    def arrays(self) -> Iterator[Gather]:
        yield from self.source.arrays
        yield from self.target.arrays

    def to(self: AnyPair, device: torch.device) -> AnyPair:
        return replace(self, source=self.source.to(device), target=self.target.to(device))

    def _joined(self, parts: Mapping[int, Sequence[Shaped[Tensor, "_ ..."]]]) -> Any:
        """The batch of the items of each domain, one domain after the other."""
        domain = torch.cat([torch.full_like(columns[-1], domain) for domain, columns in parts.items()])
        return self.batch_type(*map(torch.cat, zip(*parts.values(), strict=True)), domain)


class TrainingPairs(Pair):
    """Batches of source items, then target items."""

    def __getitem__(self, index: PairIndex) -> Any:
        return self._joined({SOURCE: self.source[index.source], TARGET: self.target[index.target]})


class EvaluationItems(Pair):
    """All items of the source, then all of the target."""

    def __getitem__(self, index: Index) -> Any:
        first = len(self.source)
        parts = {SOURCE: (self.source, index[index < first]), TARGET: (self.target, index[index >= first] - first)}
        return self._joined({domain: items[places] for domain, (items, places) in parts.items() if len(places)})


class DomainArguments(Loading):
    """The arguments that all `DomainData` share; see there."""

    batches_per_epoch: PositiveInt | None


class DomainData(ItemData):
    """Base of the DataModules of domain pairs.

    A training batch has `batch_size` items of the source with their labels, then as many of the target without.
    Validation and test give the source, then the target, with all labels: of items held out of training, and of the
    domains' test items. Prediction gives the target's test items. Subclasses implement `load_domains`.

    Args:
        batches_per_epoch: batches that count as an epoch; None: one pass over the source.
        labels_per_class: training items of each class of the target whose labels training sees, the same ones in every
            run (semi-supervised adaptation, Fig. 7).
        augment: see `ItemData`.
        loading: see `ItemData`; `batch_size` is of each domain.

    Attributes:
        domains: what `load_domains` gave.
    """

    def __init__(
        self,
        batches_per_epoch: PositiveInt | None,
        labels_per_class: NonNegativeInt = 0,
        augment: Sequence[Augmentation] = (),
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(augment=augment, **loading)
        self.batches_per_epoch = batches_per_epoch
        self.labels_per_class = labels_per_class
        self.domains: dict[int, Domain] = {}

    def load_domains(self) -> tuple[Domain, Domain]:
        """The source and the target.

        Raises:
            UserError: files are missing or damaged.
        """
        raise NotImplementedError(f"{type(self).__name__} has no load_domains")

    def load(self) -> Mapping[str, ItemSet]:
        self.domains = dict(zip((SOURCE, TARGET), self.load_domains(), strict=True))
        return self._parts()

    @property
    def tests_on_validation(self) -> bool:
        return any(domain.val is domain.test for domain in self.domains.values())

    def _parts(self) -> dict[str, ItemSet]:
        source, target = self.domains[SOURCE], self.domains[TARGET]
        nothing = target.test.select(torch.arange(0))
        return {
            TRAIN: TrainingPairs(source.train, target.train.hide(self.labels_per_class), self.yields),
            VAL: self._evaluation(source.val, target.val),
            TEST: EvaluationItems(self.tested(source.test), self.tested(target.test), self.yields),
            PREDICT: EvaluationItems(self.tested(nothing), self.tested(target.test), self.yields),
            SOURCE_TRAIN: self._evaluation(source.train, nothing),
            TARGET_TRAIN: self._evaluation(nothing, target.train.hide()),
            TARGET_VAL: self._evaluation(nothing, target.val.hide()),
        }

    def _evaluation(self, source: Items, target: Items) -> EvaluationItems:
        return EvaluationItems(self.unchanged(source), self.unchanged(target), self.yields)

    def tested(self, items: Items) -> Items:
        """Items as a model gets them in test and prediction."""
        return self.unchanged(items)

    def unchanged(self, items: Items) -> Items:
        """Items as a model gets them where nothing is drawn at random."""
        return items

    def order(self, part: str) -> RunOrder[Any]:
        if part != TRAIN:
            return super().order(part)
        pairs: Any = self.parts[TRAIN]
        return PairOrder(len(pairs.source), len(pairs.target), self.batch_size, self.batches_per_epoch, self)

    def target_dataloaders(self) -> tuple[BatchLoader, BatchLoader]:
        """The target's training items and its held-out items, in order: what `reversed` wants labels for.

        All of them on every rank.
        """
        return self._everywhere(TARGET_TRAIN), self._everywhere(TARGET_VAL)

    def labelled_dataloaders(self) -> tuple[BatchLoader, BatchLoader]:
        """The source's training items and the target's test items, in order, with the labels that are known.

        All of them on every rank.
        """
        return self._everywhere(SOURCE_TRAIN), self._everywhere(PREDICT)

    def _everywhere(self, part: str) -> BatchLoader:
        everywhere = copy(self)
        everywhere.trainer = None
        return everywhere.loader(part)

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
        way_back.parts = way_back._parts()
        way_back._resident = {}
        return way_back
