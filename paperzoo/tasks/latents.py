"""Latents of a flow as rows of numbers, and the files that a prediction makes of them."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from paperzoo.errors import UserError
from paperzoo.files import replacing
from paperzoo.nn.flow import Latents

Rows = Float[Tensor, "batch dimension"]


def as_rows(latents: Latents) -> Rows:
    """The latents of all levels one after another, the first level first, in float32."""
    return torch.cat([eps.flatten(1).float() for eps in latents], dim=1)


def as_latents(rows: Rows, shapes: Sequence[tuple[int, ...]]) -> Latents:
    """The inverse of `as_rows`, for levels of these shapes."""
    levels = rows.split([math.prod(shape) for shape in shapes], dim=1)
    return [eps.view(-1, *shape) for eps, shape in zip(levels, shapes, strict=True)]


class RowsFile:
    """A `.npy` file of float32 rows that grows batch by batch, and has its name only once it is whole.

    Args:
        path: the file; what was begun and never finished is replaced.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begun = path.with_name(f".{path.name}.tmp")
        self._rows = 0

    def append(self, rows: Rows) -> None:
        content = np.ascontiguousarray(rows.cpu().numpy(), dtype="<f4")
        is_first = self._rows == 0
        self._rows += len(content)
        with self._opened("w+b" if is_first else "r+b") as file:
            # numpy leaves room in the header for the number of rows to grow in place
            shape = (self._rows, content.shape[1])
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            file.seek(0, os.SEEK_END)
            file.write(content.tobytes())

    def finish(self) -> list[Path]:
        """Gives the file its name; returns its path, or nothing if there were no rows."""
        if not self._rows:
            return []
        self._begun.replace(self.path)
        return [self.path]

    @contextmanager
    def _opened(self, mode: str) -> Iterator[IO[bytes]]:
        try:
            self._begun.parent.mkdir(parents=True, exist_ok=True)
            with self._begun.open(mode) as file:
                yield file
        except OSError as error:
            self._begun.unlink(missing_ok=True)
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror or error}); make room or choose another folder"
            ) from error


def save_pictures(images: Sequence[UInt8[Tensor, "channel height width"]], paths: Sequence[Path]) -> None:
    """Each image as a PNG file of its own size."""
    for image, path in zip(images, paths, strict=True):
        pixels = image.cpu().permute(1, 2, 0).numpy()
        with replacing(path) as temporary:
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(temporary, format="PNG")
