"""Amazon reviews of four kinds of products: is a review positive? (Blitzer et al. 2007, Chen et al. 2012)

The files are those of the released code of Ganin et al. 2016, section 5.1: 5,000 counts of words and pairs of words.
"""

import bz2
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paperzoo.batches import DomainVectors, Names
from paperzoo.data.base.items import Gather, Index
from paperzoo.data.domains import msda
from paperzoo.data.domains.module import Domain, DomainArguments, DomainData, Items, Share
from paperzoo.data.prepared.cache import ArrayCache, ArrayWriter
from paperzoo.data.prepared.downloads import Source
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.prepared.stored import StoredArray
from paperzoo.errors import UserError

Products = Literal["books", "dvd", "electronics", "kitchen"]
Features = Literal["raw", "msda"]

PARTS = ("train", "test")
COUNTS = 5000
VECTOR_SIZES = {"raw": COUNTS, "msda": (1 + msda.LAYERS) * COUNTS}

_ADDRESS = "https://raw.githubusercontent.com/GRAAL-Research/domain_adversarial_neural_network/master/data/"
_SHA256 = {
    "books_train": "317f9a2ec34b81de770b63a84d8c5cc2dc16bd0be6e079d2ff5b5bad5213ea19",
    "books_test": "fe4605c7dcf0e0a9410fd2a32f247caaf9abb352cc6e4c3e0f400853163ad9c4",
    "dvd_train": "95f602aa08bf6b55758f7b0b18df3882fe30acb11987ee60b6b4bb3c44cba733",
    "dvd_test": "4fe1b1a15010f78d8d0c49fe362d35fd4677463a45f1ac02a9f410ae1e638060",
    "electronics_train": "7d0061f03ff3827e4f8036b051b5e5828fddc0cd115aa5b212cd28d624dc14e4",
    "electronics_test": "641783bc941839c3a111d3488a1b7e3bd820a61ec14a129e7429b47703aa961d",
    "kitchen_train": "a70b5ebfe1413e0e16280360905f5c3b64389c435cd20c0165dc9d7f293b31b5",
    "kitchen_test": "e1502b97a824eb12314be4447394fa736fecb781c0724e6529cd6733ac7ff6d8",
}


class ReviewFiles(FileSet):
    """The official files, each also as it comes out of bzip2: `books_train.svmlight` or `books_train.svmlight.bz2`."""

    def missing(self, folder: Path) -> list[str]:
        return [source.file for source in self.sources if not _find(folder, source.file).is_file()]

    def digests(self, folder: Path) -> dict[str, str]:
        return {source.file: self._digest(source, folder) for source in self.sources}

    def _digest(self, source: Source, folder: Path) -> str:
        path = _find(folder, source.file)
        if path.suffix != ".bz2":
            return source.verify(folder)
        try:
            digest = hashlib.sha256(bz2.decompress(path.read_bytes())).hexdigest()
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged or cut short ({error}); delete it and fetch it again") from error
        if source.checksum != f"sha256:{digest}":
            raise UserError(f"{path}: holds another file than the official {source.file}; fetch {source.pages[0]}")
        return digest


def _find(folder: Path, file: str) -> Path:
    packed = folder / f"{file}.bz2"
    return packed if packed.is_file() and not (folder / file).is_file() else folder / file


def convert(files: Path, writer: ArrayWriter) -> None:
    """svmlight's format: a label, -1 or 1, and the counts that are not zero by number, from 0."""
    from sklearn.datasets import load_svmlight_file  # takes a second to import, and only the first use needs it

    for name in _SHA256:
        path = _find(files, f"{name}.svmlight")
        try:
            counts, labels = load_svmlight_file(str(path), n_features=COUNTS, zero_based=True)
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{path}: not an svmlight file of {COUNTS} features ({error}); fetch it again") from error
        writer.append(f"{name}_vectors", counts.toarray().astype(np.uint8))
        writer.append(f"{name}_labels", (labels > 0).astype(np.int64))


AMAZON = ReviewFiles(
    name="amazon",
    convert=convert,
    sources=tuple(
        Source(f"{name}.svmlight", (f"{_ADDRESS}{name}.svmlight",), f"sha256:{sha256}")
        for name, sha256 in _SHA256.items()
    ),
)


def msda_set(source: Products, target: Products, data_root: str) -> FileSet:
    """The hidden layers of mSDA for a pair, the same in both directions; made from the prepared reviews."""
    pair = sorted((source, target))
    folder = AMAZON.cache(data_root).folder
    return FileSet(
        name=f"amazon_msda/{'_'.join(pair)}", convert=partial(convert_msda, pair=pair), official_files=folder
    )


def convert_msda(reviews: Path, writer: ArrayWriter, pair: Sequence[str]) -> None:
    """Layers fitted to the training items of both domains, labels unseen, as the released code does.

    Kept in half precision: values lie between -1 and 1, and the layers of all pairs take 4 GB.
    """
    prepared = ArrayCache(reviews)
    names = [f"{products}_{part}" for products in pair for part in PARTS]
    items = {name: prepared.open(f"{name}_vectors").astype(np.float32) for name in names}
    for layer in range(1, 1 + msda.LAYERS):
        weights = msda.denoiser(np.concatenate([items[f"{products}_train"] for products in pair]))
        for name in names:
            items[name] = msda.hidden(items[name], weights)
            writer.append(f"{name}_layer{layer}", items[name].astype(np.float16))


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Vectors, parts of which stand in an array each: `vectors[index]` joins them, in single precision."""

    arrays: tuple[Gather, ...]

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    def __getitem__(self, index: Index) -> Float[Tensor, "batch feature"]:
        return torch.cat([array[index].float() for array in self.arrays], dim=1)

    def to(self, device: torch.device) -> "SideBySide":
        return SideBySide(tuple(array.to(device) for array in self.arrays))


class Amazon(DomainData):
    """Reviews of one kind of products as the source, of another as the target; 1 is a positive review.

    Of each kind 2,000 reviews are for training, half of them positive, and 3,586 to 5,945 for testing.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        download: fetch what is missing; False never touches the network.
        source: the products whose labels are known.
        target: the products to adapt to.
        features: "raw" counts, or "msda": the counts and the hidden layers of an mSDA, made once for each pair, in a
            few minutes.
        validation_fraction: share of each domain's training reviews that is held out, the same ones in every run: those
            of the source to stop early, those of the target for reverse validation (section 5.1.2).
        shared: see `DomainData`.
    """

    yields = DomainVectors

    def __init__(
        self,
        data_root: str,
        download: bool,
        source: Products,
        target: Products,
        features: Features,
        validation_fraction: Share,
        **shared: Unpack[DomainArguments],
    ) -> None:
        super().__init__(**shared)
        self.data_root = data_root
        self.download = download
        self.source: Products = source
        self.target: Products = target
        self.features = features
        self.validation_fraction = validation_fraction

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if arguments["source"] == arguments["target"]:
            yield f"target={arguments['target']}: that is the source; choose other products"
        yield from AMAZON.file_problems(arguments["data_root"], download=arguments["download"])
        if arguments["features"] == "msda":
            pair = msda_set(arguments["source"], arguments["target"], arguments["data_root"])
            yield from pair.file_problems(arguments["data_root"], download=False)

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"vector_size": VECTOR_SIZES[arguments["features"]], "num_classes": 2}

    @property
    def names(self) -> Names:
        return Names(classes=("negative", "positive"))

    @property
    def file_sets(self) -> Sequence[FileSet]:
        pair = msda_set(self.source, self.target, self.data_root)
        return [AMAZON, pair] if self.features == "msda" else [AMAZON]

    def load_domains(self) -> tuple[Domain, Domain]:
        return self._domain(self.source), self._domain(self.target)

    def _domain(self, products: Products) -> Domain:
        train, test = (self._items(f"{products}_{part}") for part in PARTS)
        return Domain.holding_out(self.validation_fraction, train, test, products)

    def _items(self, name: str) -> Items:
        reviews, *pair = [file_set.prepared(self.data_root, download=self.download) for file_set in self.file_sets]
        layers = [StoredArray(cache, f"{name}_layer{layer}") for cache in pair for layer in range(1, 1 + msda.LAYERS)]
        vectors = SideBySide((StoredArray(reviews, f"{name}_vectors"), *layers))
        return Items.of(vectors, StoredArray(reviews, f"{name}_labels").read())
