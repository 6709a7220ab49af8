"""The base of all image data sets."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Unpack

import torch
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import Names
from paperzoo.data.base.items import ArrayItems
from paperzoo.data.base.module import TEST, TRAIN, VAL, ItemData, Loading
from paperzoo.data.base.order import hold_out
from paperzoo.data.images.augmentation import ImageAugmentation, cut_problems, cutting
from paperzoo.data.images.fitting import FittedImages
from paperzoo.data.prepared.file_set import FileSet, Shape
from paperzoo.data.prepared.stored import StoredArray
from paperzoo.errors import UserError

# The prepared arrays behind the fields of the batches.
COLUMNS = {"image": "images", "label": "labels", "attributes": "attributes"}

ImageShape = tuple[PositiveInt, PositiveInt, PositiveInt]


class ImageArguments(Loading):
    """The arguments that all `ImageData` share, for their `**arguments`; see there."""

    data_root: str
    download: bool
    image_shape: ImageShape
    validation_images: NonNegativeInt
    fold: NonNegativeInt
    augment: Sequence[ImageAugmentation]


class ImageData(ItemData):
    """Images from prepared arrays, memory-mapped and gathered a whole batch at a time.

    A set is a subclass that says its `yields` and its `file_set`, and a config that says its `image_shape`.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        download: fetch what is missing; False never touches the network.
        image_shape: channels, height and width that the model gets. Smaller images are padded with zeros around them,
            grey ones repeated over three channels.
        validation_images: training images held out for validation, the same ones in every run; 0 validates on the test
            images, which is the protocol of Glow and of most papers on flows.
        fold: which images are held out; those of two folds are different ones.
        augment: random changes of whole training batches, in this order. If one of them cuts, images may be larger than
            `image_shape`; evaluation then cuts around their centre.
        loading: see `ItemData`.
    """

    follows_model = ("image_shape",)
    file_set: ClassVar[FileSet]

    def __init__(
        self,
        data_root: str,
        download: bool,
        image_shape: ImageShape,
        validation_images: NonNegativeInt,
        fold: NonNegativeInt,
        augment: Sequence[ImageAugmentation],
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(augment=augment, **loading)
        self.data_root = data_root
        self.download = download
        self.image_shape: Shape = image_shape
        self.validation_images = validation_images
        self.fold = fold
        self._arrays: dict[str, StoredArray] = {}
        self.cuts = any(change.cuts for change in augment)

    @classmethod
    def describe(cls, **arguments: Any) -> FileSet:
        """The data set that these constructor arguments choose."""
        return cls.file_set

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        file_set = cls.describe(**arguments)
        return {"image_shape": arguments["image_shape"], "num_classes": len(file_set.classes)}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        file_set = cls.describe(**arguments)
        shape, augment = arguments["image_shape"], arguments["augment"]
        yield from _shape_problems(file_set, shape, cuts=bool(cutting(augment)))
        yield from cut_problems(augment, shape)
        files = list(file_set.file_problems(arguments["data_root"], download=arguments["download"]))
        yield from files
        cache = file_set.cache(arguments["data_root"])
        if cache.is_prepared and not files:
            size = cache.shape("train_images")[0]
            yield from _held_out_problems(size, arguments["validation_images"], arguments["fold"])

    @cached_property
    def chosen(self) -> FileSet:
        """The data set of this module."""
        return self.describe(**vars(self))

    @property
    def names(self) -> Names:
        return Names(classes=self.chosen.classes, attributes=self.chosen.attributes)

    @property
    def file_sets(self) -> Sequence[FileSet]:
        return [self.chosen]

    def load(self) -> Mapping[str, ArrayItems]:
        train, test = self.items("train", for_training=True), self.items("test")
        if not self.validation_images:
            return {TRAIN: train, VAL: test, TEST: test}
        kept, held = self.hold_out()
        return {TRAIN: train.select(kept), VAL: self.items("train").select(held), TEST: test}

    def items(self, part: str, *, for_training: bool = False) -> ArrayItems:
        """All prepared items of `part`, which is "train" or "test".

        Args:
            part: names the prepared arrays: `<part>_images`, ...
            for_training: what is cut at random is cut after it was gathered.
        """
        columns = {field: self._stored(f"{part}_{COLUMNS[field]}") for field in self.yields.__annotations__}
        shape = (self.image_shape[0], *self._prepared_size) if self.cuts and for_training else self.image_shape
        return ArrayItems(self.yields, {**columns, "image": FittedImages(columns["image"], shape)})

    def _stored(self, name: str) -> StoredArray:
        cache = self.chosen.prepared(self.data_root, download=self.download)
        return self._arrays.setdefault(name, StoredArray(cache, name))

    @property
    def _prepared_size(self) -> tuple[int, int]:
        assert self.chosen.shape is not None
        return self.chosen.shape[1:]

    def hold_out(self) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
        """The rows of the training arrays that are trained on, and those held out.

        Raises:
            UserError: more are to be held out than there are.
        """
        size = len(self._stored("train_images"))
        if problems := list(_held_out_problems(size, self.validation_images, self.fold)):
            raise UserError(*(f"data.{problem}" for problem in problems))
        kept, held = hold_out(size, self.validation_images, self.fold)
        return torch.from_numpy(kept), torch.from_numpy(held)


def _shape_problems(file_set: FileSet, wanted: Sequence[int], *, cuts: bool) -> Iterator[str]:
    assert file_set.shape is not None
    channels, *size = file_set.shape
    fits = all(w <= s if cuts else w >= s for w, s in zip(wanted[1:], size, strict=True))
    if not fits or wanted[0] not in (channels, 3 if channels == 1 else channels):
        choices = " or ".join(map(str, sorted({channels, 3 if channels == 1 else channels})))
        bound = "at most" if cuts else "at least"
        yield (
            f"image_shape={list(wanted)}: {file_set.name} has images of {list(file_set.shape)}; "
            f"choose {choices} channels, a height of {bound} {size[0]} and a width of {bound} {size[1]}"
        )


def _held_out_problems(size: int, held: int, fold: int) -> Iterator[str]:
    if held >= size:
        yield f"validation_images={held}: there are only {size} training images; choose 0 ... {size - 1}"
    elif (fold + 1) * held > size:
        yield f"fold={fold}: {held} of {size} training images are held out in each; choose 0 ... {size // held - 1}"
