"""Prepared data that changed under the same size and time: found at the start, and named."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from paperzoo.data.images.small_images import Mnist
from paperzoo.data.prepared.cache import ArrayCache
from scripts.fault_kinds.trying import Fault, clear_block, cut, flip, train


def prepare(prepared: Path) -> None:
    """A few random images, as a prepared set."""
    cache, generator = ArrayCache(Mnist.file_set.cache(str(prepared)).folder), np.random.default_rng(0)
    with cache.locked(), cache.writing() as writer:
        for part in ("train", "test"):
            writer.append(f"{part}_images", generator.integers(0, 256, (600, 1, 28, 28), dtype=np.uint8))
            writer.append(f"{part}_labels", generator.integers(0, 10, 600))


def started(
    name: str, damage: Callable[[Path, random.Random], None]
) -> Callable[[Path, Path, random.Random], str | None]:
    """Starts a run on the set after damage to a file of it."""

    def attempt(prepared: Path, folder: Path, chance: random.Random) -> str | None:
        shutil.copytree(prepared, folder / "data")
        (path,) = (folder / "data").rglob(name)
        damage(path, chance)
        end = train(
            "experiment=glow/mnist_laptop",
            "trainer=smoke",
            "data.validation_images=100",
            f"data_root={folder / 'data'}",
            where=folder,
        )
        if not end.code and name == "manifest.json":
            return None  # a blank more or less
        return end.refusal_of(name)

    return attempt


def flip_header(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(128)] ^= 1
    path.write_bytes(content)


FAULTS = [
    Fault("cache_flipped", prepare, started("train_images.npy", flip)),
    Fault("cache_zeroed", prepare, started("train_images.npy", clear_block)),
    Fault("cache_cut", prepare, started("train_images.npy", cut)),
    Fault("cache_header_flipped", prepare, started("train_labels.npy", flip_header)),
    Fault("cache_manifest_flipped", prepare, started("manifest.json", flip)),
]
