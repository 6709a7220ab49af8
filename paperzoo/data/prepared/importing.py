"""Fills the prepared data from files that lie in a folder already: official archives, or plain arrays."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

import paperzoo.data
from paperzoo.data.prepared.cache import BLOCK_BYTES, ArrayCache
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.prepared.plain_arrays import map_array
from paperzoo.errors import UserError
from paperzoo.files import no_folder

PARTS = ("train", "test")


def importable() -> dict[str, FileSet]:
    """Every set by name: the `FileSet`s that modules and classes of `paperzoo.data` have, alone or in a collection."""
    modules = [
        importlib.import_module(found.name) for found in pkgutil.walk_packages(paperzoo.data.__path__, "paperzoo.data.")
    ]
    return {file_set.name: file_set for module in modules for file_set in _file_sets(module)}


def _file_sets(module: ModuleType) -> Iterator[FileSet]:
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    for value in [value for holder in (module, *classes) for value in vars(holder).values()]:
        members = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else (value,)
        yield from (member for member in members if isinstance(member, FileSet))


def import_folder(name: str, folder: Path, data_root: str) -> Path:
    """Prepares the data set `name` from `folder`; returns where.

    The folder holds the official files or, for a set of images, plain arrays: `{train,test}_images.npy` (uint8, image x
    channel x height x width) and, as far as the set has them, `{train,test}_labels.npy` and
    `{train,test}_attributes.npy`.

    Raises:
        UserError: unknown set, it is prepared already, or the files are not what they should be; all problems together.
    """
    sets = importable()
    if name not in sets:
        raise UserError(f"{name}: no such data set; there are {', '.join(sorted(sets))}")
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: {no_folder(folder)}")
    file_set = sets[name]
    cache = file_set.cache(data_root)
    with cache.locked():
        if cache.is_prepared:
            raise UserError(f"{name} is prepared already, in {cache.folder}; delete that folder to import it anew")
        _import(file_set, folder, cache)
    return cache.folder


def _import(file_set: FileSet, folder: Path, cache: ArrayCache) -> None:
    arrays = [f"{part}_{column}.npy" for part in PARTS for column in file_set.columns]
    if any((folder / file).exists() for file in arrays):
        _import_arrays(file_set, folder, cache)
    elif absent := file_set.missing(folder):
        official = ", ".join(source.file for source in file_set.sources) or absent[0]
        instead = f", or from {', '.join(arrays)}" if arrays else ""
        raise UserError(f"{folder}: {', '.join(absent)} is missing; {file_set.name} comes from {official}{instead}")
    else:
        file_set.convert_into(cache, folder)


def _import_arrays(file_set: FileSet, folder: Path, cache: ArrayCache) -> None:
    problems: list[str] = []
    found: dict[str, np.ndarray] = {}
    for part in PARTS:
        loaded: dict[str, np.ndarray] = {}
        for column in file_set.columns:
            path = folder / f"{part}_{column}.npy"
            if (array := _load(path, problems)) is not None:
                problems += [f"{path}: {problem}" for problem in _CHECKS[column](array, file_set)]
                loaded[path.stem] = array
        if len({len(array) for array in loaded.values() if array.ndim}) > 1:
            lengths = ", ".join(f"{len(array)} {name}" for name, array in loaded.items() if array.ndim)
            problems.append(f"{folder}: {lengths}; there should be as many of each")
        found |= loaded
    attributes = {array.shape[1] for name, array in found.items() if name.endswith("_attributes") and array.ndim == 2}
    if len(attributes) > 1:
        problems.append(f"{folder}: {' and '.join(map(str, sorted(attributes)))} attributes in the two parts")
    if problems:
        raise UserError(*problems)
    with cache.writing() as writer:
        for name, array in found.items():
            for block in np.array_split(array, max(1, array.nbytes // BLOCK_BYTES)):
                writer.append(name, _as_prepared(name, block, file_set))


def _load(path: Path, problems: list[str]) -> np.ndarray | None:
    if not path.is_file():
        problems.append(f"{path}: missing")
        return None
    try:
        return map_array(path)
    except UserError as error:
        problems += error.problems
        return None


def _image_problems(array: np.ndarray, file_set: FileSet) -> Iterator[str]:
    assert file_set.shape is not None
    channels, height, width = file_set.shape
    if array.dtype != np.uint8:
        yield f"values of type {array.dtype}, expected uint8 from 0 to 255"
    if array.shape[1:] == (height, width, channels) != file_set.shape:
        yield f"shape {array.shape}, expected (images, {channels}, {height}, {width}): move the channels to the front"
    elif array.shape[1:] != file_set.shape and not (channels == 1 and array.shape[1:] == (height, width)):
        yield f"shape {array.shape}, expected (images, {channels}, {height}, {width})"
    elif not len(array):
        yield "no images"


def _label_problems(array: np.ndarray, file_set: FileSet) -> Iterator[str]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        yield f"{array.dtype} of shape {array.shape}, expected one whole number for each image"
    elif len(array) and (array.min() < 0 or array.max() >= len(file_set.classes)):
        yield f"labels from {array.min()} to {array.max()}, expected 0 to {len(file_set.classes) - 1}"


def _attribute_problems(array: np.ndarray, file_set: FileSet) -> Iterator[str]:
    if array.ndim != 2 or array.dtype != np.bool_:
        yield f"{array.dtype} of shape {array.shape}, expected bool of shape (images, attributes)"


_CHECKS = {"images": _image_problems, "labels": _label_problems, "attributes": _attribute_problems}


def _as_prepared(name: str, block: np.ndarray, file_set: FileSet) -> np.ndarray:
    if name.endswith("_images"):
        return block.reshape(len(block), *(file_set.shape or ()))
    return block.astype(np.int64) if name.endswith("_labels") else block
