"""The base of all image data sets: preparation, splits, whole batches, augmentation."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from pydantic import NonNegativeInt, PositiveInt
from pytorch_lightning import Trainer
from torch import Tensor

from paperzoo.data import augmentation
from paperzoo.data.base import BatchLoader, BatchOrder, PaperData, stream_seed
from paperzoo.data.image_set import ImageSet, Shape
from paperzoo.data.splits import Indices, ResidentBatch, ResidentSplit, Rows, Split, hold_out
from paperzoo.errors import UserError

# The prepared arrays behind the fields of the batches.
COLUMNS = {"image": "images", "label": "labels", "attributes": "attributes"}

# A set goes onto the accelerator by itself if it takes no more than this part of its memory.
RESIDENT_FRACTION = 1 / 4


class ImageData(PaperData):
    """Images from prepared arrays, memory-mapped and gathered a whole batch at a time.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        seed: names the random streams.
        download: fetch what is missing; False never touches the network.
        image_shape: channels, height and width that the model gets. Smaller images are padded with zeros around them,
            grey ones repeated over three channels.
        num_classes: classes of the labels; 0 without labels.
        batch_size: training images a batch, on each device.
        eval_batch_size: images a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
        validation_images: training images held out for validation, the same ones in every run; 0 validates on the test
            images, which is the protocol of Glow and of most papers on flows.
        shift: training images are moved by up to this fraction of their size; 0 leaves them.
        flip: training images are mirrored, left to right, half of the time.
        device_resident: keep all images on the accelerator; "auto" does so on CUDA if they fit a quarter of its memory.
    """

    follows_model = ("image_shape",)
    image_set: ClassVar[ImageSet]
    crops: ClassVar[bool] = False
    """Whether images larger than `image_shape` are cut: at random for training, around the centre otherwise."""

    def __init__(
        self,
        data_root: str,
        seed: int,
        download: bool,
        image_shape: tuple[PositiveInt, PositiveInt, PositiveInt],
        num_classes: NonNegativeInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
        validation_images: NonNegativeInt,
        shift: Annotated[float, Ge(0), Lt(1)],
        flip: bool,
        device_resident: Literal["auto"] | bool,
    ) -> None:
        super().__init__(workers, seed)
        self.data_root = data_root
        self.download = download
        self.image_shape: Shape = (image_shape[0], image_shape[1], image_shape[2])
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.validation_images = validation_images
        self.shift = shift
        self.flip = flip
        self.device_resident = device_resident
        self.splits: dict[str, Split] = {}
        self._resident: dict[tuple[str, torch.device], ResidentSplit] = {}

    @classmethod
    def describe(cls, **arguments: Any) -> ImageSet:
        """The data set that these constructor arguments choose."""
        return cls.image_set

    @classmethod
    def image_sets(cls) -> tuple[ImageSet, ...]:
        """All data sets that can be chosen."""
        return (cls.image_set,)

    @classmethod
    def columns(cls, part: str) -> dict[str, str]:
        """For each field of the batches the array that holds it: `{"image": "train_images", ...}`."""
        return {field: f"{part}_{COLUMNS[field]}" for field in cls.yields.__annotations__}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        image_set = cls.describe(**arguments)
        yield from _shape_problems(image_set, tuple(arguments["image_shape"]), cuts=cls.crops)
        if arguments["num_classes"] != image_set.num_classes:
            yield f"data.num_classes={arguments['num_classes']}: {image_set.name} has {image_set.num_classes} classes"
        files = list(image_set.file_problems(arguments["data_root"], download=arguments["download"]))
        yield from files
        cache = image_set.cache(arguments["data_root"])
        if cache.is_prepared and not files:
            yield from _held_out_problems(cache.shape("train_images")[0], arguments["validation_images"])

    @cached_property
    def chosen(self) -> ImageSet:
        """The data set of this module."""
        return self.describe(**vars(self))

    def prepare_data(self) -> None:
        """Downloads and prepares the arrays, once for all processes of the machine.

        Raises:
            UserError: no network, missing, damaged or wrong files, no space.
        """
        self.chosen.prepare(self.data_root, download=self.download)

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        if not self.chosen.cache(self.data_root).is_prepared:
            self.prepare_data()
        self.splits = self.make_splits()

    def make_splits(self) -> dict[str, Split]:
        """The splits train, val, test and predict.

        Raises:
            UserError: more images are held out than there are.
        """
        test = self.split("test", self.image_shape)
        # what is cut at random is cut after it was gathered
        train_shape = self.chosen.shape if self.crops else self.image_shape
        if not self.validation_images:
            return {"train": self.split("train", train_shape), "val": test, "test": test, "predict": test}
        kept, held = self.hold_out()
        train, val = self.split("train", train_shape, kept), self.split("train", self.image_shape, held)
        return {"train": train, "val": val, "test": test, "predict": test}

    def split(self, part: str, shape: Shape, rows: Rows | None = None) -> Split:
        """Rows (None: all) of the prepared arrays of `part` as images of `shape`."""
        return Split(self.chosen.cache(self.data_root), self.columns(part), rows, shape, self.yields)

    def hold_out(self) -> tuple[Rows, Rows]:
        """The rows of the training arrays that are trained on, and those held out.

        Raises:
            UserError: more are to be held out than there are.
        """
        size = self.chosen.cache(self.data_root).shape("train_images")[0]
        if problems := list(_held_out_problems(size, self.validation_images)):
            raise UserError(*problems)
        return hold_out(size, self.validation_images)

    def train_dataloader(self) -> BatchLoader:
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> BatchLoader:
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> BatchLoader:
        return self._loader("predict", self.eval_batch_size)

    def _loader(self, name: str, batch_size: int, *, shuffle: bool = False) -> BatchLoader:
        split = self.splits[name]
        order = BatchOrder(len(split), batch_size, self, shuffle=shuffle)
        sizes = (split.nbytes for split in {id(split): split for split in self.splits.values()}.values())
        if is_resident(self.device_resident, self.trainer, sizes):
            return BatchLoader(Indices(name, len(split)), sampler=order, batch_size=None)
        return BatchLoader(
            split,
            sampler=order,
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if not isinstance(batch, ResidentBatch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        place = (batch.split, device)
        if place not in self._resident:
            self._resident[place] = ResidentSplit(self.splits[batch.split], device)
        return self._resident[place][batch.items]

    def initial_batch(self, size: int) -> Any:
        self.setup()
        train = self.splits["train"]
        first = BatchOrder(len(train), self.batch_size, self, shuffle=True).order(0)[:size]
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(stream_seed(self.seed, "initial"))
            return self.augment(train[first])

    def item_names(self) -> list[str]:
        self.setup()
        return [str(index) for index in range(len(self.splits["predict"]))]

    def augment(self, batch: Any) -> Any:
        return batch._replace(image=self.augment_images(batch.image))

    def augment_images(self, image: Tensor) -> Tensor:
        """Cuts, moves and mirrors training images at random, as configured."""
        if self.crops:
            image = augmentation.random_crop(image, *self.image_shape[1:])
        if self.shift > 0:
            image = augmentation.random_shift(image, self.shift)
        return augmentation.random_flip(image) if self.flip else image


def is_resident(choice: Literal["auto"] | bool, trainer: Trainer | None, sizes: Iterable[int]) -> bool:
    """Whether images are kept on the accelerator.

    Args:
        choice: `data.device_resident`.
        trainer: knows the device; None is a CPU.
        sizes: bytes of each of the arrays.
    """
    if choice != "auto":
        return choice
    device = trainer.strategy.root_device if trainer else torch.device("cpu")
    if device.type != "cuda":
        return False
    return sum(sizes) <= RESIDENT_FRACTION * torch.cuda.get_device_properties(device).total_memory


def _shape_problems(image_set: ImageSet, wanted: tuple[int, ...], *, cuts: bool) -> Iterator[str]:
    channels, height, width = image_set.shape
    fits = all(w <= s if cuts else w >= s for w, s in zip(wanted[1:], (height, width), strict=True))
    if not fits or wanted[0] not in (channels, 3 if channels == 1 else channels):
        choices = " or ".join(map(str, sorted({channels, 3 if channels == 1 else channels})))
        bound = "at most" if cuts else "at least"
        yield (
            f"data.image_shape={list(wanted)}: {image_set.name} has images of {list(image_set.shape)}; "
            f"choose {choices} channels, a height of {bound} {height} and a width of {bound} {width}"
        )


def _held_out_problems(size: int, held: int) -> Iterator[str]:
    if held >= size:
        yield f"data.validation_images={held}: there are only {size} training images; choose 0 ... {size - 1}"
