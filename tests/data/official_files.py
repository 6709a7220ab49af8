"""Writes small data sets in their official formats."""

import gzip
import io
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from paperzoo.data.prepared.cache import checksums
from paperzoo.data.prepared.file_set import FileSet


def trusted(file_set: FileSet, folder: Path) -> FileSet:
    sources = [
        replace(source, checksum=f"sha256:{checksums(folder / source.file, 'sha256')['sha256']}")
        for source in file_set.sources
    ]
    return replace(file_set, sources=tuple(sources))


def random_images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """`pixels`: height x width, or channel x height x width."""
    stream = io.BytesIO()
    Image.fromarray(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1)).save(stream, kind)
    return stream.getvalue()


def write_idx(folder: Path, train: int = 20, test: int = 10) -> dict[str, np.ndarray]:
    """MNIST's four files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        images, labels = random_images(count, 28, 28, seed=count), np.arange(count, dtype=np.uint8) % 10
        header = np.array([2051, count, 28, 28], dtype=">u4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes(), mtime=0))
        header = np.array([2049, count], dtype=">u4").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes(), mtime=0))
        written |= {f"{part}_images": images[:, None], f"{part}_labels": labels.astype(np.int64)}
    return written


def tar_gz(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_cifar10(folder: Path) -> dict[str, np.ndarray]:
    members, written = {}, {}
    for part, names in {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}.items():
        for i, name in enumerate(names):
            images, labels = random_images(6, 3072, seed=i), [(i + k) % 10 for k in range(6)]
            members[f"cifar-10-batches-py/{name}"] = pickle.dumps({b"data": images, b"labels": labels}, protocol=2)
            written.setdefault(f"{part}_images", []).append(images.reshape(-1, 3, 32, 32))
            written.setdefault(f"{part}_labels", []).append(np.array(labels))
    members["cifar-10-batches-py/batches.meta"] = pickle.dumps({b"label_names": [b"airplane"]}, protocol=2)
    tar_gz(folder / "cifar-10-python.tar.gz", members)
    return {name: np.concatenate(pieces) for name, pieces in written.items()}


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def picture_folder(folder: Path, count: int = 6, size: tuple[int, int] = (40, 50)) -> list[str]:
    """Pictures in a folder and a sub-folder; their names in order."""
    names = [f"sub/{i:02}.png" if i % 2 else f"{i:02}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(random_images(1, 3, *size, seed=i)[0], "PNG" if name.endswith("png") else "JPEG"))
    return sorted(names)
