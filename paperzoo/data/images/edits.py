"""Pictures to be edited, and two folders that show what is to change: pictures with and without it."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import HAVING, LACKING, TO_EDIT, ComparedImages
from paperzoo.data.base.items import ArrayItems
from paperzoo.data.base.module import PREDICT
from paperzoo.data.base.own import OwnData
from paperzoo.data.images.module import ImageShape
from paperzoo.data.prepared.decoding import (
    Picture,
    cover,
    decode,
    has_pictures,
    in_threads,
    list_pictures,
    pixels,
    read_picture,
)
from paperzoo.errors import UserError


class PictureEdits(OwnData):
    """Pictures that lack something, pictures that have it, and those to be moved from the one to the other.

    All are scaled and cut to `image_shape`. Those that cannot be read are left out and named.

    Args:
        path: a picture, or a folder of pictures: those to be edited.
        having: a folder of pictures with what is wanted, a smile perhaps.
        lacking: a folder of pictures without it, as like the others as can be in everything else.
        image_shape: channels, height and width of the flow's images.
        seed: names the random streams.
        workers: processes that gather batches; 0 gathers them in this process.
        eval_batch_size: pictures a batch, on each device.
    """

    yields = ComparedImages
    follows_model = ("image_shape",)
    instead = "data=picture_edits: pictures are edited by a trained model: mode=predict checkpoint=RUN"

    def __init__(
        self,
        path: str,
        having: str,
        lacking: str,
        image_shape: ImageShape,
        seed: int,
        workers: NonNegativeInt,
        eval_batch_size: PositiveInt,
    ) -> None:
        super().__init__(seed, workers, eval_batch_size)
        self.folders = {LACKING: Path(lacking), HAVING: Path(having), TO_EDIT: Path(path)}
        self.image_shape = image_shape
        self.files: list[str] = []

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        for key in ("path", "having", "lacking"):
            path = Path(arguments[key]).expanduser()
            if not path.exists() or (key != "path" and not path.is_dir()):
                yield f"{key}={path}: there is no such {'file or folder' if key == 'path' else 'folder'}"
            elif path.is_dir() and not has_pictures(path):
                yield f"{key}={path}: no pictures (.png, .jpg, .webp, ...) in this folder or below"
        if arguments["image_shape"][0] not in (1, 3):
            yield f"image_shape={list(arguments['image_shape'])}: choose 1 channel (grey) or 3 (RGB)"

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"image_shape": arguments["image_shape"], "num_classes": 0}

    def load(self) -> Mapping[str, ArrayItems]:
        self.unreadable, self.files = [], []
        images: list[Picture] = []
        roles: list[int] = []
        for role, folder in self.folders.items():
            of_role = self._pictures(folder.expanduser())
            if not of_role:
                raise UserError(*self.unreadable)
            images += of_role
            roles += [role] * len(of_role)
        columns = {"image": torch.from_numpy(np.stack(images)), "role": torch.tensor(roles)}
        return {PREDICT: ArrayItems(ComparedImages, columns)}

    def _pictures(self, path: Path) -> list[Picture]:
        """The readable ones; notes their names, and what is wrong with the others."""
        found = list_pictures(path) if path.is_dir() else [path]
        made = (one for group in in_threads(found, partial(_decode, shape=self.image_shape)) for one in group)
        readable: list[Picture] = []
        for file, one in zip(found, made, strict=True):
            if isinstance(one, UserError):
                self.unreadable += one.problems
                continue
            readable.append(one)
            self.files.append(str(file.relative_to(path.parent)))
        return readable

    def item_names(self) -> list[str]:
        """Each with the name of its folder in front."""
        self.setup("predict")
        return self.files


def _decode(path: Path, shape: ImageShape) -> Picture:
    return pixels(cover(decode(read_picture(path), str(path), shape[0]), *shape[1:]))
