"""The user's own pictures: a folder of them, any format, any size."""

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from paperzoo.batches import Images, Names
from paperzoo.data.base.items import ArrayItems
from paperzoo.data.base.module import PREDICT, TEST, TRAIN, VAL
from paperzoo.data.images.module import ImageArguments, ImageData
from paperzoo.data.prepared.cache import ArrayCache, ArrayWriter
from paperzoo.data.prepared.decoding import Picture, Tell, cover, decode, has_pictures, list_pictures, pixels
from paperzoo.data.prepared.file_set import FileSet, Shape
from paperzoo.data.prepared.own_pictures import LEFT_OUT, NAMES, REMARKS, append_own, fingerprint, noted
from paperzoo.files import no_folder

log = logging.getLogger(__name__)


def convert(files: Path, writer: ArrayWriter, shape: Shape) -> None:
    """Every readable picture in the folder and below, in the order of the names, scaled and cut to `shape`."""
    append_own(writer, "train_images", list_pictures(files), files, partial(_decode, shape=shape))


def _decode(name: str, content: bytes, tell: Tell, shape: Shape) -> Picture:
    return pixels(cover(decode(content, name, shape[0], tell), *shape[1:]))


def file_set(path: str, image_shape: Shape) -> FileSet:
    """The pictures as they are now; a folder whose files changed is another set, prepared beside the old one."""
    folder = Path(path).expanduser().resolve()
    state = fingerprint(list_pictures(folder), str(folder), image_shape)
    return FileSet(
        f"image_folder/{folder.name}-{state}",
        partial(convert, shape=image_shape),
        shape=image_shape,
        official_files=folder,
    )


class ImageFolder(ImageData):
    """The pictures in a folder and its sub-folders, scaled and cut to `image_shape`, in the order of their names.

    Trains on them but for `validation_images`, which are for validation and testing; with 0, all are for everything.
    Prediction gives all of them. Those that cannot be read are left out and named.

    Args:
        path: the folder.
        arguments: see `ImageData`.
    """

    yields = Images
    reads_own_items = True

    def __init__(self, path: str | None, **arguments: Unpack[ImageArguments]) -> None:
        super().__init__(**arguments)
        self.path = path

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        path, channels = arguments["path"], arguments["image_shape"][0]
        if path is None:
            yield "path: has no value; name the folder of your pictures: data.path=FOLDER"
        elif not Path(path).expanduser().is_dir():
            yield f"path={path}: {no_folder(Path(path).expanduser())}"
        elif not has_pictures(Path(path).expanduser()):
            yield f"path={path}: no pictures (.png, .jpg, .webp, ...) in this folder or below"
        if channels not in (1, 3):
            yield f"image_shape={list(arguments['image_shape'])}: choose 1 channel (grey) or 3 (RGB)"
        elif path is not None and Path(path).expanduser().is_dir():
            yield from super().check(**arguments)

    @classmethod
    def describe(cls, **arguments: Any) -> FileSet:
        channels, height, width = arguments["image_shape"]
        return file_set(arguments["path"], (channels, height, width))

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"image_shape": arguments["image_shape"], "num_classes": 0}

    @property
    def names(self) -> Names:
        return Names()

    def load(self) -> Mapping[str, ArrayItems]:
        everything = self.items("train")
        self.unreadable = noted(self.prepared, LEFT_OUT)
        for remark in noted(self.prepared, REMARKS):
            log.warning("%s", remark)
        if not self.validation_images:
            return {TRAIN: everything, VAL: everything, TEST: everything}
        kept, held = self.hold_out()
        held_out = everything.select(held)
        return {TRAIN: everything.select(kept), VAL: held_out, TEST: held_out, PREDICT: everything}

    def item_names(self) -> list[str]:
        self.setup("predict")
        return noted(self.prepared, NAMES)

    @property
    def prepared(self) -> ArrayCache:
        return self.chosen.prepared(self.data_root, download=self.download)
