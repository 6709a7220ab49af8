"""Small labelled image sets: MNIST, Fashion-MNIST, USPS, CIFAR-10, CIFAR-100, SVHN, and scikit-learn's digits.

Files, addresses and checksums are the official ones, taken from torchvision's own classes.
"""

import gzip
import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from torchvision import datasets

from paperzoo.batches import LabelledImages
from paperzoo.data.base.order import fixed_permutation
from paperzoo.data.images.module import ImageData
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.downloads import Source, reading, tar_files
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.errors import UserError


def convert_idx(files: Path, writer: ArrayWriter) -> None:
    """MNIST's format, see `read_digits`."""
    for part, images, labels in read_digits(files):
        writer.append(f"{part}_images", images[:, None])
        writer.append(f"{part}_labels", labels)


def read_digits(
    files: Path,
) -> Iterator[tuple[str, UInt8[np.ndarray, "image height width"], Int64[np.ndarray, " image"]]]:
    """("train" or "test", images, labels) from MNIST's four files: big-endian sizes, then bytes.

    Raises:
        UserError: a file is not like that.
    """
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = _read_idx(files / f"{prefix}-images-idx3-ubyte.gz", axes=3)
        labels = _read_idx(files / f"{prefix}-labels-idx1-ubyte.gz", axes=1)
        yield part, images, labels.astype(np.int64)


def _read_idx(path: Path, axes: int) -> np.ndarray:
    with reading(path), gzip.open(path) as stream:
        content = stream.read()
    header = np.frombuffer(content[: 4 * (axes + 1)], dtype=">u4")
    values = np.frombuffer(content[4 * (axes + 1) :], dtype=np.uint8)
    unsigned_bytes = 8
    if len(header) != axes + 1 or header[0] != 256 * unsigned_bytes + axes or values.size != np.prod(header[1:]):
        raise UserError(f"{path}: not an idx file of {axes} axes, or cut short; delete it and fetch it again")
    return values.reshape(header[1:])


def convert_cifar(files: Path, writer: ArrayWriter, archive: str, label_key: str, parts: dict[str, list[str]]) -> None:
    """CIFAR's format: a tar.gz of pickled batches, each with rows of 3072 values (planes of red, green, blue)."""
    path = files / archive
    wanted = {name for names in parts.values() for name in names}
    found = {}
    for name, content in tar_files(path):
        if (short := name.rsplit("/", 1)[-1]) in wanted:
            found[short] = _NumpyUnpickler(BytesIO(content), encoding="bytes").load()
    if absent := sorted(wanted - found.keys()):
        raise UserError(f"{path}: lacks {', '.join(absent)}; it is not the official archive")
    for part, names in parts.items():
        for name in names:
            writer.append(f"{part}_images", found[name][b"data"].reshape(-1, 3, 32, 32))
            writer.append(f"{part}_labels", np.array(found[name][label_key.encode()], dtype=np.int64))


class _NumpyUnpickler(pickle.Unpickler):
    """Builds arrays and plain values only: a second lock behind the checksum of the archive."""

    allowed = {("_codecs", "encode"), ("numpy", "ndarray"), ("numpy", "dtype")} | {
        (f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise UserError(f"refused to unpickle {module}.{name}: not part of an official CIFAR batch")
        return super().find_class(module, name)


def convert_svhn(files: Path, writer: ArrayWriter) -> None:
    """SVHN's format: MATLAB files; the digit 0 has the label 10 there and 0 here."""
    for part in ("train", "test"):
        append_mat(writer, part, files / f"{part}_32x32.mat")


def append_mat(writer: ArrayWriter, part: str, path: Path) -> None:
    """Appends the images of a file in SVHN's format to those of `part`.

    Raises:
        UserError: the file is not like that.
    """
    from scipy.io import loadmat  # type: ignore[import-untyped]
    from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

    try:
        with reading(path):
            content = loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"], content["y"].flatten()
    except (MatReadError, ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(f"{path}: not a readable MATLAB file ({error}); delete it and fetch it again") from error
    writer.append(f"{part}_images", images.transpose(3, 2, 0, 1))
    writer.append(f"{part}_labels", labels.astype(np.int64) % 10)


def convert_usps(files: Path, writer: ArrayWriter) -> None:
    """LIBSVM's format: a line for each image, a label from 1 to 10 and 256 values from -1 (paper) to 1 (ink)."""
    from sklearn.datasets import load_svmlight_file  # takes a second to import, and only the first use needs it

    for part, file in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        path = files / file
        try:
            with reading(path):
                values, labels = load_svmlight_file(str(path), n_features=256, zero_based=False)
        except (ValueError, OSError) as error:
            raise UserError(f"{path}: not a readable LIBSVM file ({error}); delete it and fetch it again") from error
        grey = ((values.toarray() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        writer.append(f"{part}_images", grey.reshape(-1, 1, 16, 16))
        writer.append(f"{part}_labels", labels.astype(np.int64) - 1)


TRAINING_DIGITS = 1497


def convert_digits(files: Path, writer: ArrayWriter) -> None:
    """Grey levels 0 ... 16 become min(16 * level, 255): with 4 bits a pixel all but the top two stay apart."""
    from sklearn.datasets import load_digits  # takes a second to import, and only the first use needs it

    digits = load_digits()
    images = np.minimum(16 * digits.images, 255).astype(np.uint8)[:, None]
    order = fixed_permutation(len(images))
    for part, rows in (("train", order[:TRAINING_DIGITS]), ("test", order[TRAINING_DIGITS:])):
        writer.append(f"{part}_images", images[rows])
        writer.append(f"{part}_labels", digits.target[rows].astype(np.int64))


DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip


def _idx_sources(dataset: type[datasets.MNIST]) -> tuple[Source, ...]:
    return tuple(
        Source(file, tuple(mirror + file for mirror in dataset.mirrors), f"md5:{md5}")
        for file, md5 in dataset.resources
    )


def _listed_sources(*files: Sequence[str]) -> tuple[Source, ...]:
    """Of (address, file name, md5) each."""
    return tuple(Source(file, (url,), f"md5:{md5}") for url, file, md5 in files)


def _cifar(name: str, classes: tuple[str, ...], label_key: str, dataset: type[datasets.CIFAR10]) -> FileSet:
    parts = {"train": [file for file, _ in dataset.train_list], "test": [file for file, _ in dataset.test_list]}
    convert = partial(convert_cifar, archive=dataset.filename, label_key=label_key, parts=parts)
    sources = _listed_sources((dataset.url, dataset.filename, dataset.tgz_md5))
    terms = "not stated by its authors, who ask that their report be cited"
    return FileSet(name, convert, sources, (3, 32, 32), classes, terms=terms, megabytes=170)


class Mnist(ImageData):
    """MNIST (LeCun et al. 1998): handwritten digits, 28 x 28 grey, 60,000 / 10,000."""

    yields = LabelledImages
    file_set = FileSet(
        "mnist",
        convert_idx,
        _idx_sources(datasets.MNIST),
        (1, 28, 28),
        DIGITS,
        terms="CC BY-SA 3.0, as Keras' documentation says",
        megabytes=12,
    )


class FashionMnist(ImageData):
    """Fashion-MNIST (Xiao et al. 2017): pieces of clothing, 28 x 28 grey, 60,000 / 10,000."""

    yields = LabelledImages
    file_set = FileSet(
        "fashion_mnist",
        convert_idx,
        _idx_sources(datasets.FashionMNIST),
        (1, 28, 28),
        CLOTHES,
        terms="MIT",
        megabytes=31,
    )


class Usps(ImageData):
    """USPS (Hull 1994): digits of handwritten postal codes, 16 x 16 grey, 7,291 / 2,007."""

    yields = LabelledImages
    file_set = FileSet(
        "usps",
        convert_usps,
        _listed_sources(*datasets.USPS.split_list.values()),
        (1, 16, 16),
        DIGITS,
        megabytes=8,
    )


class Cifar10(ImageData):
    """CIFAR-10 (Krizhevsky 2009): objects of 10 classes, 32 x 32, 50,000 / 10,000."""

    yields = LabelledImages
    file_set = _cifar("cifar10", CIFAR10, "labels", datasets.CIFAR10)


class Cifar100(ImageData):
    """CIFAR-100 (Krizhevsky 2009): objects of 100 (fine) classes, 32 x 32, 50,000 / 10,000."""

    yields = LabelledImages
    file_set = _cifar("cifar100", CIFAR100, "fine_labels", datasets.CIFAR100)


class Svhn(ImageData):
    """SVHN, cropped digits (Netzer et al. 2011): house numbers, 32 x 32, 73,257 / 26,032 (without the extra images)."""

    yields = LabelledImages
    file_set = FileSet(
        "svhn",
        convert_svhn,
        _listed_sources(datasets.SVHN.split_list["train"], datasets.SVHN.split_list["test"]),
        (3, 32, 32),
        DIGITS,
        terms="non-commercial use only",
        megabytes=246,
    )


class Digits(ImageData):
    """Scikit-learn's handwritten digits, 8 x 8: 1,497 for training, 300 for testing, split once and for all."""

    yields = LabelledImages
    file_set = FileSet("digits", convert_digits, shape=(1, 8, 8), classes=DIGITS, terms="CC BY 4.0 (UCI)")
