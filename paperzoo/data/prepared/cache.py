"""Prepared data: plain `.npy` files with a manifest, written whole or not at all.

A folder is prepared when its `manifest.json` is there: that file is written last, after the arrays it describes. Until
then everything lies in a folder of its own below, which the next preparation clears away if its writer was killed.
"""

import hashlib
import io
import json
import os
import random
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from paperzoo.errors import UserError
from paperzoo.files import NO_SPACE, REFUSALS, atomically

BLOCK_BYTES = 1 << 24
SPOT_BYTES = 1 << 20
SPOTS = 16  # of a file, at each start

ENTRY = ("sha256", "bytes", "mtime_ns", "shape", "dtype")
"""What the manifest says of each array."""


class ArrayCache:
    """The prepared arrays of one data set: `<folder>/<name>.npy` and `<folder>/manifest.json`.

    Every start compares the size and the modification time of each file with the manifest, and the checksums of its
    beginning and of a few other blocks drawn at random, which costs milliseconds whatever the size; the sha256 checksum
    is computed again only for a file where the time differs. So a file that was cut short, overwritten or badly copied
    is found at the start, and in small files every bit that rotted; `verify(thorough=True)` finds these in all.
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
        """`{"arrays": {name: {sha256, bytes, mtime_ns, shape, dtype, blocks}}, "sources": {file: sha256}}`.

        `blocks` are the CRC-32 of each MiB; manifests from before there were any lack them.

        Raises:
            UserError: it is not readable.
        """
        try:
            manifest = json.loads(self._manifest_path.read_text(encoding="utf-8"))
            content = {"arrays": dict(manifest["arrays"]), "sources": dict(manifest["sources"])}
            if manifest.get("sha256", _digest(content)) != _digest(content):
                raise ValueError("its checksum does not match")
            for name, entry in content["arrays"].items():
                if missing := [key for key in ENTRY if key not in entry]:
                    raise ValueError(f"{name} has no {', '.join(missing)}")
            return content
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self._manifest_path}: damaged ({error}); {self._remedy}") from error

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an array.

        Raises:
            UserError: there is none of this name.
        """
        arrays = self.manifest()["arrays"]
        if name not in arrays:
            raise UserError(f"{self._manifest_path}: damaged, or of another version (no {name}); {self._remedy}")
        return tuple(arrays[name]["shape"])

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
            is_known = mtime == entry["mtime_ns"] and "blocks" in entry
            if is_known and not thorough:
                is_whole = _looks_whole(path, entry["blocks"])
            else:
                is_whole = checksums(path, "sha256")["sha256"] == entry["sha256"]
            if not is_whole:
                problems.append(f"{path}: damaged, its checksum is not the one in manifest.json; {self._remedy}")
            elif not is_known:
                entry |= {"mtime_ns": mtime, "blocks": _blocks(path)}
                touched = True
        if problems:
            raise UserError(*problems)
        if touched and os.access(self.folder, os.W_OK):
            self._write_manifest(manifest)

    def open(self, name: str) -> np.ndarray:
        """The array, memory-mapped; writing into it changes this process' copy only.

        Raises:
            UserError: the file is missing, or its header is damaged.
        """
        try:
            return np.load(self._path(name), mmap_mode="c", allow_pickle=False)
        except (ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, MemoryError) as error:
            raise UserError(f"{self._path(name)}: damaged or missing ({error}); {self._remedy}") from error

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
                arrays[name]["blocks"] = _blocks(path)
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
            content = {"sha256": _digest(manifest), **manifest}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

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


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _blocks(path: Path) -> list[int]:
    with path.open("rb") as stream:
        return [zlib.crc32(block) for block in iter(lambda: stream.read(SPOT_BYTES), b"")]


def _looks_whole(path: Path, blocks: Sequence[int]) -> bool:
    """Whether the first block of a file, where its header is, and some drawn at random are what they were."""
    later = range(1, len(blocks))
    with path.open("rb") as stream:
        for place in (0, *random.SystemRandom().sample(later, min(SPOTS - 1, len(later)))):
            stream.seek(place * SPOT_BYTES)
            if zlib.crc32(stream.read(SPOT_BYTES)) != blocks[place]:
                return False
    return True


def checksums(path: Path, *algorithms: str) -> dict[str, str]:
    """Hexadecimal digests of a file, all in one pass."""
    digests = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms}
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            for digest in digests.values():
                digest.update(block)
    return {algorithm: digest.hexdigest() for algorithm, digest in digests.items()}
