"""Pairs of image domains: images in one shape, whatever the shapes of the two sets."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack

from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import DomainImages, Names
from paperzoo.config import instantiate
from paperzoo.data.domains.module import Domain, DomainArguments, DomainData, Items, Share
from paperzoo.data.images.augmentation import ImageAugmentation, cut_problems, cutting
from paperzoo.data.images.fitting import Fit, FittedImages
from paperzoo.data.prepared.file_set import FileSet, Shape
from paperzoo.data.prepared.importing import importable
from paperzoo.data.prepared.stored import StoredArray


class ImageDomain:
    """One side of a pair: a set of labelled images, and how they get to the size that the model wants.

    Configs name it as `data.source` and `data.target`. `check` says what is wrong with the arguments that a subclass
    adds; files, sizes and classes are checked by `ImageDomains`.

    Args:
        file_set: the images.
        fit: "pad" adds zeros or cuts off pixels, evenly at all sides; "resize" scales, whatever the proportions.
    """

    transductive: ClassVar[bool] = False
    """Whether the prepared arrays have no test part: the domain is tested on the images that it is trained on."""

    def __init__(self, file_set: FileSet, fit: Fit) -> None:
        self.file_set = file_set
        self.fit = fit

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        """Yields what is wrong with these constructor arguments that types cannot say."""
        return iter(())

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        """What a model must know of the domain that these constructor arguments choose."""
        return {"num_classes": len(cls(**arguments).file_set.classes)}

    @property
    def shape(self) -> Shape:
        """Of the images, as they are prepared."""
        assert self.file_set.shape is not None
        return self.file_set.shape


class SetDomain(ImageDomain):
    """A data set that is also of use alone.

    Args:
        name: the data set, as `scripts/import_data.py` calls it.
        fit: see `ImageDomain`.
    """

    def __init__(self, name: str, fit: Fit) -> None:
        super().__init__(importable()[name], fit)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        known = sorted(name for name, file_set in importable().items() if file_set.shape and file_set.classes)
        if arguments["name"] not in known:
            yield f"name={arguments['name']}: no such data set of labelled images; there are {', '.join(known)}"


class ImageDomains(DomainData):
    """A source of labelled images and a target of unlabelled ones.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        download: fetch what is missing; False never touches the network.
        image_shape: channels, height and width that the model gets. Grey images are repeated over three channels.
        source: the domain whose labels are known.
        target: the domain to adapt to.
        validation_fraction: share of each domain's training images that is held out, the same ones in every run: those
            of the source to stop early, those of the target for curves and for reverse validation; 0 validates on the
            test images.
        labels_per_class: see `DomainData`.
        augment: random changes of training batches, in this order. If one cuts larger images to `image_shape`, they are
            cut around the centre in evaluation; else each domain has its `fit`.
        shared: see `DomainData`.
    """

    yields = DomainImages
    follows_model = ("image_shape",)

    def __init__(
        self,
        data_root: str,
        download: bool,
        image_shape: tuple[PositiveInt, PositiveInt, PositiveInt],
        source: ImageDomain,
        target: ImageDomain,
        validation_fraction: Share,
        labels_per_class: NonNegativeInt,
        augment: Sequence[ImageAugmentation],
        **shared: Unpack[DomainArguments],
    ) -> None:
        super().__init__(labels_per_class=labels_per_class, augment=augment, **shared)
        self.data_root = data_root
        self.download = download
        self.image_shape: Shape = image_shape
        self.source = source
        self.target = target
        self.validation_fraction = validation_fraction
        self.cuts = any(change.cuts for change in augment)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        domains: dict[str, ImageDomain] = {side: instantiate(arguments[side]) for side in ("source", "target")}
        wanted: Shape = tuple(arguments["image_shape"])
        cuts = bool(cutting(arguments["augment"]))
        for side, domain in domains.items():
            yield from _shape_problems(side, domain, wanted, cuts=cuts)
        yield from cut_problems(arguments["augment"], wanted)
        source, target = domains.values()
        if cuts and source.shape[1:] != target.shape[1:]:
            yield (
                f"augment: cuts images, but those of {source.file_set.name} are {list(source.shape)} and those of "
                f"{target.file_set.name} {list(target.shape)}; only images of one size can be cut in one batch"
            )
        sets = {domain.file_set.name: domain.file_set for domain in domains.values()}.values()
        for file_set in sets:
            yield from file_set.file_problems(arguments["data_root"], download=arguments["download"])
        yield from _name_problems(source.file_set.classes, target.file_set.classes)

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        source: ImageDomain = instantiate(arguments["source"])
        return {"image_shape": arguments["image_shape"], "num_classes": len(source.file_set.classes)}

    @property
    def names(self) -> Names:
        return Names(classes=self.source.file_set.classes)

    def prepare_data(self) -> None:
        """Downloads and prepares the arrays of both domains, once for all processes of the machine.

        Raises:
            UserError: no network, missing, damaged or wrong files, no space.
        """
        for domain in (self.source, self.target):
            domain.file_set.prepare(self.data_root, download=self.download)

    def load_domains(self) -> tuple[Domain, Domain]:
        return self._load(self.source), self._load(self.target)

    def _load(self, domain: ImageDomain) -> Domain:
        train = self._items(domain, "train")
        test = train if domain.transductive else self._items(domain, "test")
        return Domain.holding_out(self.validation_fraction, train, test, domain.file_set.name)

    def _items(self, domain: ImageDomain, part: str) -> Items:
        cache = domain.file_set.prepared(self.data_root, download=self.download)
        images, labels = StoredArray(cache, f"{part}_images"), StoredArray(cache, f"{part}_labels")
        if self.cuts:  # when they were gathered
            channels, (_, height, width) = self.image_shape[0], domain.shape
            return Items.of(FittedImages(images, (channels, height, width), "pad"), labels.read())
        return Items.of(FittedImages(images, self.image_shape, domain.fit), labels.read())

    def unchanged(self, items: Items) -> Items:
        assert isinstance(items.values, FittedImages)
        return replace(items, columns={**items.columns, "value": replace(items.values, shape=self.image_shape)})


def _name_problems(source: tuple[str, ...], target: tuple[str, ...]) -> Iterator[str]:
    if source != target:
        lacks = [
            ", ".join(name for name in one if name not in other) or "none"
            for one, other in ((source, target), (target, source))
        ]
        yield (
            f"source and target differ in their classes: only in the source {lacks[0]}; only in the target {lacks[1]}"
        )


def _shape_problems(side: str, domain: ImageDomain, wanted: Shape, *, cuts: bool) -> Iterator[str]:
    name, (channels, height, width) = domain.file_set.name, domain.shape
    what = f"image_shape={list(wanted)}: the {side} {name} has images of {list(domain.shape)}; "
    if wanted[0] not in (channels, 3 if channels == 1 else channels):
        yield what + f"choose {'1 or 3' if channels == 1 else channels} channels"
    if cuts:
        if wanted[1] > height or wanted[2] > width:
            yield what + f"to be cut by data.augment, choose at most {height} x {width}"
    elif domain.fit == "pad" and (2 * wanted[1] < height or 2 * wanted[2] < width):
        yield what + f"less than half of a side would be left; set data.{side}.fit=resize"
