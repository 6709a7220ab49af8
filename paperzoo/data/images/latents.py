"""Latents of a flow in `.npy` files, to be decoded: those that a prediction wrote, or what somebody made of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import LatentVectors
from paperzoo.data.base.items import ArrayItems
from paperzoo.data.base.module import PREDICT
from paperzoo.data.base.own import OwnData
from paperzoo.data.images.module import ImageShape
from paperzoo.data.prepared.plain_arrays import SUFFIX, map_array
from paperzoo.errors import UserError
from paperzoo.machine import memory_of, shown

COPIES = 2  # of all rows, while those of several files are joined


class LatentFiles(OwnData):
    """Rows of latents, to be decoded by the flow that they belong to.

    Args:
        path: a `.npy` file, or a folder of them; a row, or rows, of as many numbers as an image has values.
        image_shape: channels, height and width of the flow's images.
        seed: names the random streams.
        workers: processes that gather batches; 0 gathers them in this process.
        eval_batch_size: rows a batch, on each device.
    """

    yields = LatentVectors
    follows_model = ("image_shape",)
    instead = "data=latents: are there to be decoded only: mode=predict checkpoint=RUN"

    def __init__(
        self, path: str, image_shape: ImageShape, seed: int, workers: NonNegativeInt, eval_batch_size: PositiveInt
    ) -> None:
        super().__init__(seed, workers, eval_batch_size)
        self.path = Path(path).expanduser()
        self.dimensions = math.prod(image_shape)
        self.rows: list[str] = []

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        path, shape = Path(arguments["path"]).expanduser(), arguments["image_shape"]
        if not path.exists():
            yield f"path={path}: there is no such file or folder"
        elif not (files := _files(path)):
            yield f"path={path}: no {SUFFIX} files in this folder"
        else:
            for file in files:
                yield from (f"path={problem}" for problem in _problems(file, shape))

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"image_shape": arguments["image_shape"], "num_classes": 0}

    def load(self) -> Mapping[str, ArrayItems]:
        arrays = [_read(file, self.dimensions) for file in _files(self.path)]
        self.rows = [
            file.stem if len(array) == 1 else f"{file.stem}_{row}"
            for file, array in zip(_files(self.path), arrays, strict=True)
            for row in range(len(array))
        ]
        return {PREDICT: ArrayItems(LatentVectors, {"latent": torch.from_numpy(np.concatenate(arrays))})}

    def item_names(self) -> list[str]:
        self.setup("predict")
        return self.rows


def _files(path: Path) -> list[Path]:
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]


def _problems(file: Path, shape: Sequence[int]) -> Iterator[str]:
    dimensions = math.prod(shape)
    try:
        array = map_array(file)
    except UserError as error:
        yield str(error)
        return
    free = memory_of(torch.device("cpu")).free
    if array.ndim not in (1, 2) or array.shape[-1] != dimensions:
        yield (
            f"{file}: holds an array of shape {array.shape}; the latents of an image of {list(shape)} are a row of "
            f"{dimensions} numbers"
        )
    elif array.dtype.kind not in "fiu":
        yield f"{file}: holds {array.dtype}, not numbers"
    elif (needed := COPIES * array.size * np.dtype(np.float32).itemsize) > free:
        yield f"{file}: {len(array)} rows take {shown(needed)} of memory, {shown(free)} are free; split the file"


def _read(file: Path, dimensions: int) -> Float32[np.ndarray, "row dimension"]:
    rows = np.array(map_array(file), dtype=np.float32).reshape(-1, dimensions)
    if not np.isfinite(rows).all():
        raise UserError(f"{file}: some of its values are no finite numbers")
    return rows
