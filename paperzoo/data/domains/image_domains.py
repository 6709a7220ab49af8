"""Pairs of image domains: images in one shape, whatever the shapes of the two sets."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import torch
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import HIDDEN, DomainImages, Names
from paperzoo.config import instantiate
from paperzoo.data.domains.module import Domain, DomainArguments, DomainData, Items, Labels, Share
from paperzoo.data.images.augmentation import ImageAugmentation, cut_problems, cutting
from paperzoo.data.images.fitting import Fit, FittedImages
from paperzoo.data.prepared.file_set import FileSet, Shape
from paperzoo.data.prepared.importing import importable
from paperzoo.data.prepared.own_pictures import LEFT_OUT, NAMES, REMARKS, noted
from paperzoo.data.prepared.stored import StoredArray

log = logging.getLogger(__name__)


class ImageDomain:
    """One side of a pair: a set of labelled images, and how they get to the size that the model wants.

    Configs name it as `data.source` and `data.target`. `check` says what is wrong with the arguments that a subclass
    adds; files, sizes and classes are checked by `ImageDomains`.

    Args:
        file_set: the images.
        fit: "pad" adds zeros or cuts off pixels, evenly at all sides; "resize" scales, whatever the proportions.
    """

    labelled: bool = True
    """Whether its labels are taken at all, be it for measuring alone."""
    unlabelled_without: ClassVar[bool] = False
    """Whether it may do as a target without labels, if its classes are not those of the source."""
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
        uncut_test: test and prediction give images uncut, for a model that looks at several parts of each.
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
        uncut_test: bool,
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
        self.uncut_test = uncut_test
        self.cuts = any(change.cuts for change in augment)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        domains: dict[str, ImageDomain] = {side: instantiate(arguments[side]) for side in ("source", "target")}
        wanted: Shape = tuple(arguments["image_shape"])
        cuts = bool(cutting(arguments["augment"]))
        for side, domain in domains.items():
            yield from _shape_problems(side, domain, wanted, cuts=cuts)
        yield from cut_problems(arguments["augment"], wanted)
        if arguments["uncut_test"] and not cuts:
            yield "uncut_test=true: nothing in data.augment cuts images; leave it false"
        source, target = domains.values()
        if cuts and source.shape[1:] != target.shape[1:]:
            yield (
                f"augment: cuts images, but those of {source.file_set.name} are {list(source.shape)} and those of "
                f"{target.file_set.name} {list(target.shape)}; only images of one size can be cut in one batch"
            )
        sets = {domain.file_set.name: domain.file_set for domain in domains.values()}.values()
        for file_set in sets:
            yield from file_set.file_problems(arguments["data_root"], download=arguments["download"])
        matched = MatchedClasses.of(source.file_set.classes, target)
        yield from matched.problems()
        if arguments["labels_per_class"] and matched.unlabelled:
            yield f"labels_per_class={arguments['labels_per_class']}: the target has no labels"

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        source: ImageDomain = instantiate(arguments["source"])
        return {"image_shape": arguments["image_shape"], "num_classes": len(source.file_set.classes)}

    @property
    def names(self) -> Names:
        return Names(classes=self.source.file_set.classes)

    @property
    def file_sets(self) -> Sequence[FileSet]:
        return [domain.file_set for domain in (self.source, self.target)]

    def item_names(self) -> list[str]:
        """The files of the target's images, or numbers where they are not the user's own."""
        numbers = super().item_names()
        files = noted(self.target.file_set.cache(self.data_root), NAMES)
        return files if len(files) == len(numbers) else numbers

    def load_domains(self) -> tuple[Domain, Domain]:
        return self._load(self.source), self._load(self.target)

    def _load(self, domain: ImageDomain) -> Domain:
        cache = domain.file_set.prepared(self.data_root, download=self.download)
        self.unreadable = list(dict.fromkeys(self.unreadable + noted(cache, LEFT_OUT)))
        for remark in noted(cache, REMARKS):
            log.warning("%s", remark)
        matched = MatchedClasses.of(self.source.file_set.classes, domain)
        if matched.unlabelled:
            log.info("%s has no labels: what it is used for is not measured", domain.file_set.name)
        train = self._items(domain, "train", matched)
        test = train if domain.transductive else self._items(domain, "test", matched)
        return Domain.holding_out(self.validation_fraction, train, test, domain.file_set.name)

    def _items(self, domain: ImageDomain, part: str, matched: "MatchedClasses") -> Items:
        cache = domain.file_set.prepared(self.data_root, download=self.download)
        images = StoredArray(cache, f"{part}_images")
        labels = matched.numbered(StoredArray(cache, f"{part}_labels").read())
        if self.cuts:  # when they were gathered
            channels, (_, height, width) = self.image_shape[0], domain.shape
            return Items.of(FittedImages(images, (channels, height, width), "pad"), labels)
        return Items.of(FittedImages(images, self.image_shape, domain.fit), labels)

    def tested(self, items: Items) -> Items:
        return items if self.uncut_test else self.unchanged(items)

    def unchanged(self, items: Items) -> Items:
        assert isinstance(items.values, FittedImages)
        return replace(items, columns={**items.columns, "value": replace(items.values, shape=self.image_shape)})


@dataclass(frozen=True)
class MatchedClasses:
    """The classes of a domain by the number that they have in the source, which names them.

    Attributes:
        source: the classes of the source.
        own: those of the domain.
        optional: whether the domain's labels can be done without, if none of them is known.
    """

    source: tuple[str, ...]
    own: tuple[str, ...]
    optional: bool

    @classmethod
    def of(cls, source: tuple[str, ...], domain: ImageDomain) -> "MatchedClasses":
        return cls(source, domain.file_set.classes if domain.labelled else (), domain.unlabelled_without)

    @property
    def unlabelled(self) -> bool:
        """Whether nobody knows a label of the domain: it has no class, or none that is called like the source's."""
        folded = {name.casefold() for name in self.source}
        return not self.own or (self.optional and not any(name.casefold() in folded for name in self.own))

    def problems(self) -> Iterator[str]:
        """What keeps the domain's classes from being the source's, or some of them."""
        alone = [name for name in self.own if name not in self.source]
        if self.unlabelled or not alone:
            return
        folded = {name.casefold(): name for name in self.source}
        if differing := [
            f"{name} is {folded[name.casefold()]} in the source" for name in alone if name.casefold() in folded
        ]:
            yield f"target: classes that differ only in capital and small letters: {', '.join(differing)}; rename them"
        if others := [name for name in alone if name.casefold() not in folded]:
            lacking = [name for name in self.source if name not in self.own]
            yield (
                f"source and target differ in their classes: only in the source {', '.join(lacking) or 'none'}; "
                f"only in the target {', '.join(others)}{self._remedy}"
            )

    @property
    def _remedy(self) -> str:
        return (
            "; rename or move them, or set data.target.labelled=false to train without labels" if self.optional else ""
        )

    def numbered(self, labels: Labels) -> Labels:
        """Labels that count the domain's classes, as those of the source; `HIDDEN` where nobody knows."""
        if self.unlabelled:
            return torch.full_like(labels, HIDDEN)
        if self.own == self.source:
            return labels
        numbers = torch.tensor([*(self.source.index(name) for name in self.own), HIDDEN])
        return numbers[labels]  # -1 is the last


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
