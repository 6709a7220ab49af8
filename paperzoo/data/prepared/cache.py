"""Prepared data: plain `.npy` files with a manifest, written whole or not at all.

A folder is prepared when its `manifest.json` is there: that file is written last, after the arrays it describes. Until
then everything lies in a folder of its own below, which the next preparation clears away if its writer was killed.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from paperzoo.errors import UserError
from paperzoo.files import NO_SPACE, REFUSALS, atomically

BLOCK_BYTES = 1 << 24


class ArrayCache:
    """The prepared arrays of one data set: `<folder>/<name>.npy` and `<folder>/manifest.json`.

    Every start compares the size and the modification time of each file with the manifest, which costs microseconds
    whatever the size; the sha256 checksum is computed again only for a file where the time differs. So a file that was
    cut short, overwritten or badly copied is found at the start; `verify(thorough=True)` also finds bits that rotted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_prepared(self) -> bool:
        return self._manifest_path.is_file()

    @property
    def _manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """`{"arrays": {name: {sha256, bytes, mtime_ns, shape, dtype}}, "sources": {file: sha256}}`.

        Raises:
            UserError: it is not readable.
        """
        try:
            manifest = json.loads(self._manifest_path.read_text(encoding="utf-8"))
            return {"arrays": dict(manifest["arrays"]), "sources": dict(manifest["sources"])}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self._manifest_path}: damaged ({error}); {self._remedy}") from error

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.manifest()["arrays"][name]["shape"])

    def problems(self) -> Iterator[str]:
        """What is wrong with the prepared files as far as their sizes tell."""
        for name, entry in self.manifest()["arrays"].items():
            path = self._path(name)
            if not path.is_file():
                yield f"{path}: missing; {self._remedy}"
            elif path.stat().st_size != entry["bytes"]:
                yield f"{path}: damaged, {path.stat().st_size} bytes instead of {entry['bytes']}; {self._remedy}"

    def verify(self, *, thorough: bool = False) -> None:
        """Checks the prepared files; see the class for what is checked when.

        Args:
            thorough: compute every checksum, whatever the modification times say.

        Raises:
            UserError: with every damaged file and what to do.
        """
        problems = list(self.problems())
        manifest = self.manifest()
        touched = False
        for name, entry in manifest["arrays"].items() if not problems else ():
            path = self._path(name)
            mtime = path.stat().st_mtime_ns
            if mtime == entry["mtime_ns"] and not thorough:
                continue
            if checksums(path, "sha256")["sha256"] != entry["sha256"]:
                problems.append(f"{path}: damaged, its checksum is not the one in manifest.json; {self._remedy}")
            touched |= mtime != entry["mtime_ns"]
            entry["mtime_ns"] = mtime
        if problems:
            raise UserError(*problems)
        if touched and os.access(self.folder, os.W_OK):
            self._write_manifest(manifest)

    def open(self, name: str) -> np.ndarray:
        """The array, memory-mapped; writing into it changes this process' copy only."""
        return np.load(self._path(name), mmap_mode="c", allow_pickle=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time prepares; the others wait. A killed process holds no lock.

        Raises:
            UserError: the folder cannot be written to, or the disk is full.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                yield
        except OSError as error:
            ours = self.folder in (place := Path(error.filename or self.folder)).parents or place in self.folder.parents
            if error.errno in NO_SPACE:
                raise UserError(
                    f"{self.folder}: {REFUSALS[error.errno]}; nothing half-written was kept. "
                    "Free some space, or choose another disk with data_root=FOLDER"
                ) from error
            if (ours or place == self.folder) and error.errno in REFUSALS:
                raise UserError(
                    f"{self.folder}: cannot be written: {REFUSALS[error.errno]}; choose data_root=FOLDER"
                ) from error
            raise

    @contextmanager
    def writing(self, sources: Mapping[str, str] | None = None) -> Iterator["ArrayWriter"]:
        """Collects arrays; they and the manifest appear together when the block ends, and not at all if it fails.

        To be used inside `locked`.

        Args:
            sources: sha256 checksums of the files they are made from, for the record.
        """
        for leftover in self.folder.glob(".preparing-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = self.folder / f".preparing-{os.getpid()}"
        temporary.mkdir()
        writer = ArrayWriter(temporary)
        try:
            yield writer
            shapes = writer.finish()
            arrays: dict[str, dict[str, Any]] = {}
            for name, (shape, dtype) in shapes.items():
                path = temporary / f"{name}.npy"
                arrays[name] = {"sha256": checksums(path, "sha256")["sha256"], "shape": shape, "dtype": dtype}
            self._manifest_path.unlink(missing_ok=True)
            for name, entry in arrays.items():
                path = (temporary / f"{name}.npy").replace(self._path(name))
                entry |= {"bytes": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}
            self._write_manifest({"arrays": arrays, "sources": dict(sources or {})})
        finally:
            writer.close()
            shutil.rmtree(temporary, ignore_errors=True)

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        with atomically(self._manifest_path) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    @property
    def _remedy(self) -> str:
        return f"delete the folder {self.folder} (it is made again) or restore the file"


class ArrayWriter:
    """Writes arrays of unknown length piece by piece, by ordinary writes.

    (A memory map of a file on a full disk ends the process with SIGBUS; an ordinary write raises.)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, _GrowingFile] = {}

    def append(self, name: str, rows: np.ndarray) -> None:
        """Adds `rows` to the end of the array `name`; all pieces are of one dtype and one shape per row."""
        if name not in self._files:
            self._files[name] = _GrowingFile(self.folder / f"{name}.npy", rows.shape[1:], rows.dtype)
        self._files[name].append(rows)

    def finish(self) -> dict[str, tuple[list[int], str]]:
        """Completes the files; shape and dtype of each."""
        return {name: file.finish() for name, file in self._files.items()}

    def close(self) -> None:
        for file in self._files.values():
            file.stream.close()


class _GrowingFile:
    """One `.npy` file; its header leaves room for any length (numpy pads it for that purpose)."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.row_shape, self.dtype, self.rows = row_shape, dtype, 0
        self.stream: BinaryIO = path.open("wb")
        self.stream.write(self._header())

    def _header(self) -> bytes:
        header = io.BytesIO()
        description = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.row_shape),
        }
        np.lib.format.write_array_header_1_0(header, description)
        return header.getvalue()

    def append(self, rows: np.ndarray) -> None:
        if rows.shape[1:] != self.row_shape or rows.dtype != self.dtype:
            raise ValueError(f"expected rows {self.row_shape} {self.dtype}, got {rows.shape[1:]} {rows.dtype}")
        for block in np.array_split(rows, max(1, rows.nbytes // BLOCK_BYTES)):
            self.stream.write(np.ascontiguousarray(block).tobytes())
        self.rows += len(rows)

    def finish(self) -> tuple[list[int], str]:
        self.stream.seek(0)
        self.stream.write(self._header())
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        return [self.rows, *self.row_shape], str(self.dtype)


def checksums(path: Path, *algorithms: str) -> dict[str, str]:
    """Hexadecimal digests of a file, all in one pass."""
    digests = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms}
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            for digest in digests.values():
                digest.update(block)
    return {algorithm: digest.hexdigest() for algorithm, digest in digests.items()}
