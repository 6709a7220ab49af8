"""Fills the prepared data from files that lie in a folder already: official archives, or plain arrays."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import paperzoo.data
from paperzoo.data.amazon import AMAZON
from paperzoo.data.babi import FILE_SETS as BABI_SETS
from paperzoo.data.cache import BLOCK_BYTES, ArrayCache
from paperzoo.data.clevr import FILE_SETS as CLEVR_SETS
from paperzoo.data.file_set import PreparedOnce
from paperzoo.data.image_set import ImageSet
from paperzoo.data.images import ImageData
from paperzoo.data.sudoku import SUDOKU17
from paperzoo.errors import UserError

PARTS = ("train", "test")

# Sets that come from official files only, never from plain arrays.
OFFICIAL_SETS: dict[str, PreparedOnce] = {
    file_set.name: file_set for file_set in (AMAZON, SUDOKU17, *BABI_SETS.values(), *CLEVR_SETS.values())
}


def importable() -> dict[str, tuple[type[ImageData], ImageSet]]:
    """Every image set by name, with the class that serves it."""
    for module in pkgutil.iter_modules(paperzoo.data.__path__, "paperzoo.data."):
        importlib.import_module(module.name)
    ours = [data for data in _subclasses(ImageData) if data.__module__.startswith("paperzoo.data.")]
    return {image_set.name: (data, image_set) for data in ours for image_set in data.image_sets()}


def names() -> list[str]:
    """Every set that `import_folder` takes."""
    return sorted([*importable(), *OFFICIAL_SETS])


def _subclasses(parent: type[ImageData]) -> Iterator[type[ImageData]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)


def import_folder(name: str, folder: Path, data_root: str) -> Path:
    """Prepares the data set `name` from `folder`; returns where.

    The folder holds the official files or, for a set of images, plain arrays: `{train,test}_images.npy` (uint8, image x
    channel x height x width) and, as far as the set has them, `{train,test}_labels.npy` and
    `{train,test}_attributes.npy`.

    Raises:
        UserError: unknown set, it is prepared already, or the files are not what they should be; all problems together.
    """
    images = importable()
    if name not in images.keys() | OFFICIAL_SETS.keys():
        raise UserError(f"{name}: no such data set; there are {', '.join(names())}")
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    file_set: PreparedOnce = images[name][1] if name in images else OFFICIAL_SETS[name]
    arrays = _array_files(images[name][0]) if name in images else []
    cache = file_set.cache(data_root)
    with cache.locked():
        if cache.is_prepared:
            raise UserError(f"{name} is prepared already, in {cache.folder}; delete that folder to import it anew")
        if any((folder / file).exists() for file in arrays):
            _import_arrays(*images[name], folder, cache)
        elif absent := file_set.missing(folder):
            official = ", ".join(source.file for source in file_set.sources) or absent[0]
            instead = f", or from {', '.join(arrays)}" if arrays else ""
            raise UserError(f"{folder}: {', '.join(absent)} is missing; {name} comes from {official}{instead}")
        else:
            file_set.convert_into(cache, folder)
    return cache.folder


def _array_files(data: type[ImageData]) -> list[str]:
    return [f"{column}.npy" for part in PARTS for column in data.columns(part).values()]


def _import_arrays(data: type[ImageData], image_set: ImageSet, folder: Path, cache: ArrayCache) -> None:
    problems: list[str] = []
    found: dict[str, np.ndarray] = {}
    for part in PARTS:
        columns = {field: _load(folder / f"{column}.npy", problems) for field, column in data.columns(part).items()}
        loaded = {field: array for field, array in columns.items() if array is not None}
        for field, array in loaded.items():
            path = folder / f"{data.columns(part)[field]}.npy"
            problems += [f"{path}: {problem}" for problem in _CHECKS[field](array, image_set)]
            found[data.columns(part)[field]] = array
        if len({len(array) for array in loaded.values() if array.ndim}) > 1:
            lengths = ", ".join(
                f"{len(array)} {data.columns(part)[field]}" for field, array in loaded.items() if array.ndim
            )
            problems.append(f"{folder}: {lengths}; there should be as many of each")
    attributes = {array.shape[1] for name, array in found.items() if name.endswith("_attributes") and array.ndim == 2}
    if len(attributes) > 1:
        problems.append(f"{folder}: {' and '.join(map(str, sorted(attributes)))} attributes in the two parts")
    if problems:
        raise UserError(*problems)
    with cache.writing() as writer:
        for name, array in found.items():
            for block in np.array_split(array, max(1, array.nbytes // BLOCK_BYTES)):
                writer.append(name, _as_prepared(name, block, image_set))


def _load(path: Path, problems: list[str]) -> np.ndarray | None:
    if not path.is_file():
        problems.append(f"{path}: missing")
        return None
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        problems.append(f"{path}: not a readable .npy file of plain numbers, or cut short ({error})")
        return None


def _image_problems(array: np.ndarray, image_set: ImageSet) -> Iterator[str]:
    channels, height, width = image_set.shape
    if array.dtype != np.uint8:
        yield f"values of type {array.dtype}, expected uint8 from 0 to 255"
    if array.shape[1:] == (height, width, channels) != image_set.shape:
        yield f"shape {array.shape}, expected (images, {channels}, {height}, {width}): move the channels to the front"
    elif array.shape[1:] != image_set.shape and not (channels == 1 and array.shape[1:] == (height, width)):
        yield f"shape {array.shape}, expected (images, {channels}, {height}, {width})"
    elif not len(array):
        yield "no images"


def _label_problems(array: np.ndarray, image_set: ImageSet) -> Iterator[str]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        yield f"{array.dtype} of shape {array.shape}, expected one whole number for each image"
    elif len(array) and (array.min() < 0 or array.max() >= image_set.num_classes):
        yield f"labels from {array.min()} to {array.max()}, expected 0 to {image_set.num_classes - 1}"


def _attribute_problems(array: np.ndarray, image_set: ImageSet) -> Iterator[str]:
    if array.ndim != 2 or array.dtype != np.bool_:
        yield f"{array.dtype} of shape {array.shape}, expected bool of shape (images, attributes)"


_CHECKS = {"image": _image_problems, "label": _label_problems, "attributes": _attribute_problems}


def _as_prepared(name: str, block: np.ndarray, image_set: ImageSet) -> np.ndarray:
    if name.endswith("_images"):
        return block.reshape(-1, *image_set.shape)
    return block.astype(np.int64) if name.endswith("_labels") else block
