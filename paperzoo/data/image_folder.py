"""The user's own pictures: a folder of them, any format, any size."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Lt
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import Images
from paperzoo.data.cache import ArrayWriter
from paperzoo.data.decoding import (
    Picture,
    append_decoded,
    cover,
    decode,
    has_pictures,
    list_pictures,
    pixels,
    read_files,
)
from paperzoo.data.image_set import ImageSet, Shape
from paperzoo.data.images import ImageData
from paperzoo.data.splits import Split


def convert(files: Path, writer: ArrayWriter, shape: Shape) -> None:
    """Every picture in the folder and below, in the order of the names, scaled and cut to `shape`."""
    paths = list_pictures(files)
    append_decoded(writer, "train_images", read_files(paths), partial(_decode, shape=shape))
    writer.append("names", np.array([path.relative_to(files).as_posix() for path in paths]))


def _decode(name: str, content: bytes, shape: Shape) -> Picture:
    return pixels(cover(decode(content, name, channels=shape[0]), *shape[1:]))


def image_set(path: str, image_shape: Shape) -> ImageSet:
    """The pictures as they are now; a folder whose files changed is another set, prepared beside the old one."""
    folder = Path(path).expanduser().resolve()
    state = hashlib.sha256(repr((str(folder), image_shape)).encode())
    for picture in list_pictures(folder):
        found = picture.stat()
        state.update(repr((str(picture), found.st_size, found.st_mtime_ns)).encode())
    return ImageSet(
        f"image_folder/{folder.name}-{state.hexdigest()[:12]}",
        image_shape,
        partial(convert, shape=image_shape),
        official_files=folder,
    )


class ImageFolder(ImageData):
    """The pictures in a folder and its sub-folders, scaled and cut to `image_shape`, in the order of their names.

    Trains on them but for `validation_images`, which are for validation and testing; with 0, all are for everything.
    Prediction gives all of them.

    Args:
        path: the folder.
        data_root: this and all others: see `ImageData`.
    """

    yields = Images

    def __init__(
        self,
        path: str | None,
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
        super().__init__(
            data_root,
            seed,
            download,
            image_shape,
            num_classes,
            batch_size,
            eval_batch_size,
            workers,
            validation_images,
            shift,
            flip,
            device_resident,
        )
        self.path = path

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        path, channels = arguments["path"], arguments["image_shape"][0]
        if path is None:
            yield "data.path has no value; name the folder of your pictures: data.path=FOLDER"
        elif not Path(path).expanduser().is_dir():
            yield f"data.path={path}: there is no such folder"
        elif not has_pictures(Path(path).expanduser()):
            yield f"data.path={path}: no pictures (.png, .jpg, .webp, ...) in this folder or below"
        if channels not in (1, 3):
            yield f"data.image_shape={list(arguments['image_shape'])}: choose 1 channel (grey) or 3 (RGB)"
        elif path is not None and Path(path).expanduser().is_dir():
            yield from super().check(**arguments)

    @classmethod
    def describe(cls, **arguments: Any) -> ImageSet:
        channels, height, width = arguments["image_shape"]
        return image_set(arguments["path"], (channels, height, width))

    @classmethod
    def image_sets(cls) -> tuple[ImageSet, ...]:
        return ()

    def make_splits(self) -> dict[str, Split]:
        everything = self.split("train", self.image_shape)
        if not self.validation_images:
            return dict.fromkeys(("train", "val", "test", "predict"), everything)
        kept, held = self.hold_out()
        held_out = self.split("train", self.image_shape, held)
        return {
            "train": self.split("train", self.image_shape, kept),
            "val": held_out,
            "test": held_out,
            "predict": everything,
        }

    def item_names(self) -> list[str]:
        self.setup()
        return [str(name) for name in self.chosen.cache(self.data_root).open("names")]
