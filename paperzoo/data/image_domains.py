"""Pairs of image domains: images in one shape, gathered a whole batch at a time, on the host or the accelerator."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from jaxtyping import UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from paperzoo.batches import DomainImages
from paperzoo.config import instantiate
from paperzoo.data import augmentation, splits
from paperzoo.data.base import BatchLoader, RunOrder
from paperzoo.data.cache import ArrayCache
from paperzoo.data.domains import Domain, DomainData, EvaluationItems, Index, Items, PairIndex, TrainingPairs
from paperzoo.data.image_set import ImageSet, Shape
from paperzoo.data.images import is_resident
from paperzoo.data.importing import importable

Fit = Literal["pad", "resize"]
Crop = Literal["none", "random", "random_resized"]


class ImageDomain:
    """One side of a pair: a set of labelled images, and how they get to the size that the model wants.

    Configs name it as `data.source` and `data.target`. `check` says what is wrong with the arguments that a subclass
    adds; files, sizes and classes are checked by `ImageDomains`.

    Args:
        image_set: the images.
        num_classes: classes of the labels.
        fit: "pad" adds zeros or cuts off pixels, evenly at all sides; "resize" scales, whatever the proportions.
    """

    transductive: ClassVar[bool] = False
    """Whether the prepared arrays have no test part: the domain is tested on the images that it is trained on."""

    def __init__(self, image_set: ImageSet, num_classes: PositiveInt, fit: Fit) -> None:
        self.image_set = image_set
        self.num_classes = num_classes
        self.fit = fit

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        """Yields what is wrong with these constructor arguments that types cannot say."""
        return iter(())

    @property
    def class_names(self) -> list[str]:
        """What the labels 0, 1, 2, ... stand for."""
        return [str(label) for label in range(self.num_classes)]


class SetDomain(ImageDomain):
    """A data set that is also of use alone.

    Args:
        name: the data set, as `scripts/import_data.py` calls it.
        num_classes: see `ImageDomain`.
        fit: see `ImageDomain`.
    """

    def __init__(self, name: str, num_classes: PositiveInt, fit: Fit) -> None:
        super().__init__(importable()[name][1], num_classes, fit)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        known = sorted(name for name, (_, image_set) in importable().items() if image_set.num_classes)
        if arguments["name"] not in known:
            yield f"{arguments['name']}: no such data set of labelled images; there are {', '.join(known)}"


class StoredImages:
    """A prepared array, gathered a whole batch at a time: `images[index]`.

    Args:
        cache: where it is.
        name: the array.
    """

    def __init__(self, cache: ArrayCache, name: str) -> None:
        self.cache, self.name = cache, name
        self._copies: dict[torch.device, Tensor] = {}

    @cached_property
    def array(self) -> np.ndarray:
        return self.cache.open(self.name)

    def __getstate__(self) -> dict[str, Any]:
        # a worker process maps the file itself instead of being sent its contents
        return {"cache": self.cache, "name": self.name, "_copies": {}}

    def __getitem__(self, index: Index) -> UInt8[Tensor, "batch c h w"]:
        return torch.from_numpy(self.array.take(index.numpy(), axis=0))

    def to(self, device: torch.device) -> Tensor:
        """All of it on `device`: one copy, whoever asks."""
        if device not in self._copies:
            self._copies[device] = torch.from_numpy(self.array).to(device)
        return self._copies[device]


@dataclass(frozen=True, eq=False)
class FittedImages:
    """Images in the shape that the model gets: `images[index]` is the batch of the items `index`.

    Attributes:
        stored: the images as they were prepared.
        shape: channels, height and width of the batches.
        fit: how images of another size get there, see `ImageDomain`.
    """

    stored: StoredImages | Tensor
    shape: Shape
    fit: Fit

    def __getitem__(self, index: Index) -> UInt8[Tensor, "batch channel height width"]:
        image = self.stored[index]
        if self.fit == "resize":
            image = resize(image, *self.shape[1:])
        return splits.fit(image, self.shape)

    def to(self, device: torch.device) -> "FittedImages":
        return replace(self, stored=self.stored.to(device))


def resize(
    image: UInt8[Tensor, "batch channel rows columns"], height: int, width: int
) -> UInt8[Tensor, "batch channel {height} {width}"]:
    """Scaled by bilinear interpolation, which averages where it shrinks; rounded."""
    if image.shape[2:] == (height, width):
        return image
    return F.interpolate(image.float(), (height, width), mode="bilinear", antialias=True).round_().byte()


class DeferredBatch(NamedTuple):
    """Stands for a batch whose images already lie on the accelerator: of which data, which items."""

    items: TrainingPairs | EvaluationItems
    chosen: Index | PairIndex


class Deferred(Dataset[DeferredBatch]):
    """Gives the indices of batches, not the images, which are where they are needed already."""

    def __init__(self, items: TrainingPairs | EvaluationItems) -> None:
        self.items = items

    def __getitem__(self, index: Index | PairIndex) -> DeferredBatch:
        return DeferredBatch(self.items, index)


class ImageDomains(DomainData):
    """A source of labelled images and a target of unlabelled ones.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        seed: names the random streams.
        download: fetch what is missing; False never touches the network.
        image_shape: channels, height and width that the model gets. Grey images are repeated over three channels.
        num_classes: classes of the labels, in both domains.
        source: the domain whose labels are known.
        target: the domain to adapt to.
        batch_size: training images of each domain in a batch, on each device.
        eval_batch_size: images a batch in validation, test and prediction, on each device.
        batches_per_epoch: batches that count as an epoch; None: one pass over the source.
        validation_fraction: share of each domain's training images that is held out, the same ones in every run: those
            of the source to stop early, those of the target for curves and for reverse validation; 0 validates on the
            test images.
        labels_per_class: target training images of each class whose labels training sees, the same in every run.
        crop: how training images larger than `image_shape` are cut: "random" at a random place, "random_resized" to a
            random part that is scaled (Szegedy et al. 2015); evaluation cuts around the centre. "none" leaves each
            domain its `fit`.
        flip: training images are mirrored, left to right, half of the time.
        workers: processes that gather batches; 0 gathers them in the training process.
        device_resident: keep all images on the accelerator; "auto" does so on CUDA if they fit a quarter of its memory.
    """

    yields = DomainImages
    follows_model = ("image_shape",)

    def __init__(
        self,
        data_root: str,
        seed: int,
        download: bool,
        image_shape: tuple[PositiveInt, PositiveInt, PositiveInt],
        num_classes: PositiveInt,
        source: ImageDomain,
        target: ImageDomain,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        batches_per_epoch: PositiveInt | None,
        validation_fraction: Annotated[float | int, Ge(0), Lt(1)],
        labels_per_class: NonNegativeInt,
        crop: Crop,
        flip: bool,
        workers: NonNegativeInt,
        device_resident: Literal["auto"] | bool,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size, batches_per_epoch, labels_per_class)
        self.data_root = data_root
        self.download = download
        self.image_shape: Shape = (image_shape[0], image_shape[1], image_shape[2])
        self.num_classes = num_classes
        self.source = source
        self.target = target
        self.validation_fraction = validation_fraction
        self.crop = crop
        self.flip = flip
        self.device_resident = device_resident
        self._resident: dict[tuple[Any, torch.device], Any] = {}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        domains: dict[str, ImageDomain] = {side: instantiate(arguments[side]) for side in ("source", "target")}
        shape: Shape = tuple(arguments["image_shape"])
        for side, domain in domains.items():
            yield from _class_problems(side, domain, arguments["num_classes"])
            yield from _shape_problems(side, domain, shape, arguments["crop"])
        sizes = {domain.image_set.shape[1:] for domain in domains.values()}
        if arguments["crop"] != "none" and len(sizes) > 1:
            source, target = (domain.image_set for domain in domains.values())
            yield (
                f"data.crop={arguments['crop']}: {source.name} has images of {list(source.shape)} and {target.name} of "
                f"{list(target.shape)}; they must be of one size to be cut in one batch: set data.crop=none"
            )
        sets = {domain.image_set.name: domain.image_set for domain in domains.values()}.values()
        for image_set in sets:
            yield from image_set.file_problems(arguments["data_root"], download=arguments["download"])
        yield from _name_problems(*(domain.class_names for domain in domains.values()))

    @property
    def class_names(self) -> list[str]:
        return self.source.class_names

    def prepare_data(self) -> None:
        """Downloads and prepares the arrays of both domains, once for all processes of the machine.

        Raises:
            UserError: no network, missing, damaged or wrong files, no space.
        """
        for domain in (self.source, self.target):
            domain.image_set.prepare(self.data_root, download=self.download)

    def load(self) -> tuple[Domain, Domain]:
        if not all(domain.image_set.cache(self.data_root).is_prepared for domain in (self.source, self.target)):
            self.prepare_data()
        return self._load(self.source), self._load(self.target)

    def _load(self, domain: ImageDomain) -> Domain:
        train = self._items(domain, "train")
        test = train if domain.transductive else self._items(domain, "test")
        return Domain.holding_out(self.validation_fraction, train, test, domain.image_set.name)

    def _items(self, domain: ImageDomain, part: str) -> Items:
        cache = domain.image_set.cache(self.data_root)
        stored, labels = StoredImages(cache, f"{part}_images"), torch.from_numpy(np.array(cache.open(f"{part}_labels")))
        if self.crop == "none":
            return Items(FittedImages(stored, self.image_shape, domain.fit), labels)
        # what is cut at random is cut after it was gathered
        return Items(FittedImages(stored, (self.image_shape[0], *domain.image_set.shape[1:]), "pad"), labels)

    def _evaluation(self, source: Items, target: Items) -> BatchLoader:
        return super()._evaluation(self._centred(source), self._centred(target))

    def _centred(self, items: Items) -> Items:
        assert isinstance(items.values, FittedImages)
        return replace(items, values=replace(items.values, shape=self.image_shape))

    def _loader(self, items: TrainingPairs | EvaluationItems, order: RunOrder[Any]) -> BatchLoader:
        if is_resident(self.device_resident, self.trainer, (stored.array.nbytes for stored in self._stored())):
            return BatchLoader(Deferred(items), sampler=order, batch_size=None)
        return super()._loader(items, order)

    def _stored(self) -> set[StoredImages]:
        parts = [items for domain in self.domains.values() for items in (domain.train, domain.val, domain.test)]
        return {items.values.stored for items in parts}  # type: ignore[attr-defined]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if not isinstance(batch, DeferredBatch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        place = (batch.items, device)
        if place not in self._resident:
            self._resident[place] = batch.items.to(device)
        return self._resident[place][batch.chosen]

    def augment(self, batch: DomainImages) -> DomainImages:
        """Cuts and mirrors training images at random, as configured."""
        image, (height, width) = batch.image, self.image_shape[1:]
        if self.crop == "random":
            image = augmentation.random_crop(image, height, width)
        elif self.crop == "random_resized":
            image = augmentation.random_resized_crop(image, height, width)
        return batch._replace(image=augmentation.random_flip(image) if self.flip else image)


def _class_problems(side: str, domain: ImageDomain, num_classes: int) -> Iterator[str]:
    image_set = domain.image_set
    if domain.num_classes != image_set.num_classes:
        yield f"data.{side}.num_classes={domain.num_classes}: {image_set.name} has {image_set.num_classes} classes"
    elif num_classes != image_set.num_classes:
        yield f"data.num_classes={num_classes}: the {side} {image_set.name} has {image_set.num_classes} classes"


def _name_problems(source: list[str], target: list[str]) -> Iterator[str]:
    if source != target:
        lacks = [
            ", ".join(name for name in one if name not in other) or "none"
            for one, other in ((source, target), (target, source))
        ]
        yield (
            f"data.source and data.target differ in their classes: only in the source {lacks[0]}; "
            f"only in the target {lacks[1]}"
        )


def _shape_problems(side: str, domain: ImageDomain, wanted: Shape, crop: Crop) -> Iterator[str]:
    name, (channels, height, width) = domain.image_set.name, domain.image_set.shape
    what = f"data.image_shape={list(wanted)}: the {side} {name} has images of {list(domain.image_set.shape)}; "
    if wanted[0] not in (channels, 3 if channels == 1 else channels):
        yield what + f"choose {'1 or 3' if channels == 1 else channels} channels"
    if crop != "none":
        if wanted[1] > height or wanted[2] > width:
            yield what + f"to be cut with data.crop={crop}, choose at most {height} x {width}"
    elif domain.fit == "pad" and (2 * wanted[1] < height or 2 * wanted[2] < width):
        yield what + f"less than half of a side would be left; set data.{side}.fit=resize"
